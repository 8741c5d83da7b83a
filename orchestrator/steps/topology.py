"""Bring the environment back to where it starts: home is primary, away its standby, routed home.

Looks at the world, makes the one next transition (`steps.resolver` names it), looks again. It ends
when no transition is left, whatever state a crash left behind.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable
from functools import partial

from orchestrator.drivers.erp import Erp
from orchestrator.drivers.fencing import FencingProof, fence_database, fence_machine
from orchestrator.drivers.postgresql import PostgreSQL, Promotion, Role, lsn_bytes
from orchestrator.drivers.postgresql_archive import archive_again, held, waiting
from orchestrator.drivers.postgresql_room import give_room
from orchestrator.drivers.postgresql_standby import (
    basebackup,
    configure_standby,
    fenced,
    mark_fenced,
    rewind,
    rewinding,
)
from orchestrator.drivers.process import run
from orchestrator.drivers.supervisor import DOWN
from orchestrator.model.errors import InfrastructureError
from orchestrator.steps.backup import archive_of, repositories
from orchestrator.steps.context import Context, StepFailed
from orchestrator.steps.resolver import Node, Transition, World, next_transition

_MAX_TRANSITIONS = 40
_STREAM_SECONDS = 10.0
_ANSWER_SECONDS = 60.0
_ARCHIVE_SECONDS = 60.0


def restore(context: Context) -> list[Transition]:
    """Make transitions until none is left; returns them.

    Raises InfrastructureError or StepFailed when one does not succeed; calling again goes on.
    """
    made: list[Transition] = []
    context.line.thaw_program(context.environment.line.program)
    for server in context.servers.values():
        # What a drill froze goes on, and there is room again. A frozen primary is never beside a
        # promoted standby: the proof that it was dead came first.
        server.machine.thaw_program(server.settings.program)
        give_room(server)
    while (transition := next_transition(look(context))) is not None:
        if len(made) >= _MAX_TRANSITIONS:
            raise StepFailed(f"no rest after {len(made)} transitions, the last: {made[-3:]}")
        made.append(transition)
        context.journal.write("transition", verb=transition.verb, site=transition.site)
        _make(context, transition)
    _await_erps(context)
    return made


def look(context: Context) -> World:
    """See both sites as they are now. Raises InfrastructureError when they cannot be seen."""
    home, away = context.home.name, context.away.name
    nodes = {name: _node(server) for name, server in context.servers.items()}
    primary = next((name for name, node in nodes.items() if node.role is Role.PRIMARY), None)
    replicating = synchronous = False
    if primary is not None:
        server, standby = context.servers[primary], context.environment.peer(primary)
        name = standby.database.application_name
        states = [one for one in server.replicas() if one.application_name == name]
        replicating = any(one.state == "streaming" for one in states)
        wanted = f"FIRST 1 ({name})" if server.settings.synchronous else ""
        slots = context.servers[standby.name].slots() if replicating else {}
        synchronous = server.synchronous_names() == wanted and not slots
    return World(
        home=nodes[home],
        away=nodes[away],
        routed=context.front_door.active(),
        replicating=replicating,
        synchronous=synchronous,
    )


def promote(context: Context, site: str, proof: FencingProof) -> Promotion:
    """Promote `site`; the other is marked as fenced first. Raises Refused, InfrastructureError."""
    context.journal.write("promise", site=site)
    mark_fenced(context.servers[context.environment.peer(site).name])
    return context.servers[site].promote(
        context.token, proof, timeout_seconds=min(context.seconds_left, 60.0)
    )


def fence(context: Context, site: str) -> FencingProof:
    """Prove that the database of `site` is stopped, its machine dead or alive. Raises Refused."""
    server = context.servers[site]
    if server.machine.is_running():
        return fence_database(server.site, server.machine)
    return fence_machine(server.site, server.machine)


def drain(standby: PostgreSQL, primary: PostgreSQL) -> None:
    """Stop `primary` cleanly, and see that `standby` has all it ever wrote: nothing can be lost.

    Calling it again goes on. Raises InfrastructureError, StepFailed when something is missing.
    """
    if primary.role() is Role.PRIMARY:
        name = standby.settings.application_name
        primary.await_streaming(name)
        primary.set_synchronous([name])
    primary.stop()
    _require_all_received(standby, primary)


def close_archive_gap(context: Context, primary: PostgreSQL) -> None:
    """Let a promoted server archive what its predecessor sent it and did not archive.

    A repository that does not answer is left alone: nothing is pushed that might be there already.
    Then nobody waits: the next time, at the failback, every repository is there again.
    """
    there, lacking, unseen = held(primary), set[str](), False
    for number in repositories(context) if there else ():
        try:
            lacking |= archive_of(context, number).lacking(there)
        except InfrastructureError as error:
            unseen = True
            context.journal.write("archive_unseen", repository=number, error=error.what[:500])
    if not lacking:
        return
    archive_again(primary, context.token, lacking)
    if unseen:
        return  # the archiver waits a minute for what is down, and goes on by itself
    until = time.monotonic() + min(context.seconds_left, _ARCHIVE_SECONDS)
    while (left := waiting(primary, lacking)) and time.monotonic() < until:
        time.sleep(0.1)
    names = " ".join(sorted(lacking)[:3])
    detail = f"{len(lacking)} segments that the former primary had not archived: {names}"
    context.check("archive_gap_closed", not left, f"{detail}; {len(left)} still wait")


def _make(context: Context, transition: Transition) -> None:
    site = transition.site
    server = context.servers[site]
    peer = context.servers[context.environment.peer(site).name]
    match transition.verb:
        case "start_machine":
            if not server.machine.is_running():
                if server.machine.processes():
                    server.machine.kill(context.token)
                server.machine.start()
        case "start":
            server.start()
        case "promote":
            promote(context, site, fence(context, peer.site.name))
        case "follow":
            _rejoin(context, server, peer, as_it_is=True)
        case "rejoin":
            _rejoin(context, server, peer, as_it_is=server.role() is Role.STANDBY)
        case "failback":
            _failback(context, server, peer)
        case "settle_replication":
            _settle(server, peer)
        case "route":
            context.front_door.route(site, context.token)


def _rejoin(context: Context, server: PostgreSQL, primary: PostgreSQL, *, as_it_is: bool) -> None:
    """Make `server` stream from `primary`: as it is if it can, else rewound, else copied anew."""
    name = server.settings.application_name
    # Before the old primary is rewound: its own copy of what it did not archive goes then.
    close_archive_gap(context, primary)
    primary.create_slot(name)
    if not ((as_it_is and _follows(server, primary)) or _rewound(context, server, primary)):
        server.stop()
        basebackup(server, context.token, primary.site)
        context.journal.write("rejoined", site=server.site.name, method="basebackup")
        server.start()
    primary.await_streaming(name)
    for slot in server.slots():
        server.drop_slot(slot)


def _follows(server: PostgreSQL, primary: PostgreSQL) -> bool:
    """Whether a standby gets to streaming as it is; it is stopped if not."""
    with contextlib.suppress(InfrastructureError):
        server.start()
        if _streams(server, primary):
            return True
    server.stop()  # also when its supervisord would try again
    return False


def _rewound(context: Context, server: PostgreSQL, primary: PostgreSQL) -> bool:
    """Whether pg_rewind made the server a standby that streams."""
    try:
        rewind(server, context.token, primary.site)
        context.journal.write("rejoined", site=server.site.name, method="rewind")
        server.start()
    except InfrastructureError as error:
        context.journal.write("rewind_failed", site=server.site.name, error=error.what[:500])
        return False
    return _streams(server, primary)


def _streams(server: PostgreSQL, primary: PostgreSQL) -> bool:
    name = server.settings.application_name
    try:
        primary.await_streaming(name, timeout_seconds=_STREAM_SECONDS)
    except InfrastructureError:
        return False
    return True


def _failback(context: Context, home: PostgreSQL, away: PostgreSQL) -> None:
    """Switch over to `home`, which streams: clean stop, nothing left unsent, fence, promote."""
    drain(home, away)
    promote(context, home.site.name, fence(context, away.site.name))
    home.create_slot(away.settings.application_name)
    _restart_erp(context, home)
    context.front_door.route(home.site.name, context.token)
    # A clean stop sends everything: the old primary is a prefix of the new one's history.
    configure_standby(away, home.site)
    away.start()
    home.await_streaming(away.settings.application_name)
    close_archive_gap(context, home)
    _settle(home, away)
    _restart_erp(context, away)


def _require_all_received(standby: PostgreSQL, stopped: PostgreSQL) -> None:
    """The standby holds the stopped primary's shutdown checkpoint. Raises StepFailed."""
    control = _control_data(stopped)
    state = re.search(r"Database cluster state:\s+(.+)", control)
    found = re.search(r"Latest checkpoint location:\s+([0-9A-F]+/[0-9A-F]+)", control)
    if state is None or found is None or state[1].strip() != "shut down":
        raise StepFailed(f"site {stopped.site.name} did not stop cleanly: no failback")
    received = standby.receiver().received_lsn
    if lsn_bytes(received) <= lsn_bytes(found[1]):
        raise StepFailed(
            f"site {standby.site.name} received up to {received}, "
            f"site {stopped.site.name} wrote up to {found[1]}: no failback"
        )


