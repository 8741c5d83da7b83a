"""The processes of this host, and which of them belong to a machine or a twin (Linux /proc)."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ProcessEntry:
    """A live process; `started` (clock ticks since boot) tells it from a later one of its pid."""

    pid: int
    parent: int
    command: str
    started: int

    def is_alive(self) -> bool:
        """Whether this very process still lives (a zombie does not)."""
        now = process_entry(self.pid)
        return now is not None and now.started == self.started


def process_entry(pid: int) -> ProcessEntry | None:
    """The live process with this pid; None when there is none or it is a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    name, _, rest = text.partition("(")[2].rpartition(")")
    fields = rest.split()
    if fields[0] in {"Z", "X"}:
        return None
    return ProcessEntry(pid=pid, parent=int(fields[1]), command=name, started=int(fields[19]))


def process_table() -> dict[int, ProcessEntry]:
    """Every live process of this host by pid, zombies left out."""
    found = (process_entry(int(path.name)) for path in Path("/proc").glob("[0-9]*"))
    return {entry.pid: entry for entry in found if entry}


def processes_of(directory: Path, marker: str) -> tuple[ProcessEntry, ...]:
    """The live processes that belong to `directory`, without this process and its ancestors.

    A process belongs by the variable `marker`=directory in its environment, by a working directory
    inside, or by descent from a process that belongs.
    """
    table = process_table()
    members = {pid for pid in table if belongs(pid, directory, marker)}
    grown = True
    while grown:
        children = {pid for pid, entry in table.items() if entry.parent in members} - members
        members |= children
        grown = bool(children)
    own = ancestry(os.getpid(), table)
    return tuple(table[pid] for pid in sorted(members - own))


def belongs(pid: int, directory: Path, marker: str) -> bool:
    """Whether the process itself shows the marker or works inside `directory`."""
    line = f"{marker}={directory}".encode()
    # The environment of another user's process cannot be read: its working directory may tell.
    with contextlib.suppress(OSError):
        if line in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            return True
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cwd").readlink().is_relative_to(directory)
    return False


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal; a process that is gone already is no error."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def end(entries: Iterable[ProcessEntry], *, timeout_seconds: float = 10.0) -> None:
    """SIGKILL these processes and wait until they are gone (or the time is over)."""
    left = [entry for entry in entries if entry.is_alive()]
    deadline = time.monotonic() + timeout_seconds
    while left and time.monotonic() < deadline:
        for entry in left:
            send(entry.pid, signal.SIGKILL)
        time.sleep(0.01)
        left = [entry for entry in left if entry.is_alive()]


def ancestry(pid: int, table: dict[int, ProcessEntry]) -> set[int]:
    """The pid itself and those of its ancestors."""
    found: set[int] = set()
    while pid and pid not in found:
        found.add(pid)
        pid = table[pid].parent if pid in table else 0
    return found
