"""The commits in a repository's archive, in the order in which a recovery replays them.

pgBackRest fetches the segments into the twin, where later recoveries find them, and pg_waldump
reads them: the archive alone is asked, as in a recovery. After a failover it holds more than one
timeline: each segment is taken from the newest that had begun by then, which carries over what its
parent wrote.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from orchestrator.drivers.files import own
from orchestrator.drivers.postgresql import lsn_bytes
from orchestrator.drivers.process import run
from orchestrator.drivers.twin import MARKER
from orchestrator.drivers.twin_database import TwinDatabase
from orchestrator.drivers.wal_names import segment_name, segment_number
from orchestrator.model.errors import InfrastructureError

_PARALLEL = 2
_RECORD = re.compile(r"tx: +(\d+), lsn: (\S+), prev \S+, desc: (\w+) ?(\S+ \S+ UTC)?")


@dataclass(frozen=True)
class Commit:
    """A committed transaction: its id, where its commit is in the WAL, and when it came (UTC)."""

    xid: str
    lsn: str
    at: datetime


def archived_commits(
    database: TwinDatabase,
    *,
    after_lsn: str,
    until_lsn: str,
    first_wal: str,
    last_wal: str,
    timeout_seconds: float,
) -> tuple[Commit, ...]:
    """Every commit from `after_lsn` up to `until_lsn`; the segments are all that are needed.

    `first_wal` is where the recovery of the backup begins, `last_wal` holds `until_lsn`.

    The twin's database must have been restored (pgBackRest compares the system's identifier).
    Raises InfrastructureError when a segment is missing or the WAL ends before `until_lsn`.
    """
    folder, read = database.wal_directory, database.wal_directory / "read"
    for one in (folder, read):
        one.mkdir(exist_ok=True)
        own(one, database.site.machine.service_user)
    fetch = partial(
        database.archive().fetch_archived,
        environment={MARKER: str(database.twin.directory)},
        timeout_seconds=timeout_seconds,
    )
    timeline = last_wal[:8]
    switches: list[tuple[str, int]] = []
    # A recovery looks for the newest timeline one by one, so it needs the history of each.
    for number in range(max(2, int(first_wal[:8], 16)), int(timeline, 16) + 1):
        history = folder / f"{number:08X}.history"
        fetch(history.name, history)
        switches = _switches(history.read_text())
    size = database.segment_bytes()
    first, last = segment_number(first_wal, size), segment_number(last_wal, size)

    def fetch_segment(number: int) -> None:
        name = segment_name(number, size)
        segment = next((tli for tli, end in switches if number < end // size), timeline) + name
        if not (folder / segment).exists():
            fetch(segment, folder / f"{segment}.part")
            (folder / f"{segment}.part").rename(folder / segment)
        # All timelines under the name of one, so that they are read as one.
        link = read / f"{timeline}{name}"
        if not link.is_symlink():
            link.symlink_to(folder / segment)

    with ThreadPoolExecutor(_PARALLEL) as pool:
        list(pool.map(fetch_segment, range(first, last + 1)))
    ends = [f"{timeline}{segment_name(number, size)}" for number in (first, last)]
    seen = list(_records(database, read, *ends, timeout_seconds=timeout_seconds))
    until = lsn_bytes(until_lsn)
    if not seen or lsn_bytes(seen[-1][1]) < until:
        raise InfrastructureError(
            f"the archived WAL ends at {seen[-1][1] if seen else first_wal}, before {until_lsn}",
            "see archive_command in the primary's log, and `pgbackrest verify`",
        )
    return tuple(
        Commit(xid, lsn, datetime.fromisoformat(at.removesuffix(" UTC")).replace(tzinfo=UTC))
        for xid, lsn, what, at in seen
        if what == "COMMIT" and xid != "0" and lsn_bytes(after_lsn) <= lsn_bytes(lsn) < until
    )


def _records(
    database: TwinDatabase, folder: Path, first: str, last: str, *, timeout_seconds: float
) -> Iterator[tuple[str, str, str, str]]:
    """Transaction id, LSN, kind and time of each record about a transaction or the WAL itself."""
    finished = run(
        [
            database.bin_directory / "pg_waldump",
            "--rmgr=Transaction",
            "--rmgr=XLOG",
            f"--path={folder}",
            first,
            last,
        ],
        timeout_seconds=timeout_seconds,
        as_user=database.site.machine.service_user,
        environment={"TZ": "UTC"},
        accept=(0, 1),  # it finds no next record after the last segment
    )
    for found in _RECORD.finditer(finished.output):
        yield found[1], found[2], found[3], found[4] or ""


def _switches(history: str) -> list[tuple[str, int]]:
    """The parents of a timeline and where each ended, the oldest first."""
    lines = [line.split() for line in history.splitlines()]
    return [(f"{int(words[0]):08X}", lsn_bytes(words[1])) for words in lines if len(words) > 1]