def _settle(primary: PostgreSQL, standby: PostgreSQL) -> None:
    """Synchronous as the tier says, and no slot on the standby that would keep its WAL forever."""
    name = standby.settings.application_name
    primary.set_synchronous([name] if primary.settings.synchronous else [])
    for slot in standby.slots():
        standby.drop_slot(slot)


def _restart_erp(context: Context, server: PostgreSQL) -> None:
    """Restart the ERP of a site, and wait until it answers by itself."""
    server.machine.program_restart(server.site.erp.program)
    _await_erp(context, server)


def _await_erp(context: Context, server: PostgreSQL) -> None:
    erp = server.site.erp
    client = Erp(erp.url, erp.database, context.environment.tls.ca_file, timeout_seconds=2.0)
    context.await_until(f"the ERP of site {server.site.name}", partial(_answers, client.version))
    client.close()


def _await_erps(context: Context) -> None:
    """Both ERP servers answer (one that gave up is started), and so does the front door.

    The door's own check may be of the moment before a restart, so a client logs in through it.
    """
    for server in context.servers.values():
        server.machine.program_start(server.site.erp.program)
        _await_erp(context, server)
    door = context.front_door
    context.await_until(
        "a healthy ERP behind the front door",
        lambda: all(state.healthy for state in door.servers() if state.enabled),
    )
    context.await_until(
        "a login through the front door", partial(_answers, lambda: context.erp().logout())
    )


