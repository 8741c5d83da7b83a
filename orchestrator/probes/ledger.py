"""The ledger probe measures RPO: writers commit numbered keys and note what was acknowledged.

After the drill the journal is compared with the table in the system that survived
(`orchestrator.verdict.ledger`).
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import psycopg
from psycopg.errors import ReadOnlySqlTransaction

from orchestrator.drivers.credentials import Credentials
from orchestrator.drivers.postgresql_connection import Connection, connection_parameters
from orchestrator.model.environment import Environment
from orchestrator.probes.background import Probe, Stopper, run_threads
from orchestrator.probes.journal import JournalWriter

_RECONNECT_PAUSE_SECONDS = 0.05
_TABLE = """\
CREATE TABLE IF NOT EXISTS anlan.ledger (
  run text NOT NULL,
  key text NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (run, key)
)"""


def ledger(directory: Path) -> Probe:
    """The ledger probe with this directory."""
    return Probe("orchestrator.probes.ledger", directory)


def start(
    directory: Path,
    environment: Environment,
    credentials: Credentials,
    run_id: str,
    *,
    writers: int = 4,
    writes_per_second: float = 10.0,
    max_seconds: float = 3600.0,
) -> Probe:
    """Start the writers (`writes_per_second` each) against whichever site accepts writes.

    Raises InfrastructureError.
    """
    probe = ledger(directory)
    parameters = connection_parameters(
        environment,
        list(environment.sites.values()),
        credentials,
        read_write=True,
        timeout_seconds=2,
    )
    probe.start(
        {
            "run": run_id,
            "threads": writers,
            "max_seconds": max_seconds,
            "connection": parameters,
            "writes_per_second": writes_per_second,
            "public": {"writers": writers, "writes_per_second": writes_per_second},
        }
    )
    return probe


def prepare(connection: Connection) -> None:
    """Create the ledger's table in the schema `anlan`, if it is missing. Raises psycopg.Error."""
    connection.execute(_TABLE)


def cleanup(connection: Connection, run_id: str) -> int:
    """Delete the rows of one run; returns how many there were. Raises psycopg.Error."""
    return connection.execute("DELETE FROM anlan.ledger WHERE run = %s", (run_id,)).rowcount


def recovered_keys(connection: Connection, run_id: str) -> list[str]:
    """The keys of a run that the database behind `connection` holds. Raises psycopg.Error."""
    rows = connection.execute(
        "SELECT key FROM anlan.ledger WHERE run = %s ORDER BY key", (run_id,)
    ).fetchall()
    return [str(key) for (key,) in rows]


def write_keys(
    settings: dict[str, Any], journal: JournalWriter, stopper: Stopper, number: int
) -> None:
    """One writer: a key, its acknowledgement, the next; after an error a new connection at once."""
    incarnation = f"{time.monotonic_ns():x}"
    pause = 1.0 / float(settings["writes_per_second"])
    connection: Connection | None = None
    count = 0
    while not stopper.is_set():
        began = time.monotonic()
        if connection is None:
            try:
                connection = psycopg.connect(**settings["connection"], autocommit=True)
                connection.prepare_threshold = 1
            except psycopg.Error as error:
                journal.write("no_connection", writer=number, error=_reason(error))
                stopper.wait(_RECONNECT_PAUSE_SECONDS)
                continue
        count += 1
        key = f"{incarnation}-{number}-{count}"
        journal.write("sent", key=key)
        try:
            connection.execute(
                "INSERT INTO anlan.ledger (run, key) VALUES (%s, %s)", (settings["run"], key)
            )
            journal.write("acknowledged", key=key)
        except ReadOnlySqlTransaction as error:
            # A standby said no before anything was written: certainly not committed.
            journal.write("refused", key=key, error=_reason(error))
            connection.close()
            connection = None
        except psycopg.Error as error:
            journal.write("unknown", key=key, error=_reason(error))
            connection.close()
            connection = None
        stopper.wait(pause - (time.monotonic() - began) if connection else _RECONNECT_PAUSE_SECONDS)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200]


if __name__ == "__main__":
    run_threads("ledger", write_keys)
