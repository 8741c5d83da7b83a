"""Verbs of the partition: cut the line between the sites, go on alone by rule, come together."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from orchestrator.drivers.fencing import FencingProof
from orchestrator.drivers.postgresql import PostgreSQL, Reach, ReplicaStatus, Role, lsn_bytes
from orchestrator.drivers.postgresql_connection import value
from orchestrator.model.errors import Refused
from orchestrator.probes import ledger
from orchestrator.steps import topology
from orchestrator.steps.asking import ask_primary, call_no_failure
from orchestrator.steps.context import Context, StepFailed
from orchestrator.steps.detection import Absence
from orchestrator.steps.registry import verb
from orchestrator.verdict.journal import read_journal


@verb(undo=topology.restore)
def cut_line(context: Context) -> None:
    """Cut the line between the sites: they are silent to each other, and both live on."""
    if context.marked("fault_done") is not None:
        return
    line = context.environment.line.ends[context.home.name]
    port = context.servers[context.away.name].receiver().sender_port
    if context.marked("fault") is None and port != line.port:
        raise StepFailed(
            f"the standby replicates by port {port}, not by the line ({line.port}): a switchover "
            "joins both sites anew"
        )
    context.mark("fault")
    cut = context.line.freeze_program(context.environment.line.program, context.token)
    context.check("line_cut", cut.processes > 0, f"{cut.processes} processes stopped")
    context.mark("fault_done", cut.ended_ns)


@verb()
def degrade_primary(context: Context) -> None:
    """Nobody calls the primary failed; after a grace without its standby it commits alone."""
    primary, away = context.servers[context.home.name], context.servers[context.away.name]
    if context.marked("degraded") is None:
        _check_reads(context, primary)
        absence = Absence(float(context.options["standby_grace_seconds"]))

        def gone() -> bool:
            standby = _standby(context)
            return absence.lasts(time.monotonic(), standby.heard_seconds if standby else None)

        call_no_failure(context, lambda: gone() or time.monotonic() > context.deadline)
        if not gone():
            raise StepFailed(f"site {away.site.name} is still heard: nothing to degrade for")
        if primary.settings.synchronous:
            context.mark("detected")
        # The rule: a primary that commits on its own disk is not failed over from, cut off or not.
        reach = ask_primary(context)
        context.require("primary_commits", reach is Reach.ANSWERS, f"its own disk: {reach}")
        role = away.role()
        context.check("standby_lives", role is Role.STANDBY, f"site {away.site.name} is {role}")
        _go_on_alone(context, primary)
    names = primary.synchronous_names()
    context.check("commits_alone", not names, f"synchronous_standby_names is {names!r}")


@verb()
def check_cut_off_standby(context: Context) -> None:
    """The cut-off standby falls behind, and cannot be promoted: the primary is not fenced."""
    primary, away = context.servers[context.home.name], context.servers[context.away.name]
    while time.monotonic_ns() - context.mark("alone") < float(context.options["seconds"]) * 1e9:
        time.sleep(0.05)
    behind = lsn_bytes(primary.current_lsn()) - lsn_bytes(away.receiver().received_lsn)
    context.check("standby_is_behind", behind > 0, f"{behind} bytes of WAL are at one site alone")
    try:
        proof = topology.fence(context, context.home.name)
        context.check("fence_refused", False, f"a living primary was proven fenced: {proof.checks}")
    except Refused as error:
        context.check("fence_refused", True, error.what)
    try:
        # Of the wrong site and with nothing seen: should one refusal be lost, the other holds.
        nothing = FencingProof(away.site.name, datetime.now(UTC), "database", {})
        away.promote(context.token, nothing)
        context.check("promotion_refused", False, "it was promoted without a proof")
    except Refused as error:
        context.check("promotion_refused", True, error.what)
    role = away.role()
    context.require("still_a_standby", role is Role.STANDBY, f"site {away.site.name} is {role}")


@verb()
def heal_line(context: Context) -> None:
    """The line is back."""
    context.line.thaw_program(context.environment.line.program)
    context.mark("healed")


@verb()
def resynchronise(context: Context) -> None:
    """The standby catches up, and only then do commits wait for it again, as the tier says."""
    primary, away = context.servers[context.home.name], context.servers[context.away.name]
    name = away.settings.application_name
    primary.await_streaming(name, timeout_seconds=context.seconds_left)
    seconds = _catch_up(context, primary, away)
    context.check("standby_caught_up", True, f"{seconds:.2f} s after the line was back")
    primary.set_synchronous([name] if primary.settings.synchronous else [])
    # What was acknowledged just before the setting was taken is there too.
    _catch_up(context, primary, away)
    wanted = "sync" if primary.settings.synchronous else "async"
    context.await_until(f"{name} as {wanted}", lambda: _mode(context) == wanted)
    context.mark("protected")
    context.check("synchronous_again", _mode(context) == wanted, f"{name} is {_mode(context)}")


@verb()
def check_standby_keys(context: Context) -> None:
    """The standby holds every key that was acknowledged, also those of the time alone."""
    journal = read_journal(context.probe_directory("ledger"))
    kept = {str(one["key"]) for one in journal.entries if one["kind"] == "acknowledged"}
    away = context.servers[context.away.name]
    # The writers have ended: what the primary wrote last is replayed in a moment.
    target = lsn_bytes(context.servers[context.home.name].current_lsn())
    context.await_until("the last WAL", lambda: lsn_bytes(away.current_lsn()) >= target)
    with away.connect_local(context.home.database.name) as connection:
        missing = kept - set(ledger.recovered_keys(connection, context.run_id))
    detail = f"{len(missing)} of {len(kept)} acknowledged keys are missing at {away.site.name}"
    context.check("standby_has_every_key", not missing if kept else None, detail)


def _check_reads(context: Context, primary: PostgreSQL) -> None:
    """Reads are served while commits wait for the standby."""
    with primary.connect(context.database_login) as connection:
        rows = int(value(connection, "SELECT count(*) FROM anlan.ledger"))
    context.check("reads_served", rows > 0, f"{rows} rows were read while the line was cut")


def _go_on_alone(context: Context, primary: PostgreSQL) -> None:
    """Make commits wait for nobody; what was waiting is acknowledged."""
    primary.lease.check(context.token)
    if primary.settings.synchronous:
        context.mark("exposed")
        primary.set_synchronous([])
        context.mark("degraded")
    else:  # it never waited, nor did its clients: neither mark is part of their RTO
        context.mark("exposed", context.marked("fault_done"))


def _standby(context: Context) -> ReplicaStatus | None:
    """The standby as its primary sees it now."""
    name = context.away.database.application_name
    replicas = context.servers[context.home.name].replicas()
    return next((one for one in replicas if one.application_name == name), None)


def _mode(context: Context) -> str:
    standby = _standby(context)
    return standby.sync_state if standby else "not there"


def _catch_up(context: Context, primary: PostgreSQL, away: PostgreSQL) -> float:
    """Wait until the standby has on its disk what the primary has now; returns seconds healed."""
    target = lsn_bytes(primary.current_lsn())
    context.await_until(
        "the standby's disk", lambda: lsn_bytes(away.receiver().received_lsn) >= target
    )
    return (time.monotonic_ns() - context.mark("healed")) / 1e9
