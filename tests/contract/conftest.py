"""The drivers on the session's real environment (tests/conftest.py)."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from orchestrator.drivers.erp import Erp
from orchestrator.drivers.fencing import fence_database
from orchestrator.drivers.lease import LeaseFile
from orchestrator.drivers.postgresql import PostgreSQL, Role
from orchestrator.drivers.postgresql_standby import configure_standby
from orchestrator.drivers.proxy import FrontDoor
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment
from orchestrator.model.errors import InfrastructureError
from tests.conftest import Place
from tests.contract.mutations.world import World


@pytest.fixture(scope="session")
def secrets(environment: Environment) -> Secrets:
    """The secret manager, as the orchestrator's AppRole."""
    return Secrets(environment)


@pytest.fixture(scope="session")
def servers(environment: Environment) -> dict[str, PostgreSQL]:
    """The database server of each site."""
    return {name: PostgreSQL(environment, site) for name, site in environment.sites.items()}


@pytest.fixture
def token(environment: Environment, request: pytest.FixtureRequest) -> Iterator[int]:
    """A fencing token of a lease that the test holds."""
    lease = LeaseFile(environment.lease_file)
    run = f"test-{request.node.name}"
    yield lease.acquire(run)
    lease.release(run)


@pytest.fixture
def world(
    environment: Environment,
    secrets: Secrets,
    servers: dict[str, PostgreSQL],
    token: int,
    place: Place,
) -> World:
    """What a mutation changes."""
    by_role = {server.role(): server for server in servers.values()}
    primary, standby = by_role[Role.PRIMARY], by_role[Role.STANDBY]
    return World(environment, secrets, primary, standby, token, place.state)


@pytest.fixture
def at_home(
    environment: Environment, servers: dict[str, PostgreSQL], secrets: Secrets, token: int
) -> Iterator[None]:
    """Brings a back as the primary after a test that moved it (the test leaves both running)."""
    yield
    a, b = servers["a"], servers["b"]
    if b.role() is Role.PRIMARY and a.role() is Role.STANDBY:
        b.stop()
        a.promote(token, fence_database(b.site, b.machine))
        a.create_slot("site_b")
        configure_standby(b, a.site)
        b.start()
        a.await_streaming("site_b")
        for slot in b.slots():
            b.drop_slot(slot)
        a.set_synchronous(["site_b"] if environment.tier == "VIP" else [])
        for server in (a, b):
            server.machine.program_restart(server.site.erp.program)
    FrontDoor(environment).route("a", token)
    _await_erp(environment, secrets)


def _await_erp(environment: Environment, secrets: Secrets) -> None:
    """Until the front door lets a client log in: its own check may be of before a restart."""
    client = Erp(environment.front_door.url, "erp", environment.tls.ca_file, timeout_seconds=2.0)
    deadline = time.monotonic() + 60
    while True:
        try:
            client.login(secrets.login_of("erp-probe"))
            break
        except InfrastructureError:
            assert time.monotonic() < deadline, FrontDoor(environment).servers()
            time.sleep(0.2)
    client.logout()
