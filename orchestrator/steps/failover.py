"""Verbs of the failover: break a site, notice, decide, fence, promote, route, count."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from orchestrator.drivers.files import write_atomically
from orchestrator.drivers.host import Kill
from orchestrator.drivers.postgresql import PostgreSQL, Reach, Role
from orchestrator.drivers.postgresql_commit import hasty_commits
from orchestrator.drivers.postgresql_connection import connect_read_write
from orchestrator.drivers.postgresql_room import fill_disk, log_time, out_of_room, room_bytes
from orchestrator.model.errors import InfrastructureError, InputError
from orchestrator.model.fact import timestamp
from orchestrator.probes import ledger
from orchestrator.probes.invariants import check_invariants
from orchestrator.steps import topology
from orchestrator.steps.asking import ask_primary, call_no_failure, detector_of
from orchestrator.steps.context import Context, StepFailed
from orchestrator.steps.registry import verb
from orchestrator.verdict.availability import first_ok_after
from orchestrator.verdict.journal import read_journal

_LEAST_ROOM_MIB = 64


@verb(undo=topology.restore)
def break_primary(context: Context) -> None:
    """Break the primary as the drill says: kill its site, or kill, freeze or fill its database."""
    if context.marked("fault_done") is not None:
        return
    again = context.marked("fault") is not None
    at = context.note("fault_at", {"log_time": log_time(datetime.now(UTC))})
    # RTO counts from before the first signal, and "after the fault" means after the last one: a
    # crash between the two marks makes the measured RTO longer, never shorter.
    context.mark("fault")
    server, fault = context.servers[context.home.name], str(context.options["fault"])
    program = server.settings.program
    match fault:
        case "site":
            kill = server.machine.kill(context.token)
        case "database-killed":
            kill = server.machine.kill_program(program, context.token)
        case "database-frozen":
            kill = server.machine.freeze_program(program, context.token)
        case "disk-full":
            kill = fill_disk(server, context.token)
        case _:
            raise InputError(f"there is no fault {fault!r}", "site, database-killed, …")
    if fault == "disk-full":
        # Its own words tell it also when an earlier attempt left no process to be limited.
        failed = out_of_room(server, str(at["log_time"])).failed_writes
        context.check("primary_broken", bool(failed), f"{fault}: {(*failed, 'nothing said')[0]}")
    else:
        broken, detail = _hit(kill, again=again)
        context.check("primary_broken", broken, f"{fault}: {detail}")
    # Last: once it is set, nothing above is done or checked again.
    context.mark("fault_done", kill.ended_ns)


def _hit(kill: Kill, *, again: bool) -> tuple[bool, str]:
    """Whether a fault hit something, and what; an attempt that died may have hit it before."""
    before = " now: an attempt that died hit it" if again and not kill.processes else ""
    return kill.processes > 0 or again, f"{kill.processes} processes{before}"


@verb(undo=topology.restore)
def drain_primary(context: Context) -> None:
    """Let the requests at work end, stop the primary cleanly; the standby then has every write."""
    if context.marked("fault_done") is not None:
        return
    context.mark("fault")
    home, away = (context.servers[site.name] for site in (context.home, context.away))
    seconds = float(context.options["seconds"])
    left = context.front_door.drain(context.token, timeout_seconds=seconds)
    context.check("requests_drained", left == 0, f"{left} requests at work after {seconds:g} s")
    home.machine.program_stop(home.site.erp.program)
    topology.drain(away, home)
    context.check("standby_has_everything", True, f"the last WAL of site {home.site.name}")
    # What a client is told after this moment comes from the new primary.
    context.mark("drained", context.mark("fault_done"))


@verb()
def detect_failure(context: Context) -> None:
    """Ask the primary's database from the network for a commit, until it counts as failed."""
    detector = detector_of(context)
    while not detector.failed(time.monotonic(), ask_primary(context)):
        if time.monotonic() > context.deadline:
            raise StepFailed(f"site {context.home.name} still commits: nothing to fail over from")
        time.sleep(float(context.options["interval_seconds"]))
    context.mark("detected")


