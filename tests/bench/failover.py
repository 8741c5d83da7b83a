"""RTO of the drill `failover` against a script that does only what must be done."""

from __future__ import annotations

from orchestrator.model.environment import Environment
from tests.bench.clients import outage_of, site_variables
from tests.bench.figures import Parts
from tests.bench.place import Place


def drill(place: Place) -> Parts:
    """One run of the drill: its RTO, and the phases that it consists of."""
    derived = place.drill("failover")["derived"]
    phases = {phase["name"]: float(phase["seconds"]) for phase in derived["phases"]}
    return {"rto": float(derived["rto_seconds"]), **phases}


def bare(place: Place) -> Parts:
    """One run of the script under the same clients."""
    return outage_of(place, "bare_failover.sh", "kill", _variables)


def _variables(environment: Environment) -> dict[str, str]:
    machine = environment.starting_primary.machine.directory
    pid = (machine / "run" / "supervisord.pid").read_text().strip()
    return {**site_variables(environment), "OLD_SUPERVISOR": pid}
