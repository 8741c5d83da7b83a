"""The drills' own load around a bare script, and the script's outage as a client saw it."""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.drivers.erp import Erp
from orchestrator.drivers.postgresql_connection import connect_read_write
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment
from orchestrator.model.errors import InfrastructureError
from orchestrator.probes import availability, ledger
from orchestrator.probes.background import Probe
from orchestrator.verdict.availability import first_ok_after
from orchestrator.verdict.journal import read_journal
from tests.bench.figures import Parts
from tests.bench.place import Place
from tests.bench.script import parts_of, run_script

_BASELINE_SECONDS = 3.0  # as the drills' default
_WRITE_SECONDS = 60.0


def outage_of(
    place: Place, script: str, first: str, variables: Callable[[Environment], dict[str, str]]
) -> Parts:
    """Run a script under the drills' clients; then the environment is brought back.

    `rto` is from the word to go to the first ERP write that was begun after the script's part
    `first` and acknowledged; the other parts are the script's.
    """
    environment = place.environment
    run_id = f"bench-{secrets.token_hex(4)}"
    with _clients(place, environment, run_id) as probe:
        _await_write(probe, 0)
        time.sleep(_BASELINE_SECONDS)
        moments = run_script(script, variables(environment))
        served = _await_write(probe, moments[first])
    rto = (served - moments["began"]) / 1e9
    return {"rto": rto, **parts_of({**moments, "application": served})}


def site_variables(environment: Environment) -> dict[str, str]:
    """What the scripts must know of the primary's site (OLD) and the other one (NEW)."""
    home = environment.starting_primary
    away = environment.peer(home.name)
    door = environment.front_door
    return {
        "SUPERVISOR": str(away.machine.directory / "run" / "supervisor.sock"),
        "PSQL": str(away.database.bin_directory / "psql"),
        "PGHOST": str(away.database.socket_directory),
        "PGPORT": str(away.database.port),
        "PGUSER": "postgres",
        "PGDATABASE": "postgres",
        "ERP": away.erp.program,
        "DOOR": str(door.runtime_socket),
        "OLD": f"{door.backend}/{door.servers[home.name]}",
        "NEW": f"{door.backend}/{door.servers[away.name]}",
    }


def _await_write(probe: Probe, after_ns: int) -> int:
    """When the first write begun after a moment was acknowledged (monotonic ns)."""
    deadline = time.monotonic() + _WRITE_SECONDS
    while (found := first_ok_after(read_journal(probe.directory), after_ns)) is None:
        if time.monotonic() > deadline:
            raise InfrastructureError("no ERP write is acknowledged", "read the ERP's log")
        time.sleep(0.05)
    return found


@contextmanager
def _clients(place: Place, environment: Environment, run_id: str) -> Iterator[Probe]:
    """The drill's own load: ERP clients and ledger writers; afterwards all is as it was."""
    manager = Secrets(environment)
    user, login = manager.login_of("erp-probe"), manager.database_login()
    with tempfile.TemporaryDirectory(prefix="anlan-bench-") as folder:
        writers, clients = Path(folder) / "ledger", Path(folder) / "availability"
        try:
            ledger.start(writers, environment, login, run_id)
            yield availability.start(clients, environment, user, run_id)
        finally:
            ledger.ledger(writers).stop()
            availability.availability(clients).stop()
            place.command("env", "restore")
            with connect_read_write(environment, login) as connection:
                ledger.cleanup(connection, run_id)
            door, erp = environment.front_door, environment.starting_primary.erp
            client = Erp(door.url, erp.database, environment.tls.ca_file)
            client.login(user)
            availability.cleanup(client, run_id)
            client.logout()
