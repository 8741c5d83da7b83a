"""A full disk under one database, and what the database says about it.

Nobody but root can make a small file system under a running server, so a limit stands for the full
disk: RLIMIT_FSIZE on the server's processes, one block short of a WAL segment. What is there can be
read and overwritten, no new segment can be allocated: as on a full disk. PostgreSQL ignores SIGXFSZ
so that such limits work like a full disk (its postmaster.c says so): the same write fails at the
same place, with the words "File too large" where "No space left on device" would be.

The limit is the processes' own. Whoever starts them anew, after a power cut, has given room back.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from orchestrator.drivers.host import Kill
from orchestrator.drivers.postgresql import PostgreSQL, Role
from orchestrator.drivers.processes import ProcessEntry
from orchestrator.model.errors import InfrastructureError

_SEGMENT_BYTES = 16 * 2**20
_BLOCK_BYTES = 8192
_RUNAWAY_MIB = 256
_RUNAWAY = "SELECT pg_logical_emit_message(true, 'anlan', repeat(md5(random()::text), 32768))"
_DOWN_SECONDS = 30.0
_TIMEOUT_SECONDS = 10.0
_LACK = re.compile(r"(No space left on device|File too large|Disk quota exceeded)$")


@dataclass(frozen=True)
class OutOfRoom:
    """What a server logged: its failed writes, and whether one of them was its own restart's."""

    failed_writes: tuple[str, ...]
    restart_failed: bool


def fill_disk(server: PostgreSQL, token: int) -> Kill:
    """Leave `server` no room for a new WAL segment, and write until it is down.

    Raises Refused for a stale fencing token, InfrastructureError when writes go on.
    """
    server.lease.check(token)
    began = time.monotonic_ns()
    # The parent first: then no child is new.
    limited: set[int] = set()
    while new := [one for one in _writers(server) if one.pid not in limited]:
        for process in new:
            _limit(server, process, str(_SEGMENT_BYTES - _BLOCK_BYTES))
            limited.add(process.pid)
    if server.role() is not Role.DOWN:
        _write_on(server)
    deadline = time.monotonic() + _DOWN_SECONDS
    while server.role() is not Role.DOWN:
        if time.monotonic() > deadline:
            raise InfrastructureError(
                f"the database of site {server.site.name} lives on without room for WAL",
                f"read {server.settings.logs}",
            )
        time.sleep(0.01)
    return Kill(processes=len(limited), began_ns=began, ended_ns=time.monotonic_ns())


def give_room(server: PostgreSQL) -> None:
    """Take the limit from the server's processes; one that has none is not disturbed."""
    # The parent first: a child that it made before that is found at the next look.
    while limited := [one for one in _writers(server) if _limit_of(one) is not None]:
        for process in limited:
            _limit(server, process, "unlimited")


def room_bytes(server: PostgreSQL) -> int:
    """The free bytes below the server's data; 0 when the server cannot use them.

    Raises InfrastructureError.
    """
    if any(_limit_of(process) is not None for process in _writers(server)):
        return 0
    try:
        return shutil.disk_usage(server.settings.data_directory).free
    except OSError as error:
        raise InfrastructureError(
            f"the file system of site {server.site.name} cannot be asked: {error}",
            "look at its data directory",
        ) from error


def log_time(at: datetime) -> str:
    """A time (aware) as the server's log writes it: to be compared with its lines."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:23]


def out_of_room(server: PostgreSQL, since: str) -> OutOfRoom:
    """What the server's log has to say since then (`log_time`) about writes without room.

    Raises InfrastructureError when it cannot be read.
    """
    failed: list[str] = []
    recovering = restart_failed = False
    try:
        # Today's, and yesterday's when midnight was a moment ago.
        for path in sorted(server.settings.log_directory.glob("postgresql-*.log"))[-2:]:
            for line in path.read_text(errors="replace").splitlines():
                if line[:23] < since or not line[:4].isdigit():
                    continue
                if _LACK.search(line):
                    failed.append(line)
                    restart_failed = recovering
                recovering = recovering or "automatic recovery in progress" in line
    except OSError as error:
        raise InfrastructureError(
            f"cannot read the log of site {server.site.name}: {error}", "look at its permissions"
        ) from error
    return OutOfRoom(tuple(failed), restart_failed)


def _write_on(server: PostgreSQL) -> None:
    """A runaway job: it writes WAL, a MiB in each transaction, until it may not."""
    with contextlib.suppress(psycopg.Error), server.connect_local() as connection:
        for _ in range(_RUNAWAY_MIB):
            connection.execute(_RUNAWAY)
        raise InfrastructureError(
            f"the database of site {server.site.name} wrote {_RUNAWAY_MIB} MiB without room",
            "see with `prlimit --pid` whether its processes are limited",
        )


def _writers(server: PostgreSQL) -> list[ProcessEntry]:
    """The server's processes that write data or WAL. Its logger writes on, as to another disk."""
    found = server.machine.program_processes(server.settings.program)
    return [one for one in found if b"logger" not in _command_line(one)]


def _command_line(process: ProcessEntry) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process.pid}/cmdline").read_bytes().rstrip(b"\0 ")
    return b""


def _limit_of(process: ProcessEntry) -> int | None:
    """The process's limit in bytes; None when it has none or is gone."""
    with contextlib.suppress(OSError):
        text = Path(f"/proc/{process.pid}/limits").read_text()
        found = re.search(r"^Max file size +(\d+)", text, re.MULTILINE)
        return int(found[1]) if found else None
    return None


def _limit(server: PostgreSQL, process: ProcessEntry, size: str) -> None:
    """Set the soft limit, as the server's own user: that takes no privilege, nor does undoing it.

    A process that ended meanwhile is no error.
    """
    try:
        server.machine.run(
            ["prlimit", f"--pid={process.pid}", f"--fsize={size}:"],
            as_user=server.site.machine.service_user,
            timeout_seconds=_TIMEOUT_SECONDS,
        )
    except InfrastructureError:
        if process.is_alive():
            raise
