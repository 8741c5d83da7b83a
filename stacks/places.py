"""Where state lives: the state directory, Pulumi's backend in it, and the roots of environments."""

from __future__ import annotations

import hashlib
import os
import pwd
import secrets
import stat
import sys
from pathlib import Path

ROOT_LENGTH_LIMIT = 60  # unix sockets below a root must stay within 107 bytes
PROGRAMS = Path(__file__).resolve().parent
PROJECT = "anlan-local"
"""The Pulumi project of the stacks of this machine."""


def state_directory() -> Path:
    """Return `ANLAN_STATE_DIR`, or `.anlan` in the checkout, or else in the current directory."""
    named = os.environ.get("ANLAN_STATE_DIR")
    if named:
        return Path(named).absolute()
    checkout = PROGRAMS.parent
    return (checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()) / ".anlan"


def cache_directory() -> Path:
    """Return `ANLAN_CACHE`, or `~/.cache/anlan`."""
    named = os.environ.get("ANLAN_CACHE")
    return Path(named).absolute() if named else Path.home() / ".cache" / "anlan"


def service_user() -> str:
    """Return the user that databases run as: `postgres` when root provisions, else the invoker."""
    return "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name


def environment_link(state: Path, name: str) -> Path:
    """Return the path at which every command finds the environment `name`."""
    return state / "env" / name


def stack_file(state: Path, name: str) -> Path:
    """Return where Pulumi keeps the state of the stack `name` (its file backend)."""
    return state / "pulumi" / ".pulumi" / "stacks" / PROJECT / f"{name}.json"


def default_root(state: Path, name: str, user: str) -> Path:
    """Return where an environment lives when its configuration names no root.

    That is below the state directory, unless its path is too long for unix sockets or `user`
    cannot reach it (root's home); then a directory below `/var/tmp` that belongs to this state.
    """
    root = environment_link(state, name)
    if len(str(root)) <= ROOT_LENGTH_LIMIT and traversable(root, user):
        return root
    owner = hashlib.sha256(str(state).encode()).hexdigest()[:8]
    return Path("/var/tmp") / f"anlan-{owner}" / name  # noqa: S108


def traversable(path: Path, user: str) -> bool:
    """Whether `user` may pass through every existing directory above `path`."""
    account = pwd.getpwnam(user)
    groups = os.getgrouplist(user, account.pw_gid)
    for parent in path.parents:
        if not parent.is_dir():
            continue
        found = parent.stat()
        if found.st_uid == account.pw_uid:
            bit = stat.S_IXUSR
        elif found.st_gid in groups:
            bit = stat.S_IXGRP
        else:
            bit = stat.S_IXOTH
        if account.pw_uid != 0 and not found.st_mode & bit:
            return False
    return True


def pulumi_environment(state: Path) -> dict[str, str]:
    """Return the variables Pulumi needs to keep its state below `state`; makes the passphrase.

    `stacks/local/env.sh` sets the same ones for a shell.
    """
    home = state / "pulumi"
    (home / "home").mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)
    binaries = f"{cache_directory() / 'bin'}{os.pathsep}{Path(sys.executable).parent}"
    return {
        "PATH": f"{binaries}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "ANLAN_STATE_DIR": str(state),
        "PULUMI_BACKEND_URL": f"file://{home}",
        "PULUMI_HOME": str(home / "home"),
        "PULUMI_CONFIG_PASSPHRASE_FILE": str(_passphrase(home / "passphrase")),
        "PULUMI_SKIP_UPDATE_CHECK": "1",
        "PULUMI_AUTOMATION_API_SKIP_VERSION_CHECK": "1",
        "GRPC_VERBOSITY": "NONE",
    }


def _passphrase(path: Path) -> Path:
    """Make the file with the passphrase of Pulumi's state once, readable by its owner alone."""
    if not path.exists():
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32))
        try:
            path.hardlink_to(fresh)  # unlike a rename, never replaces one made meanwhile
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return path
