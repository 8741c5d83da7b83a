"""`anlan doctor`: what this machine has, lacks, and how to get it."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click

from orchestrator.cli import common
from orchestrator.model.errors import InfrastructureError
from stacks import places

_PACKAGES = ("pulumi", "ansible-core", "ansible-runner", "dbos", "hvac", "psycopg", "boto3")
_MINIMUM_DISK_BYTES = 4 * 2**30
_MINIMUM_MEMORY_BYTES = 6 * 2**30

Row = dict[str, str | bool]


def _row(what: str, ok: bool, found: str, todo: str = "") -> Row:
    return {"what": what, "ok": ok, "found": found, "todo": "" if ok else todo}


def _programs() -> list[Row]:
    """Programs of the toolchain and of Debian."""
    binaries = places.cache_directory() / "bin"
    search = f"{binaries}{os.pathsep}{os.environ.get('PATH', '')}"
    rows = []
    for name, package in (
        ("pulumi", ""),
        ("pulumi-language-python", ""),
        ("vault", ""),
        ("versitygw", ""),
        ("pgbackrest", "pgbackrest"),
        ("haproxy", "haproxy"),
        ("socat", "socat"),
        ("/usr/lib/postgresql/15/bin/postgres", "postgresql-15"),
        ("/usr/lib/postgresql/15/lib/pgaudit.so", "postgresql-15-pgaudit"),
    ):
        there = name if Path(name).is_file() else shutil.which(name, path=search)
        todo = f"make setup  (or: apt-get install {package})" if package else "make setup"
        rows.append(_row(Path(name).name, bool(there), there or "not found", todo))
    return rows


def _python() -> list[Row]:
    rows = [_row("python", sys.version_info >= (3, 11), sys.version.split()[0], "Python ≥ 3.11")]
    for name in _PACKAGES:
        try:
            rows.append(_row(name, True, version(name)))
        except PackageNotFoundError:
            rows.append(_row(name, False, "not installed", "uv sync --locked"))
    return rows


def _machine() -> list[Row]:
    state = places.state_directory()
    parent = next(path for path in (state, *state.parents) if path.exists())
    free = shutil.disk_usage(parent).free
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    namespaces = Path("/proc/self/ns/net").exists() and shutil.which("unshare") is not None
    return [
        _row("processors", (os.cpu_count() or 1) >= 2, str(os.cpu_count()), "2 are needed"),
        _row("memory", memory >= _MINIMUM_MEMORY_BYTES, f"{memory / 2**30:.1f} GiB", "8 GiB"),
        _row(
            "disk", free >= _MINIMUM_DISK_BYTES, f"{free / 2**30:.1f} GiB free", "make 4 GiB free"
        ),
        _row(
            "network namespaces",
            namespaces,
            "unshare" if namespaces else "no unshare",
            "install util-linux; restore drills isolate their twin by them",
        ),
        _row("loopback addresses", _binds("127.0.10.1"), "127.0.0.0/8", "use Linux's loopback"),
        _row("state directory", os.access(parent, os.W_OK), str(state), "make it writable"),
    ]


def _binds(address: str) -> bool:
    try:
        with socket.create_server((address, 0)):
            return True
    except OSError:
        return False


@click.command()
@common.json_option
def doctor(as_json: bool) -> int:
    """Say what this machine has and lacks, and how to get it. Exit 4 when something is missing.

    \b
    Example:
      anlan doctor
    """
    rows = _machine() + _python() + _programs()
    good = all(row["ok"] for row in rows)
    if as_json:
        common.emit({"ok": good, "checks": rows})
    else:
        out = common.console()
        for row in rows:
            sign = "[green]✔[/]" if row["ok"] else "[bold red]✘[/]"
            todo = f"  → {row['todo']}" if row["todo"] else ""
            out.print(f"{sign} {row['what']:24} {row['found']}{todo}")
        for name in common.environment_names():
            out.print(f"  environment {name}: anlan env check {name}")
    return 0 if good else InfrastructureError.exit_code
