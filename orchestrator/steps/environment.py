"""The environment as a whole: is it fit for a drill, is it as it began."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.drivers.postgresql import Role
from orchestrator.drivers.twin import reap
from orchestrator.drivers.twin_egress import is_reached, production_endpoints
from orchestrator.probes.ledger import prepare
from orchestrator.steps import topology
from orchestrator.steps.context import Context
from orchestrator.steps.registry import verb

Seen = tuple[str, bool, str]
"""A check: its name, whether it holds, what was seen."""


@verb()
def check_environment(context: Context) -> None:
    """Every part answers, home is the primary, its standby streams, clients are routed home."""
    for name, holds, detail in survey(context):
        context.require(name, holds, detail)
    reaped = reap(context.environment)
    context.note("start", {"reaped_twins": [str(path) for path in reaped]})
    with context.primary.connect(context.database_login) as connection:
        prepare(connection)


@verb()
def verify_start_state(context: Context) -> None:
    """The environment is as it began: roles, replication, routing, the ERP behind the door."""
    for name, holds, detail in start_state(context):
        context.require(name, holds, detail)
    erp = context.erp()
    context.require("erp_answers", bool(erp.version()), erp.url)
    erp.logout()


def survey(context: Context) -> Iterator[Seen]:
    """Whether every endpoint answers and everything is as it starts.

    Raises InfrastructureError for what cannot be asked; the endpoints come first.
    """
    for name, endpoint in production_endpoints(context.environment).items():
        yield f"{name}_answers", is_reached(*endpoint), f"{endpoint[0]}:{endpoint[1]}"
    health = context.secrets.health()
    yield "secrets_unsealed", not health.sealed, f"version {health.version}"
    yield from start_state(context)


def start_state(context: Context) -> Iterator[Seen]:
    """Roles, replication and routing as they start. Raises InfrastructureError."""
    world = topology.look(context)
    home, away = world.home, world.away
    yield "home_is_primary", home.role is Role.PRIMARY, f"{home.site}: {home.role}"
    yield "away_is_standby", away.role is Role.STANDBY, f"{away.site}: {away.role}"
    yield "standby_streams", world.replicating, f"{away.site} from {home.site}"
    mode = "synchronous" if context.home.database.synchronous else "asynchronous"
    tier = context.environment.tier
    yield "replication_mode", world.synchronous, f"{mode} for tier {tier}"
    yield "routed_home", world.routed == home.site, f"front door sends to {world.routed}"
    healthy = all(state.healthy for state in context.front_door.servers() if state.enabled)
    yield "erp_healthy", healthy, "the front door's own check of the ERP"
    timelines = f"{home.timeline} and {away.timeline}"
    yield "one_history", home.timeline == away.timeline, f"timelines {timelines}"
