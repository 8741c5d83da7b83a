"""The availability probe measures RTO as a client sees it: ERP writes through the front door.

Each client creates a party, waits for the acknowledgement, pauses, and goes on; whatever fails is
noted with its latency. RTO ends at the first acknowledged write that was begun after the fault.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from orchestrator.drivers.credentials import Credentials
from orchestrator.drivers.erp import Erp, ErpSessionExpired
from orchestrator.model.environment import Environment
from orchestrator.model.errors import InfrastructureError
from orchestrator.probes.background import Probe, Stopper, run_threads
from orchestrator.probes.journal import JournalWriter

MODEL = "party.party"


def availability(directory: Path) -> Probe:
    """The availability probe with this directory."""
    return Probe("orchestrator.probes.availability", directory)


def marker(run_id: str) -> str:
    """What the names of the run's parties begin with."""
    return f"anlan-{run_id}-"


def start(
    directory: Path,
    environment: Environment,
    credentials: Credentials,
    run_id: str,
    *,
    clients: int = 2,
    interval_seconds: float = 0.05,
    request_timeout_seconds: float = 3.0,
    max_seconds: float = 3600.0,
) -> Probe:
    """Start the clients against the front door. Raises InfrastructureError."""
    probe = availability(directory)
    door = environment.front_door
    probe.start(
        {
            "run": run_id,
            "threads": clients,
            "max_seconds": max_seconds,
            "url": door.url,
            "database": environment.starting_primary.erp.database,
            "ca_file": str(environment.tls.ca_file),
            "username": credentials.username,
            "password": credentials.password,
            "interval_seconds": interval_seconds,
            "request_timeout_seconds": request_timeout_seconds,
            "public": {"url": door.url, "clients": clients, "interval_seconds": interval_seconds},
        }
    )
    return probe


def cleanup(erp: Erp, run_id: str) -> int:
    """Delete the parties of a run with a logged-in client; returns how many there were.

    Raises InfrastructureError.
    """
    ids = erp.search(
        MODEL, [["name", "like", f"{marker(run_id)}%"], ["active", "in", [True, False]]]
    )
    for begin in range(0, len(ids), 100):
        erp.delete(MODEL, ids[begin : begin + 100])
    return len(ids)


def use_erp(
    settings: dict[str, Any], journal: JournalWriter, stopper: Stopper, number: int
) -> None:
    """One client: log in, create parties; after an expired session log in again."""
    credentials = Credentials(settings["username"], settings["password"])
    timeout = float(settings["request_timeout_seconds"])
    erp = Erp(
        settings["url"], settings["database"], Path(settings["ca_file"]), timeout_seconds=timeout
    )
    logged_in = False
    interval = float(settings["interval_seconds"])
    incarnation = f"{time.monotonic_ns():x}"
    count = 0
    while not stopper.is_set():
        count += 1
        began = time.monotonic_ns()
        name = f"{marker(settings['run'])}{incarnation}-{number}-{count}"
        try:
            if not logged_in:
                erp.login(credentials)
                logged_in = True
                began = time.monotonic_ns()
            id_ = erp.create(MODEL, [{"name": name}])[0]
            journal.write("ok", began=began, id=id_, name=name, client=number)
        except InfrastructureError as error:
            if isinstance(error, ErpSessionExpired):
                logged_in = False
            journal.write("error", began=began, client=number, error=error.what[:300])
        stopper.wait(interval - (time.monotonic_ns() - began) / 1e9)


if __name__ == "__main__":
    run_threads("availability", use_erp)
