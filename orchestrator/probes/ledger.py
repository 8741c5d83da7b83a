"""The ledger probe measures RPO: writers commit numbered keys and note what was acknowledged.

After the drill the journal is compared with the table in the system that survived. A key that was
acknowledged and is not there is lost. A key that was sent and neither acknowledged nor refused is
in doubt: it may be there or not, and is not counted as lost.

RPO in transactions is the number of lost keys. RPO in seconds is the age of the oldest lost
acknowledged write at the moment of the fault; 0 when none is lost.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.errors import ReadOnlySqlTransaction

from orchestrator.drivers.credentials import Credentials
from orchestrator.drivers.postgresql_connection import Connection, connection_parameters
from orchestrator.model.environment import Environment
from orchestrator.model.errors import InfrastructureError
from orchestrator.probes.background import Probe, Stopper, run_threads
from orchestrator.probes.journal import Journal, JournalWriter

_RECONNECT_PAUSE_SECONDS = 0.05
_TABLE = """\
CREATE TABLE IF NOT EXISTS anlan.ledger (
  run text NOT NULL,
  key text NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (run, key)
)"""


@dataclass(frozen=True)
class Reconciliation:
    """Journal against table. Counts are of keys; `lost` lists every lost key."""

    acknowledged: int
    recovered: int
    lost: tuple[str, ...]
    in_doubt_committed: tuple[str, ...]
    in_doubt_absent: tuple[str, ...]
    rpo_transactions: int
    rpo_seconds: float


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


def reconcile(
    journal: Journal,
    recovered: Collection[str],
    fault_ns: int | None,
    *,
    until_ns: int | None = None,
) -> Reconciliation:
    """Compare a journal with the keys that were found in the recovered database. Pure.

    `fault_ns` is the monotonic time of the fault; without one the last entry's time is taken.
    With `until_ns` (a point-in-time target) a write counts as acknowledged only up to then, and
    one that was sent later counts not at all. Raises InfrastructureError for a journal without
    an acknowledged write.
    """
    sent: dict[str, int] = {}
    acknowledged: dict[str, int] = {}
    refused = set()
    for entry in journal.entries:
        if entry["kind"] == "sent" and (until_ns is None or entry["t"] <= until_ns):
            sent[entry["key"]] = entry["t"]
        elif entry["kind"] == "acknowledged" and (until_ns is None or entry["t"] <= until_ns):
            acknowledged[entry["key"]] = entry["t"]
        elif entry["kind"] == "refused":
            refused.add(entry["key"])
    if not acknowledged:
        raise InfrastructureError(
            "the ledger has no acknowledged write: it proves nothing about loss",
            "see in its journal and log why no write succeeded",
        )
    there = set(recovered)
    lost = sorted(acknowledged.keys() - there, key=acknowledged.__getitem__)
    doubtful = sorted(sent.keys() - acknowledged.keys() - refused, key=sent.__getitem__)
    fault = fault_ns if fault_ns is not None else int(journal.entries[-1]["t"])
    return Reconciliation(
        acknowledged=len(acknowledged),
        recovered=len(acknowledged) - len(lost),
        lost=tuple(lost),
        in_doubt_committed=tuple(key for key in doubtful if key in there),
        in_doubt_absent=tuple(key for key in doubtful if key not in there),
        rpo_transactions=len(lost),
        rpo_seconds=max(0.0, (fault - acknowledged[lost[0]]) / 1e9) if lost else 0.0,
    )


def sent_after(journal: Journal, t_ns: int) -> frozenset[str]:
    """The keys whose write was begun after `t_ns`."""
    return frozenset(
        str(entry["key"])
        for entry in journal.entries
        if entry["kind"] == "sent" and entry["t"] > t_ns
    )


def first_acknowledged_after(journal: Journal, t_ns: int) -> int | None:
    """When the first write that was sent after `t_ns` was acknowledged; None if none was."""
    sent = sent_after(journal, t_ns)
    times = [
        int(entry["t"])
        for entry in journal.entries
        if entry["kind"] == "acknowledged" and entry["key"] in sent
    ]
    return min(times, default=None)


def rate_per_second(journal: Journal, from_ns: int, to_ns: int) -> float:
    """Acknowledged writes per second between two monotonic times."""
    count = sum(
        entry["kind"] == "acknowledged" and from_ns <= entry["t"] < to_ns
        for entry in journal.entries
    )
    return count / ((to_ns - from_ns) / 1e9) if to_ns > from_ns else 0.0


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
