"""The lock that Pulumi's file backend holds on a stack while it changes it.

A killed pulumi leaves its lock behind. Such a lock is recognised by its process, which is gone,
and removed, which is all that `pulumi cancel` does with this backend.
"""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from pathlib import Path

import psutil

from orchestrator.model.errors import Refused


@dataclass(frozen=True)
class Lock:
    """Who holds a stack: process, user, host, since when (ISO 8601)."""

    file: Path
    pid: int
    user: str
    host: str
    since: str

    @property
    def is_dead(self) -> bool:
        """Whether it is of this host and its pulumi is gone (its pid may be another's by now)."""
        if self.host != socket.gethostname():
            return False
        try:
            process = psutil.Process(self.pid)
            return process.name() != "pulumi" or process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True


def locks(folder: Path) -> list[Lock]:
    """Return the locks in a stack's folder of locks; one that is being removed is left out."""
    found = []
    for file in sorted(folder.glob("*.json")):
        try:
            data = json.loads(file.read_text())
        except (OSError, ValueError):
            continue
        names = ("username", "hostname", "timestamp")
        found.append(
            Lock(file, int(data.get("pid", 0)), *(str(data.get(name, "")) for name in names))
        )
    return found


def free(folder: Path) -> int:
    """Remove dead locks; returns how many. Raises Refused, naming who holds a live one."""
    removed = 0
    for lock in locks(folder):
        if not lock.is_dead:
            raise Refused(
                f"the stack is being changed by pulumi, process {lock.pid} of {lock.user} on "
                f"{lock.host}, since {lock.since}",
                f"wait for it; if that process no longer works, end it and remove {lock.file}",
            )
        for file in (lock.file, lock.file.with_name(f"{lock.file.name}.attrs")):
            file.unlink(missing_ok=True)
        removed += 1
    return removed
