"""The dual-primary probe: both servers are asked again and again whether they accept writes.

`orchestrator.verdict.primaries` judges the answers.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import psycopg

from orchestrator.drivers.credentials import Credentials
from orchestrator.drivers.postgresql_connection import Connection, connection_parameters, value
from orchestrator.model.environment import Environment
from orchestrator.probes.background import Probe, Stopper, run_threads
from orchestrator.probes.journal import JournalWriter

_QUERY = "SELECT NOT pg_is_in_recovery()"


def primaries(directory: Path) -> Probe:
    """The dual-primary probe with this directory."""
    return Probe("orchestrator.probes.primaries", directory)


def start(
    directory: Path,
    environment: Environment,
    credentials: Credentials,
    run_id: str,
    *,
    interval_seconds: float = 0.05,
    max_seconds: float = 3600.0,
) -> Probe:
    """Start asking every site's server by TLS. Raises InfrastructureError."""
    probe = primaries(directory)
    sites = [
        {
            "site": name,
            "connection": connection_parameters(
                environment, [site], credentials, read_write=False, timeout_seconds=2
            ),
        }
        for name, site in environment.sites.items()
    ]
    probe.start(
        {
            "run": run_id,
            "threads": len(sites),
            "max_seconds": max_seconds,
            "sites": sites,
            "interval_seconds": interval_seconds,
            "public": {"sites": sorted(environment.sites), "interval_seconds": interval_seconds},
        }
    )
    return probe


def ask(settings: dict[str, Any], journal: JournalWriter, stopper: Stopper, number: int) -> None:
    """Ask one site whether it is writable, for ever."""
    site = settings["sites"][number]
    interval = float(settings["interval_seconds"])
    connection: Connection | None = None
    while not stopper.is_set():
        began = time.monotonic_ns()
        try:
            if connection is None:
                connection = psycopg.connect(**site["connection"], autocommit=True)
            # The clock starts when the question goes out: a connection may take long.
            began = time.monotonic_ns()
            writable = bool(value(connection, _QUERY))
            journal.write("answer", site=site["site"], asked=began, writable=writable)
        except psycopg.Error as error:
            if connection is not None:
                connection.close()
                connection = None
            text = str(error).splitlines()[0] if str(error) else type(error).__name__
            journal.write("no_answer", site=site["site"], asked=began, error=text[:200])
        stopper.wait(interval - (time.monotonic_ns() - began) / 1e9)


if __name__ == "__main__":
    run_threads("primaries", ask)
