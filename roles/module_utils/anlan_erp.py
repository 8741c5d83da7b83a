"""The ERP's virtual environment: built once from a lock with hashes, shared by all environments."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import urllib.parse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

BUILD_TIMEOUT_SECONDS = 900
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


class BuildError(OSError):
    """The environment could not be built; the message holds the builder's last words."""


def is_built(venv: Path) -> bool:
    """Whether the environment was built to its end."""
    return (venv / ".complete").exists() and (venv / "bin" / "python").exists()


def build(venv: Path, requirements: Path) -> bool:
    """Build the environment if it is not complete; returns whether it was built.

    An environment knows its own path, so it is built in place and marked when complete; a second
    builder waits for the first.
    """
    if is_built(venv):
        return False
    venv.parent.mkdir(parents=True, exist_ok=True)
    with (venv.parent / f".{venv.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_built(venv):
            return False
        shutil.rmtree(venv, ignore_errors=True)
        _uv("venv", "--quiet", "--python", PYTHON, str(venv))
        _uv(
            *("pip", "install", "--quiet", "--require-hashes"),
            *("--python", str(venv / "bin" / "python"), "-r", str(requirements)),
        )
        (venv / ".complete").touch()
    return True


def _uv(*arguments: str) -> None:
    program = shutil.which("uv")
    if program is None:
        raise BuildError("uv is not in PATH: it builds the ERP's virtual environment")
    environment = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
    done = subprocess.run(
        [program, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=BUILD_TIMEOUT_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise BuildError(f"uv {arguments[0]} ended with {done.returncode}: {done.stderr[-1500:]}")


def database_uri(login: dict[str, str], places: Sequence[dict[str, Any]], ca_file: str) -> str:
    """The ERP's database URI: the writable one of `places`, its name and certificate verified."""
    hosts = ",".join(f"{place['address']}:{place['port']}" for place in places)
    user, password = (urllib.parse.quote(login[name], safe="") for name in ("username", "password"))
    parameters = {
        "sslmode": "verify-full",
        "sslrootcert": ca_file,
        "target_session_attrs": "read-write",
        "connect_timeout": "3",
        "tcp_user_timeout": "3000",
    }
    return f"postgresql://{user}:{password}@{hosts}/?{urllib.parse.urlencode(parameters, safe='/')}"
