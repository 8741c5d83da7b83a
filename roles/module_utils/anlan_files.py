"""Files written whole or not at all, with their owner and mode."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path


def owner_ids(owner: str | None) -> tuple[int, int]:
    """User and group id of ``owner`` (the invoking user when None).

    Raises KeyError when the system has no such user.
    """
    if owner is None:
        return os.geteuid(), os.getegid()
    user = pwd.getpwnam(owner)
    return user.pw_uid, grp.getgrgid(user.pw_gid).gr_gid


def differs(path: Path, content: bytes, mode: int, owner: str | None = None) -> bool:
    """Whether ``path`` lacks this content, mode or owner."""
    try:
        status = path.lstat()
        if (status.st_mode & 0o7777) != mode or path.read_bytes() != content:
            return True
    except OSError:
        return True
    return (status.st_uid, status.st_gid) != owner_ids(owner)


def write(path: Path, content: bytes, mode: int, owner: str | None = None) -> None:
    """Replace ``path`` atomically: a crash leaves the old file or the new one, never a part.

    The bytes and the folder entry are on the disk when this returns.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        os.fchmod(stream.fileno(), mode)
        if os.geteuid() == 0:
            os.fchown(stream.fileno(), *owner_ids(owner))
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Put what was made, renamed or removed in a folder on the disk."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def ensure(
    path: Path, content: bytes, mode: int, owner: str | None = None, check: bool = False
) -> bool:
    """Write ``path`` if it differs (never in check mode); returns whether it differed."""
    if not differs(path, content, mode, owner):
        return False
    if not check:
        write(path, content, mode, owner)
    return True
