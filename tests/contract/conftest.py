"""A real environment for the tests of the drivers: provisioned once for a session, then destroyed.

With ANLAN_TEST_ENVIRONMENT naming a descriptor, that environment is used and left as it was found.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.drivers.fencing import fence_database
from orchestrator.drivers.lease import LeaseFile
from orchestrator.drivers.postgresql import PostgreSQL, Role
from orchestrator.drivers.postgresql_standby import configure_standby
from orchestrator.drivers.proxy import FrontDoor
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment, load_environment
from stacks import places

_LOCAL = places.PROGRAMS / "local"
_ADDRESSES = {"a": "127.0.14.1", "b": "127.0.14.2", "common": "127.0.14.3"}
_PORTS_BASE = 24000


def _pulumi(state: Path, *arguments: str) -> None:
    done = subprocess.run(
        ["pulumi", "--non-interactive", "--cwd", str(_LOCAL), *arguments],
        env={**os.environ, **places.pulumi_environment(state)},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


@pytest.fixture(scope="session")
def environment() -> Iterator[Environment]:
    """An environment whose site a is primary and b streams."""
    named = os.environ.get("ANLAN_TEST_ENVIRONMENT")
    if named:
        yield load_environment(Path(named))
        return
    # Not pytest's directory: the servers' user must reach it, and sockets need short paths.
    base = Path(tempfile.mkdtemp(prefix="anlan-", dir="/tmp"))
    base.chmod(0o755)
    root, state = base / "env", base / "state"
    stack = ["--stack", "drivers", "--config-file", str(base / "config.yaml")]
    settings = {"root": str(root), "portsBase": str(_PORTS_BASE)}
    settings |= {f"addresses.{name}": address for name, address in _ADDRESSES.items()}
    options = [part for key, text in settings.items() for part in ("-c", f"{key}={text}")]
    try:
        _pulumi(state, "stack", "init", "drivers")
        _pulumi(state, "up", "--yes", "--skip-preview", *stack, "--config-path", *options)
        yield load_environment(root / "environment.json")
    finally:
        _pulumi(state, "destroy", "--yes", "--skip-preview", *stack)
        assert not root.exists() or not any(root.iterdir()), sorted(root.iterdir())
        shutil.rmtree(base)


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
def at_home(environment: Environment, servers: dict[str, PostgreSQL], token: int) -> Iterator[None]:
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
    _await_erp(environment)


def _await_erp(environment: Environment) -> None:
    door = FrontDoor(environment)
    deadline = time.monotonic() + 60
    while not all(state.healthy for state in door.servers() if state.enabled):
        assert time.monotonic() < deadline, door.servers()
        time.sleep(0.1)