@verb(undo=topology.restore)
def blip_primary(context: Context) -> None:
    """Freeze the primary's database for a moment, and see that nobody calls that a failure."""
    if context.marked("fault_done") is not None:
        return
    context.mark("fault")
    server, detector = context.servers[context.home.name], detector_of(context)
    seconds = float(context.options["seconds"])
    server.machine.freeze_program(server.settings.program, context.token, seconds)
    # Until it has answered for a while: the rule looks back.
    until = time.monotonic() + seconds + detector.grace_seconds
    last_ns = call_no_failure(context, lambda: time.monotonic() >= until)
    context.require("blip_seen", last_ns is not None, f"the database was frozen for {seconds:g} s")
    context.mark("fault_done", last_ns)


def _restart_front_door(context: Context) -> None:
    context.front_door_machine.program_start(context.environment.front_door.program)


@verb(undo=_restart_front_door)
def kill_front_door(context: Context) -> None:
    """Kill the front door; its machine brings it back, and nobody calls that a database failure."""
    if context.marked("fault_done") is None:
        again = context.marked("fault") is not None
        context.mark("fault")
        program = context.environment.front_door.program
        kill = context.front_door_machine.kill_program(program, context.token)
        context.check("front_door_killed", *_hit(kill, again=again))
        context.mark("fault_done", kill.ended_ns)
    began = time.monotonic()
    call_no_failure(context, lambda: _is_open(context) or time.monotonic() > context.deadline)
    detail = f"after {time.monotonic() - began:.2f} s, by its machine's supervisord"
    context.require("front_door_back", _is_open(context), detail)


def _is_open(context: Context) -> bool:
    try:
        return context.front_door.active() == context.home.name
    except InfrastructureError:
        return False


@verb()
def decide_failover(context: Context) -> None:
    """The rules for a failover hold: the primary is down, the standby lives, promising no loss.

    A primary that is out of room could also be given some. It is failed over from when it cannot
    come back as it is (its restart writes too): what may be deleted is a person's decision and
    takes a person's time, while the standby has every acknowledged write. That one must have room,
    or it would be the next.
    """
    if context.marked("decided") is not None:
        return
    home, away = (context.servers[site.name] for site in (context.home, context.away))
    reach = ask_primary(context)
    context.require("primary_is_down", reach is not Reach.ANSWERS, f"{home.site.name}: {reach}")
    role = away.role()
    context.require("standby_lives", role is not Role.DOWN, f"site {away.site.name} is {role}")
    room = room_bytes(away) // 2**20
    least = f"{room} MiB free, {_LEAST_ROOM_MIB} wanted: a full standby would be the next to stop"
    context.require("standby_has_room", room >= _LEAST_ROOM_MIB, least)
    _require_no_way_back(context, home)
    start = context.noted("baseline_replication")
    detail = f"before the fault: {start['sync_state'] if start else 'not seen'}"
    promised = start is not None and start["sync_state"] in {"sync", "quorum"}
    if home.settings.synchronous:
        context.require("no_loss_promised", promised, detail)
    else:
        context.check("no_loss_promised", promised or None, f"{detail} (tier standard allows it)")
    context.mark("decided")


def _require_no_way_back(context: Context, home: PostgreSQL) -> None:
    """If the primary is out of room, its own restart has failed for that too.

    A restart that is still at work is waited for: it may yet succeed.
    """
    at = context.noted("fault_at")
    if at is None or not home.machine.is_running():
        return
    reach, lack = None, out_of_room(home, str(at["log_time"]))
    while lack.failed_writes and not lack.restart_failed and context.seconds_left > 1.0:
        if reach in {Reach.ANSWERS, Reach.REFUSED}:
            break  # it is back, or it has given up: its log was read after that
        reach = ask_primary(context)
        lack = out_of_room(home, str(at["log_time"]))
        time.sleep(0.1)
    if lack.failed_writes:
        detail = f"the restart writes as well: {lack.failed_writes[-1]}"
        context.require("restart_needs_room", lack.restart_failed, detail)


@verb()
def record_replication(context: Context) -> None:
    """Note how the standby follows, which the decision to fail over rests on; commits wait for it.

    The latter for tier VIP alone.
    """
    name = context.away.database.application_name
    server = context.servers[context.home.name]
    found = next((one for one in server.replicas() if one.application_name == name), None)
    if found is None or found.state != "streaming":
        raise StepFailed(f"{name} does not stream")
    lag = {"sync_state": found.sync_state, "flush_lag_bytes": found.flush_lag_bytes}
    context.note("baseline_replication", lag)
    if server.settings.synchronous:
        # Before anything is broken: a failover would lose what it is said to keep.
        hasty = hasty_commits(server)
        detail = f"not those of: {hasty}" if hasty else "of every role, in every database"
        context.require("commits_wait", not hasty, detail)


