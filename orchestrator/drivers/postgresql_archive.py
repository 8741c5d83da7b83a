"""WAL that a promoted server got from its predecessor, and that nobody archives by itself.

A standby marks each segment that it receives as archived (`.done`), for that is its primary's work.
A primary that dies first leaves a gap: the standby has the segment, is promoted, and looks at its
own alone. A recovery from a backup before the gap stops there, whatever came later.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from orchestrator.drivers.postgresql import PostgreSQL
from orchestrator.model.errors import InfrastructureError

_MARKED = re.compile(r"([0-9A-F]{24})\.done")


def held(server: PostgreSQL) -> frozenset[str]:
    """The whole segments that a server has and takes for archived."""
    wal = server.settings.data_directory / "pg_wal"
    marked = (_MARKED.fullmatch(path.name) for path in (wal / "archive_status").glob("*.done"))
    return frozenset(found[1] for found in marked if found and (wal / found[1]).exists())


def archive_again(server: PostgreSQL, token: int, segments: Iterable[str]) -> None:
    """Let a primary's archiver take these segments; those that it archives already are fine.

    Raises Refused for a stale fencing token, InfrastructureError when a mark cannot be changed.
    """
    server.lease.check(token)
    status = server.settings.data_directory / "pg_wal" / "archive_status"
    for segment in sorted(segments):
        try:
            (status / f"{segment}.done").rename(status / f"{segment}.ready")
        except FileNotFoundError:
            continue
        except OSError as error:
            raise InfrastructureError(
                f"cannot mark {segment} to be archived: {error}", f"make {status} writable"
            ) from error
    server.switch_wal()  # else the archiver looks for work once a minute


def waiting(server: PostgreSQL, segments: Iterable[str]) -> list[str]:
    """Of these segments those that the archiver has not done yet."""
    status = server.settings.data_directory / "pg_wal" / "archive_status"
    return [one for one in sorted(segments) if (status / f"{one}.ready").exists()]
