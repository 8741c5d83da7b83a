"""Runs one Ansible role of this repository on this machine, and says what it changed."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SHARED = ("library", "module_utils")
_NO_RESULT = "the Ansible run ended without a result"


class RoleError(Exception):
    """A role failed; the text names the role, its task and Ansible's own message."""


@dataclass(frozen=True)
class RoleResult:
    """What one run of a role did.

    `changed` holds the names of tasks that changed something (in check mode: would change it), in
    order; `details` the same with what each changed, where its module says. `failed_task` is None
    when the role went through; `message` is then empty. `tasks` is the number of tasks that ran,
    `seconds` the wall-clock time.
    """

    changed: tuple[str, ...]
    details: tuple[str, ...]
    failed_task: str | None
    message: str
    tasks: int
    seconds: float


def roles_directory() -> Path:
    """Return the folder of roles: `ANLAN_ROLES_PATH`, or `roles` beside `stacks`."""
    named = os.environ.get("ANLAN_ROLES_PATH")
    return Path(named).absolute() if named else Path(__file__).resolve().parents[2] / "roles"


def role_digest(role: str, roles: Path | None = None) -> str:
    """Return the SHA-256 (hexadecimal) over a role's files and the modules that roles share.

    Raises RoleError when there is no such role.
    """
    base = roles or roles_directory()
    if not (base / role / "tasks").is_dir():
        raise RoleError(f"there is no role {role!r} in {base}")
    return digest_files(base, (base / part for part in (role, *_SHARED)))


def programs_digest(programs: Path) -> str:
    """Return the SHA-256 (hexadecimal) over the programs of the stacks of this machine."""
    return digest_files(programs, [programs / "components", programs / "local"])


def digest_files(base: Path, parts: Iterable[Path]) -> str:
    """Return the SHA-256 over the names (below `base`) and bytes of all files under `parts`."""
    digest = hashlib.sha256()
    for part in parts:
        for path in sorted(part.rglob("*")):
            if not path.is_file() or path.suffix == ".pyc":
                continue
            name, content = str(path.relative_to(base)).encode(), path.read_bytes()
            digest.update(b"%d:%s%d:" % (len(name), name, len(content)))
            digest.update(content)
    return digest.hexdigest()


def run_role(
    role: str, variables: Mapping[str, Any], *, check: bool = False, roles: Path | None = None
) -> RoleResult:
    """Run `role` with `variables`; `check` only tells what would change.

    A failing role is a result, not an exception. Raises RoleError when Ansible itself could not
    be run. The run is a process of its own: several roles run at once from threads, and it ends
    when the caller dies.
    """
    request = {
        "role": role,
        "variables": dict(variables),
        "check": check,
        "roles": str((roles or roles_directory()).absolute()),
    }
    with subprocess.Popen(
        [sys.executable, "-m", "stacks.components.ansible_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as worker:
        if worker.stdin is None or worker.stdout is None or worker.stderr is None:
            raise RoleError(f"role {role}: no pipe to the Ansible run")
        worker.stdin.write(json.dumps(request) + "\n")
        worker.stdin.flush()  # left open: the worker reads the end of it as our death
        answer = worker.stdout.read()
        complaint = worker.stderr.read().strip()
    try:
        found = json.loads(answer)
    except ValueError:
        raise RoleError(f"role {role}: {complaint[-2000:] or _NO_RESULT}") from None
    lists = {name: tuple(found[name]) for name in ("changed", "details")}
    return RoleResult(**{**found, **lists})