@verb()
def fence_primary(context: Context) -> None:
    """Prove that the old primary can do no harm: its database or its whole machine is dead."""
    if context.marked("promoted") is None:
        proof = topology.fence(context, context.home.name)
        seen = ", ".join(f"{name} {value}" for name, value in proof.checks.items())
        context.check("primary_fenced", True, f"{proof.kind} of site {proof.site}: {seen}")
    context.mark("fenced")


@verb()
def power_off_primary(context: Context) -> None:
    """Kill what still lives of the failed primary's site: a frozen database may wake up (STONITH).

    Promotion wants the proof all the same.
    """
    server = context.servers[context.home.name]
    if context.marked("promoted") is None:
        lived = server.machine.processes()
        killed = server.machine.kill(context.token).processes if lived else 0
        left = server.machine.processes()
        detail = f"{killed} processes killed, {len(left)} left"
        context.check("site_powered_off", not left, detail)


@verb()
def promote_standby(context: Context) -> None:
    """Promote the standby, with a fresh fencing proof, and restart its ERP's connections."""
    if context.marked("promoted") is None:
        proof = topology.fence(context, context.home.name)
        promotion = topology.promote(context, context.away.name, proof)
        detail = f"timeline {promotion.timeline}, {promotion.seconds:.3f} s"
        context.check("standby_promoted", True, detail)
        context.mark("promoted")
    server = context.servers[context.away.name]
    server.machine.program_restart(server.site.erp.program)


@verb()
def route_front_door(context: Context) -> None:
    """Send all clients to the surviving site, and cut their sessions with the dead one."""
    context.front_door.route(context.away.name, context.token)
    context.mark("routed")


@verb()
def await_erp_write(context: Context) -> None:
    """Wait for the first ERP write, begun after the fault, that a client saw acknowledged."""
    fault = context.marked("fault_done")
    if fault is None:
        raise StepFailed("no fault was injected")
    probe = context.probe_directory("availability")

    def answered() -> bool:
        return first_ok_after(read_journal(probe), fault) is not None

    context.await_until("an acknowledged ERP write", answered)
    # The survivors run on for a moment, so that the ledger holds writes of the new primary too.
    time.sleep(float(context.options.get("settle_seconds", 1.0)))


@verb()
def reconcile_ledger(context: Context) -> None:
    """Stop the writers and take from the surviving database the keys that it holds (RPO)."""
    ledger.ledger(context.probe_directory("ledger")).stop()
    with connect_read_write(context.environment, context.database_login) as connection:
        keys = ledger.recovered_keys(connection, context.run_id)
    keep_recovered(context, keys, f"site {context.primary.site.name}")


def keep_recovered(
    context: Context, keys: list[str], source: str, rows: Mapping[str, Any] | None = None
) -> None:
    """Keep the recovered keys (and a comparison of rows) as raw evidence: raw/recovered.json."""
    document = {
        "schema": "anlan.recovered/v1",
        "source": source,
        "query": "SELECT key FROM anlan.ledger WHERE run = $1 ORDER BY key",
        "run": context.run_id,
        "collected_at": timestamp(datetime.now(UTC)),
        "row_count": len(keys),
        "keys": keys,
        "rows": rows,
    }
    context.raw.mkdir(parents=True, exist_ok=True)
    write_atomically(context.raw / "recovered.json", json.dumps(document, indent=1), mode=0o644)


@verb()
def check_business_invariants(context: Context) -> None:
    """What must be true of the ERP's data whatever happened, asked of the surviving primary."""
    with context.primary.connect_local(context.home.database.name) as connection:
        for result in check_invariants(connection):
            ok = None if result.population == 0 else result.violations == 0
            detail = f"{result.says}: {result.violations} of {result.population} violate it"
            context.check(result.name, ok, detail)


@verb(undo=topology.restore)
def restore_topology(context: Context) -> None:
    """Rejoin the old primary (rewound, else copied anew) and fail back to it, losing nothing."""
    made = topology.restore(context)
    steps = ", ".join(f"{transition.verb} {transition.site}" for transition in made)
    context.check("topology_restored", True, steps or "by an earlier attempt")
    room = {site: room_bytes(server) // 2**20 for site, server in context.servers.items()}
    detail = ", ".join(f"site {site}: {free} MiB free" for site, free in room.items())
    context.check("room_given_back", min(room.values()) >= _LEAST_ROOM_MIB, detail)
