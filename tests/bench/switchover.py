"""RTO of the drill `switchover` against a script that does only what must be done."""

from __future__ import annotations

from orchestrator.model.environment import Environment
from tests.bench.clients import outage_of, site_variables
from tests.bench.figures import Parts
from tests.bench.place import Place


def drill(place: Place) -> Parts:
    """One run of the drill: from the order to the first ERP write at the other site."""
    derived = place.drill("switchover")["derived"]
    phases = {phase["name"]: float(phase["seconds"]) for phase in derived["phases"]}
    return {"rto": float(derived["rto_seconds"]), **phases}


def bare(place: Place) -> Parts:
    """One run of the script under the same clients."""
    return outage_of(place, "bare_switchover.sh", "stop", _variables)


def _variables(environment: Environment) -> dict[str, str]:
    home = environment.starting_primary
    return {
        **site_variables(environment),
        "OLD_SUPERVISOR": str(home.machine.directory / "run" / "supervisor.sock"),
        "DATABASE": home.database.program,
    }
