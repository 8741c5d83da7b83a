"""A mutation: what is done to the real environment, and what the policy must then say."""

from __future__ import annotations

import stat
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.drivers.postgresql import PostgreSQL
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment


@dataclass(frozen=True)
class World:
    """The environment that is mutated, and its state directory.

    `token` is of a lease that the test holds.
    """

    environment: Environment
    secrets: Secrets
    primary: PostgreSQL
    standby: PostgreSQL
    token: int
    state: Path

    def subject(self, pattern: str) -> str:
        """The subject with {primary} and {standby} as the names of the sites."""
        return pattern.format(primary=self.primary.site.name, standby=self.standby.site.name)


@dataclass(frozen=True)
class Mutation:
    """While `change` holds, `policy` must be not-satisfied at `subject` and say `says`.

    `subject` may name a site as {primary} or {standby}. `change` undoes all that it did.
    """

    policy: str
    subject: str
    says: str
    change: Callable[[World], AbstractContextManager[None]]


def execute(server: PostgreSQL, *statements: str, database: str = "postgres") -> None:
    """Run statements as the superuser, by the local socket; the standby has replayed them then."""
    with server.connect_local(database) as connection:
        connection.execute("SET synchronous_commit = remote_apply")
        for statement in statements:
            connection.execute(statement.encode())


@contextmanager
def statements(
    server: PostgreSQL, do: str, undo: str, *, database: str = "postgres"
) -> Iterator[None]:
    """Statements done for a while."""
    execute(server, do, database=database)
    try:
        yield
    finally:
        execute(server, undo, database=database)


@contextmanager
def setting(server: PostgreSQL, name: str, value: str) -> Iterator[None]:
    """A setting changed by ALTER SYSTEM for a while; one that needs no restart."""
    execute(server, f"ALTER SYSTEM SET {name} = '{value}'")
    reload_and_wait(server, f"SELECT current_setting('{name}') = '{value}'")
    try:
        yield
    finally:
        execute(server, f"ALTER SYSTEM RESET {name}")
        reload_and_wait(server, f"SELECT current_setting('{name}') <> '{value}'")


def reload_and_wait(server: PostgreSQL, condition: str) -> None:
    """Reload the server until a condition holds in a new session."""
    execute(server, "SELECT pg_reload_conf()")
    deadline = time.monotonic() + 10
    with server.connect_local() as connection:
        while not connection.execute(condition.encode()).fetchone()[0]:  # type: ignore[index]
            assert time.monotonic() < deadline, condition
            time.sleep(0.05)


def primary_setting(name: str, value: str) -> Callable[[World], AbstractContextManager[None]]:
    """A change: a setting of the primary."""
    return lambda world: setting(world.primary, name, value)


def primary_statements(
    do: str, undo: str, *, erp: bool = False
) -> Callable[[World], AbstractContextManager[None]]:
    """A change: statements on the primary, in the ERP's database if `erp`."""

    def change(world: World) -> AbstractContextManager[None]:
        database = world.primary.site.database.name if erp else "postgres"
        return statements(world.primary, do, undo, database=database)

    return change


@contextmanager
def text(file: Path, old: str, new: str) -> Iterator[None]:
    """A file with other text for a while; its mode and owner stay."""
    before = file.read_text()
    assert old in before, f"{file} holds no {old!r}"
    file.write_text(before.replace(old, new))
    try:
        yield
    finally:
        file.write_text(before)


@contextmanager
def mode(path: Path, wanted: int) -> Iterator[None]:
    """A file or directory with another mode for a while."""
    before = stat.S_IMODE(path.stat().st_mode)
    path.chmod(wanted)
    try:
        yield
    finally:
        path.chmod(before)
