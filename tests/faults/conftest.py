"""A state directory for each test, so that its one run is found; and what is left after it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.drivers.lease import LeaseFile
from orchestrator.drivers.pgbackrest import PgBackRest
from orchestrator.drivers.postgresql import PostgreSQL
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment
from orchestrator.probes.ledger import prepare
from tests.commands import state_for
from tests.faults.residue import Census, assert_nothing_is_left, census


@pytest.fixture
def state(environment: Environment, tmp_path: Path) -> Path:
    """A state directory that knows the environment."""
    return state_for(environment, tmp_path / "state")


@pytest.fixture(scope="module")
def as_it_was(environment: Environment) -> Census:
    """Everything that there is of the environment before a module's first fault, with a backup."""
    home = PostgreSQL(environment, environment.starting_primary)
    with home.connect(Secrets(environment).database_login()) as connection:
        prepare(connection)
    lease = LeaseFile(environment.lease_file)  # its file is there from the first drill on
    lease.acquire("census")
    lease.release("census")
    tool = PgBackRest(environment, home.site)
    for repository in (1, 2):
        if not [one for one in tool.backups() if one.repository == repository]:
            tool.backup("full", repository=repository)
    return census(environment)


@pytest.fixture(autouse=True)
def nothing_is_left(environment: Environment, as_it_was: Census) -> Iterator[None]:
    """After each test there is what there was: no program, file, slot, role or object more."""
    yield
    assert_nothing_is_left(environment, as_it_was)
