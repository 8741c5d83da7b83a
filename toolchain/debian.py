"""System packages: what is missing, and its installation without starting any service."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from toolchain.cache import Cache
from toolchain.errors import ToolchainError
from toolchain.pins import Package
from toolchain.progress import output, run, say

_POLICY = Path("/usr/sbin/policy-rc.d")
_CLUSTER = Path("/etc/postgresql-common/createcluster.d/anlan.conf")
_NOTE = "# Placed by Anlan's toolchain/install.py while packages install; remove it if it stayed.\n"
# Files that are there only while packages install: path, mode, content. The first makes the
# package scripts start no service (haproxy, postgresql), the second makes the PostgreSQL package
# create no cluster `main` on port 5432. One that exists already stays the administrator's.
_TEMPORARY = (
    (_POLICY, "755", f"#!/bin/sh\n{_NOTE}exit 101\n"),
    (_CLUSTER, "644", f"{_NOTE}create_main_cluster = false\n"),
)


def is_release(release: str) -> bool:
    """Whether this machine is that Debian release, so that its package names and versions hold."""
    try:
        system = platform.freedesktop_os_release()
    except OSError:
        return False
    return system.get("ID") == "debian" and system.get("VERSION_CODENAME") == release


def versions(packages: tuple[Package, ...]) -> dict[str, str]:
    """Return the versions of those packages that are installed, by dpkg's own record."""
    asked = ["dpkg-query", "-W", "-f", "${Package}\t${Version}\t${db:Status-Status}\n"]
    done = subprocess.run(  # its exit code is 1 as soon as one package is unknown
        [*asked, *(p.name for p in packages)], capture_output=True, text=True, check=False
    )
    rows = (line.split("\t") for line in done.stdout.splitlines())
    return {name: version for name, version, status in rows if status == "installed"}


def missing(packages: tuple[Package, ...], release: str) -> tuple[Package, ...]:
    """Return the packages that this machine lacks or has too old.

    On another system than `release` a package counts as there when all that it provides is.
    """
    if not is_release(release):
        return tuple(p for p in packages if not all(map(_there, p.provides)))
    have = versions(packages)
    return tuple(
        p for p in packages if p.name not in have or not _at_least(have[p.name], p.minimum)
    )


def command(packages: tuple[Package, ...]) -> str:
    """Return the shell command that a person with the right to install runs."""
    return "sudo apt-get install --no-install-recommends " + " ".join(p.name for p in packages)


def install(packages: tuple[Package, ...], release: str, cache: Cache) -> None:
    """Install what is missing of `packages`; raises ToolchainError saying what to do by hand."""
    lacking = missing(packages, release)
    root = _as_root()
    if not lacking:
        if root is not None:
            _clear(root)
        return
    names = [p.name for p in lacking]
    if not is_release(release):
        needs = "\n".join(f"  {p.name}: {p.purpose} ({', '.join(p.provides)})" for p in lacking)
        raise ToolchainError(
            f"this is not Debian {release}, and these are missing:\n{needs}\n"
            f"install them with this system's packages; on Debian {release}: {command(lacking)}"
        )
    if root is None:
        raise ToolchainError(f"no right to install packages here; run: {command(lacking)}")
    say(f"debian: installing {', '.join(names)}")
    apt = [*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y"]
    apt += ["-o", "DPkg::Lock::Timeout=300"]
    wanted = [*apt, "install", "--no-install-recommends", *names]
    with _no_service_starts(root):
        half_done = [*root, "env", "DEBIAN_FRONTEND=noninteractive", "dpkg", "--configure", "-a"]
        run(half_done, "debian: dpkg --configure", cache.log("dpkg"))
        try:
            run(wanted, "debian: apt-get install", cache.log("apt"))
        except ToolchainError:
            say("debian: not with the package lists of this machine; updating them")
            run([*apt, "update"], "debian: apt-get update", cache.log("apt-update"))
            run(wanted, "debian: apt-get install", cache.log("apt"))
    if still := missing(packages, release):
        raise ToolchainError(
            "installed, but older than needed or still missing: "
            + ", ".join(f"{p.name} >= {p.minimum}" for p in still)
        )


@contextmanager
def _no_service_starts(root: list[str]) -> Iterator[None]:
    placed = [item for item in _TEMPORARY if not item[0].exists()]
    if shutil.which("pg_createcluster"):  # PostgreSQL is here: its administrator has decided
        placed = [item for item in placed if item[0] != _CLUSTER]
    try:
        for path, mode, content in placed:
            argv = [*root, "install", "-D", "-m", mode, "/dev/stdin", str(path)]
            subprocess.run(argv, input=content, text=True, check=True, timeout=30)
        yield
    except (OSError, subprocess.SubprocessError) as error:
        raise ToolchainError(f"debian: cannot hold services back: {error}") from error
    finally:
        _clear(root)


def _clear(root: list[str]) -> None:
    """Remove our temporary files, also those that an interrupted install left."""
    for path, _, content in _TEMPORARY:
        if path.is_file() and path.read_text("utf-8", "replace") == content:
            subprocess.run([*root, "rm", "-f", str(path)], check=False, timeout=30)


def _as_root() -> list[str] | None:
    """Return what to put before a command to run it as root; None when there is no way."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") and output(["sudo", "-n", "echo", "yes"]):
        return ["sudo", "-n"]
    return None


def _at_least(version: str, minimum: str) -> bool:
    compared = subprocess.run(["dpkg", "--compare-versions", version, "ge", minimum], check=False)
    return compared.returncode == 0


def _there(provided: str) -> bool:
    if provided.startswith("/"):
        return Path(provided).exists()
    places = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    return shutil.which(provided, path=places) is not None