def _answers(ask: Callable[[], object]) -> bool:
    with contextlib.suppress(InfrastructureError):
        ask()
        return True
    return False


def _node(server: PostgreSQL) -> Node:
    data = server.settings.data_directory
    return Node(
        site=server.site.name,
        machine_up=server.machine.is_running(),
        role=_role(server),
        follows=(data / "standby.signal").exists() and not rewinding(data).exists(),
        timeline=_timeline(server) if data.exists() else 0,
        fenced=fenced(server).exists(),
    )


def _role(server: PostgreSQL) -> Role:
    """What the server is. Raises InfrastructureError for one that runs and does not answer.

    Such a one may be a primary: it does not count as down.
    """
    deadline = time.monotonic() + _ANSWER_SECONDS
    while (role := server.role()) is Role.DOWN and server.machine.is_running():
        status = server.machine.program_status(server.settings.program)
        if status.state in DOWN:
            break
        if time.monotonic() > deadline:
            raise InfrastructureError(
                f"the database of site {server.site.name} runs and does not answer",
                "read its log; stop it if it is stuck, then go on",
            )
        time.sleep(0.1)
    return role


def _timeline(server: PostgreSQL) -> int:
    """The newest timeline that a data directory knows: control file, or a history file in pg_wal.

    A fresh primary's control file names its old timeline until its first checkpoint.
    """
    found = re.search(r"Latest checkpoint's TimeLineID:\s+(\d+)", _control_data(server))
    timelines = [int(found[1])] if found else []
    wal = server.settings.data_directory / "pg_wal"
    timelines += [int(path.stem, 16) for path in wal.glob("????????.history")]
    return max(timelines, default=0)


def _control_data(server: PostgreSQL) -> str:
    return run(
        [server.settings.bin_directory / "pg_controldata", server.settings.data_directory],
        timeout_seconds=30.0,
        as_user=server.site.machine.service_user,
    ).output
