"""Verbs about the environment as a whole: is it fit for a drill, is it as it began."""

from __future__ import annotations

from orchestrator.drivers.twin import reap
from orchestrator.drivers.twin_egress import is_reached, production_endpoints
from orchestrator.probes.ledger import prepare
from orchestrator.steps import topology
from orchestrator.steps.context import Context
from orchestrator.steps.registry import verb


@verb()
def check_environment(context: Context) -> None:
    """Every part answers, home is the primary, its standby streams, clients are routed home."""
    for name, endpoint in production_endpoints(context.environment).items():
        context.require(f"{name}_answers", is_reached(*endpoint), f"{endpoint[0]}:{endpoint[1]}")
    require_start_state(context)
    health = context.secrets.health()
    context.require("secrets_unsealed", not health.sealed, f"version {health.version}")
    reaped = reap(context.environment)
    context.note("start", {"reaped_twins": [str(path) for path in reaped]})
    with context.primary.connect(context.database_login) as connection:
        prepare(connection)


@verb()
def verify_start_state(context: Context) -> None:
    """The environment is as it began: roles, replication, routing, the ERP behind the door."""
    require_start_state(context)
    erp = context.erp()
    context.require("erp_answers", bool(erp.version()), erp.url)
    erp.logout()


def require_start_state(context: Context) -> None:
    """Check roles, replication and routing. Raises StepFailed for the first that is not so."""
    world = topology.look(context)
    home, away = world.home, world.away
    context.require("home_is_primary", home.role.value == "primary", f"{home.site}: {home.role}")
    context.require("away_is_standby", away.role.value == "standby", f"{away.site}: {away.role}")
    context.require("standby_streams", world.replicating, f"{away.site} from {home.site}")
    mode = "synchronous" if context.home.database.synchronous else "asynchronous"
    context.require(
        "replication_mode", world.synchronous, f"{mode} for tier {context.environment.tier}"
    )
    context.require("routed_home", world.routed == home.site, f"front door sends to {world.routed}")
    healthy = all(state.healthy for state in context.front_door.servers() if state.enabled)
    context.require("erp_healthy", healthy, "the front door's own check of the ERP")
    timelines = f"{home.timeline} and {away.timeline}"
    context.require("one_history", home.timeline == away.timeline, f"timelines {timelines}")
