"""Files that other processes rely on: written whole or not at all."""

from __future__ import annotations

import os
import pwd
from pathlib import Path


def write_atomically(path: Path, text: str, *, mode: int = 0o600, owner: str | None = None) -> None:
    """Replace `path`; after a crash it holds the old text or the new one, never a part.

    When this returns, the bytes and the folder's entry are on the disk. Raises OSError.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
        os.fchmod(stream.fileno(), mode)
        if owner and os.geteuid() == 0:
            account = pwd.getpwnam(owner)
            os.fchown(stream.fileno(), account.pw_uid, account.pw_gid)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Put a folder's entries on the disk. Raises OSError."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def own(path: Path, owner: str) -> None:
    """Give `path` to the system user `owner` (nothing to do unless root). Raises OSError."""
    if os.geteuid() == 0:
        account = pwd.getpwnam(owner)
        os.chown(path, account.pw_uid, account.pw_gid)


def keep_bytes(path: Path, content: bytes, *, below: Path, owner: str) -> None:
    """Write `path` whole or not at all, and make the folders from `below` on; all for `owner`.

    Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for folder in (below, *(one for one in path.parents if one.is_relative_to(below))):
        own(folder, owner)
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(content)
    own(part, owner)
    part.replace(path)
