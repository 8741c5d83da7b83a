"""Verbs that start and end the probes: the ledger (RPO), the ERP's clients (RTO), the primaries."""

from __future__ import annotations

import shutil
import time

from orchestrator.drivers.postgresql_connection import connect_read_write
from orchestrator.probes import availability, ledger, primaries
from orchestrator.probes.background import Probe
from orchestrator.steps.context import Context
from orchestrator.steps.registry import verb
from orchestrator.verdict.journal import read_journal

_PROBE_SECONDS = 7200.0
_FIRST_ANSWER_SECONDS = 30.0
_GOOD = {"ledger": "acknowledged", "availability": "ok", "primaries": "answer"}
_BAD = {"ledger": "unknown", "availability": "error", "primaries": "no_answer"}


def keep_journal(context: Context, name: str) -> None:
    """Copy a probe's journal into the raw evidence, whole or not at all."""
    source = context.probe_directory(name) / "journal.jsonl"
    if source.exists():
        target = context.raw / f"{name}.jsonl"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target.with_suffix(".part"))
        target.with_suffix(".part").replace(target)


def _end_ledger(context: Context) -> None:
    ledger.ledger(context.probe_directory("ledger")).stop()
    keep_journal(context, "ledger")
    with connect_read_write(context.environment, context.database_login) as connection:
        ledger.cleanup(connection, context.run_id)


def _end_erp_clients(context: Context) -> None:
    availability.availability(context.probe_directory("availability")).stop()
    keep_journal(context, "availability")
    context.await_until("the front door's ERP", lambda: _is_served(context), interval_seconds=0.2)
    erp = context.erp()
    availability.cleanup(erp, context.run_id)
    erp.logout()


def _end_primary_watch(context: Context) -> None:
    primaries.primaries(context.probe_directory("primaries")).stop()
    keep_journal(context, "primaries")


@verb(undo=_end_ledger)
def start_ledger(context: Context) -> None:
    """Writers commit numbered keys, and note which were acknowledged (RPO)."""
    ledger.start(
        context.probe_directory("ledger"),
        context.environment,
        context.database_login,
        context.run_id,
        max_seconds=_PROBE_SECONDS,
    )


@verb(undo=_end_erp_clients)
def start_erp_clients(context: Context) -> None:
    """Clients write through the front door into the ERP, and note what happens (RTO)."""
    availability.start(
        context.probe_directory("availability"),
        context.environment,
        context.erp_login,
        context.run_id,
        max_seconds=_PROBE_SECONDS,
    )


@verb(undo=_end_primary_watch)
def start_primary_watch(context: Context) -> None:
    """Both databases are asked again and again whether they accept writes."""
    primaries.start(
        context.probe_directory("primaries"),
        context.environment,
        context.database_login,
        context.run_id,
        max_seconds=_PROBE_SECONDS,
    )


@verb()
def observe_baseline(context: Context) -> None:
    """Watch the healthy environment: every probe must see it work before anything is broken."""
    running = [name for name in _GOOD if context.probe_directory(name).exists()]
    for name in running:
        context.require(f"{name}_probe_runs", _probe(context, name).is_running(), "it lives")
        # A server that was started just now may take its time for the first answer.
        until = time.monotonic() + _FIRST_ANSWER_SECONDS
        while not _answered(context, name) and time.monotonic() < until:
            time.sleep(0.05)
    time.sleep(float(context.options["seconds"]))
    for name in running:
        good, bad = _seen(context, name)
        context.require(f"{name}_baseline", good > 0 and not bad, f"{good} answered, {bad} not")
    context.mark("baseline_end")


def _answered(context: Context, name: str) -> bool:
    return _seen(context, name)[0] > 0


def _seen(context: Context, name: str) -> tuple[int, int]:
    """How many questions of a probe were answered, and how many were not."""
    kinds = [entry["kind"] for entry in read_journal(context.probe_directory(name)).entries]
    return kinds.count(_GOOD[name]), kinds.count(_BAD[name])


def _probe(context: Context, name: str) -> Probe:
    return Probe(f"orchestrator.probes.{name}", context.probe_directory(name))


def _is_served(context: Context) -> bool:
    return all(state.healthy for state in context.front_door.servers() if state.enabled)
