"""PostgreSQL's audit trail: pgaudit's lines in the server log, whose files are one a day.

The log is read through the server (pg_read_file), so nothing of its machine is needed.
"""

from __future__ import annotations

import re
import secrets as random
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import PurePosixPath
from typing import Any

from orchestrator.collect.log_coverage import Coverage, gaps
from orchestrator.collect.observe import Observation
from orchestrator.drivers.postgresql import PostgreSQL
from orchestrator.drivers.postgresql_connection import Connection, row, value
from orchestrator.model.environment import Environment, Site

QUERY = (
    "an audited statement (on a primary a temporary table, rolled back; on a standby, which can "
    "run no statement of the configured classes, SET with pgaudit.log = misc_set in the session), "
    "then its AUDIT line by pg_read_file(pg_current_logfile()); pg_ls_logdir(); the first lines of "
    "the oldest file and of each file after a gap; pg_control_system()"
)
_SETTINGS = (
    "SELECT current_setting('shared_preload_libraries'), current_setting('pgaudit.log', true),"
    " current_setting('log_filename'), current_setting('log_directory'),"
    " current_setting('log_truncate_on_rotation'), pg_is_in_recovery()"
)
# The time of initdb, in seconds since 1970, is the upper half (xlog.c, BootStrapXLOG).
_CREATED = "SELECT (system_identifier >> 32)::float8 FROM pg_control_system()"
_CURRENT = "pg_current_logfile()"
_HEAD_BYTES = 4096
_PROBE_SECONDS = 5.0
_ENTRY = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?) UTC", re.MULTILINE)
_START = re.compile(r"LOG:  starting PostgreSQL ")


def look(environment: Environment, site: Site) -> Observation:
    """Ask one server. Raises InfrastructureError, psycopg.Error."""
    with PostgreSQL(environment, site).connect_local() as connection:
        return read(connection, environment.retention.audit_days)


def read(
    connection: Connection, retention_days: int, only: PurePosixPath | None = None
) -> Observation:
    """Ask over a superuser's connection; `only`: the one file of a server without a log collector.

    Raises psycopg.Error.
    """
    now = datetime.now(UTC)
    libraries, classes, pattern, directory, truncates, standby = row(connection, _SETTINGS)
    loaded = "pgaudit" in _list(libraries)
    current = "'{}'".format(str(only).replace("'", "''")) if only else _CURRENT
    probe = {"probe_written": False}
    if loaded:
        probe = _probe(connection, current, standby=bool(standby))
    if only:
        size = value(connection, f"SELECT (pg_stat_file({current})).size")
        directory, files = str(only.parent), [(now.date(), only.name, int(size))]
    else:
        files = _files(connection, pattern)
    created = datetime.fromtimestamp(float(value(connection, _CREATED)), UTC)
    oldest = _first_entry(_head(connection, directory, min(files)[1])) if files else None
    unexplained = [
        f"{before + timedelta(days=1)} to {after - timedelta(days=1)}"
        for before, after in gaps([day for day, _, _ in files])
        if not _START.search(_head(connection, directory, _name_of(files, after)))
    ]
    coverage = Coverage(created, oldest, retention_days)
    data = {
        "role": "standby" if standby else "primary",
        "pgaudit_loaded": loaded,
        "classes": _list(classes or ""),
        **probe,
        **coverage.to_data(now),
        "files": len(files),
        "size_bytes": sum(size for _, _, size in files),
        "current_file": value(connection, f"SELECT {current}"),
        "overwrites": truncates == "on" or not _is_dated(pattern),
        "unexplained_gaps": unexplained,
    }
    return Observation(data, len(files))


def _list(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _is_dated(pattern: str) -> bool:
    """Whether the file name never comes again: it has year, month and day."""
    return all(part in pattern for part in ("%Y", "%m", "%d")) or "%F" in pattern


def _files(connection: Connection, pattern: str) -> list[tuple[date, str, int]]:
    """The server's own log files, the oldest first: day, name, size in bytes."""
    found = []
    for name, size in connection.execute("SELECT name, size FROM pg_ls_logdir()").fetchall():
        try:
            day = datetime.strptime(name, pattern).date()  # noqa: DTZ007  (log_timezone is UTC)
        except ValueError:
            continue  # another program's log
        found.append((day, name, int(size)))
    return sorted(found)


def _name_of(files: list[tuple[date, str, int]], day: date) -> str:
    return next(name for other, name, _ in files if other == day)


def _head(connection: Connection, directory: str, name: str) -> str:
    path = str(PurePosixPath(directory) / name)
    query = "SELECT pg_read_binary_file(%s, 0, %s, true)"
    found = connection.execute(query, (path, _HEAD_BYTES)).fetchone()
    return bytes(found[0] or b"").decode(errors="replace") if found else ""


def _first_entry(text: str) -> datetime | None:
    """The time of the first line that has one (log_line_prefix begins with %m)."""
    found = _ENTRY.search(text)
    return datetime.fromisoformat(found[1]).replace(tzinfo=UTC) if found else None


def _probe(connection: Connection, current: str, *, standby: bool) -> dict[str, Any]:
    """Do something audited and look for its line in the log; `current` is the file, in SQL."""
    nonce = f"anlan_audit_probe_{random.token_hex(8)}"
    place = f"SELECT {current}, (pg_stat_file({current})).size"
    file, offset = row(connection, place)
    if standby:
        with connection.transaction():
            connection.execute("SET LOCAL pgaudit.log = 'misc_set'")
            statement = f"SET LOCAL application_name = '{nonce}'"
            connection.execute(statement.encode())
    else:
        statement = f"CREATE TEMPORARY TABLE {nonce} () ON COMMIT DROP"
        with connection.transaction(force_rollback=True):
            connection.execute(statement.encode())
    deadline = time.monotonic() + _PROBE_SECONDS
    written = False
    while not written and time.monotonic() < deadline:
        written = _is_audited(connection, file, int(offset), nonce)
        if not written:
            time.sleep(0.05)
            later = value(connection, f"SELECT {current}")
            file, offset = (file, offset) if later == file else (later, 0)
    return {"probe_written": written, "probe": statement}


def _is_audited(connection: Connection, file: str, offset: int, nonce: str) -> bool:
    query = "SELECT pg_read_binary_file(%s, %s, pg_size_bytes('4MB'), true)"
    found = connection.execute(query, (file, offset)).fetchone()
    text = bytes(found[0] or b"").decode(errors="replace") if found else ""
    return any("AUDIT: SESSION," in line and nonce in line for line in text.splitlines())
