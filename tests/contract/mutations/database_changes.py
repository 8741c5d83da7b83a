"""What can be done to a database server for a while: its files, settings, replication, sessions."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import psycopg

from orchestrator.drivers.postgresql import PostgreSQL
from orchestrator.drivers.postgresql_connection import connection_parameters
from tests.contract.mutations.world import World, execute, reload_and_wait, setting, statements

Change = Callable[[World], AbstractContextManager[None]]


def standby_setting(name: str, value: str) -> Change:
    """A change: a setting of the standby."""
    return lambda world: setting(world.standby, name, value)


def erp_statements(do: str, undo: str) -> Change:
    """A change: statements in the ERP's database."""
    return lambda world: statements(
        world.primary, do, undo, database=world.primary.site.database.name
    )


def first_line(name: str, line: str) -> Change:
    """A change: a line at the top of a configuration file of the standby.

    The server shows the file as it is, so it is not reloaded: the line never comes into force.
    """

    def change(world: World) -> AbstractContextManager[None]:
        return _line(world.standby.site.database.config_file.with_name(name), line)

    return change


@contextmanager
def _line(path: Path, line: str) -> Iterator[None]:
    kept = path.with_name(f"{path.name}.test")
    shutil.copy2(path, kept)
    shutil.chown(kept, path.stat().st_uid, path.stat().st_gid)
    try:
        path.write_text(f"{line}\n{path.read_text()}")
        yield
    finally:
        kept.replace(path)


def mode(place: Callable[[PostgreSQL], Path], opened: int) -> Change:
    """A change: a file of the standby open to others."""

    @contextmanager
    def change(world: World) -> Iterator[None]:
        path = place(world.standby)
        before = path.stat().st_mode & 0o7777
        path.chmod(opened)
        try:
            yield
        finally:
            path.chmod(before)

    return change


def stranger_in_data(make: Callable[[Path], None]) -> Change:
    """A change: something called `dump.sql` at the top of the standby's data directory."""

    @contextmanager
    def change(world: World) -> Iterator[None]:
        path = world.standby.site.database.data_directory / "dump.sql"
        make(path)
        try:
            yield
        finally:
            path.unlink()

    return change


@contextmanager
def waiting_for_a_restart(world: World) -> Iterator[None]:
    """A setting of the standby that a restart would bring into force."""
    standby = world.standby
    waiting = "SELECT count(*) {} 0 FROM pg_settings WHERE pending_restart"
    # One that the file has: PostgreSQL 15 forgets the waiting of no other until a restart.
    execute(standby, "ALTER SYSTEM SET max_connections = 101")
    reload_and_wait(standby, waiting.format(">"))
    try:
        yield
    finally:
        execute(standby, "ALTER SYSTEM RESET max_connections")
        reload_and_wait(standby, waiting.format("="))


def source(make: Callable[[str], str]) -> Change:
    """A change: where the standby streams from, as libpq's parameters."""

    @contextmanager
    def change(world: World) -> Iterator[None]:
        standby = world.standby
        with standby.connect_local() as connection:
            (before,) = connection.execute("SHOW primary_conninfo").fetchone()  # type: ignore[misc]
        after = make(before)
        try:
            _stream_from(world, after)
            yield
        finally:
            _stream_from(world, before)

    return change


def _stream_from(world: World, parameters: str) -> None:
    quoted = parameters.replace("'", "''")
    execute(world.standby, f"ALTER SYSTEM SET primary_conninfo = '{quoted}'")
    execute(world.standby, "SELECT pg_reload_conf()")
    name = world.standby.site.database.application_name
    deadline = time.monotonic() + 30
    while True:
        there = [one for one in world.primary.replicas() if one.application_name == name]
        if parameters and any(
            one.state == "streaming" and one.sync_state == "sync" and one.replay_lag_bytes == 0
            for one in there
        ):
            with world.standby.connect_local() as connection:
                used = connection.execute("SELECT conninfo FROM pg_stat_wal_receiver").fetchone()
            if used and ("verify-ca" in used[0]) == ("verify-ca" in parameters):
                return
        if not parameters and not there:
            return
        assert time.monotonic() < deadline, parameters
        time.sleep(0.1)


@contextmanager
def paused_replay(world: World) -> Iterator[None]:
    """The standby gets everything and shows nothing of it."""
    execute(world.standby, "SELECT pg_wal_replay_pause()")
    with world.standby.connect_local() as connection:
        paused = "SELECT pg_get_wal_replay_pause_state() = 'paused'"
        while not connection.execute(paused).fetchone()[0]:  # type: ignore[index]
            time.sleep(0.05)
    try:
        yield
    finally:
        execute(world.standby, "SELECT pg_wal_replay_resume()")


@contextmanager
def cleartext_session(world: World) -> Iterator[None]:
    """A session of the orchestrator on the standby that does without TLS."""
    standby = world.standby
    file = standby.site.database.config_file.with_name("pg_hba.conf")
    name = standby.site.database.name
    trusted = "SELECT count(*) {} 0 FROM pg_hba_file_rules WHERE 'orchestrator' = ANY (user_name)"
    parameters = connection_parameters(
        world.environment, [standby.site], world.secrets.database_login(), read_write=False
    )
    parameters |= {"sslmode": "disable"}
    with _line(file, f"host {name} orchestrator 127.0.0.0/8 scram-sha-256"):
        reload_and_wait(standby, trusted.format(">"))
        with _connected(parameters):
            yield
    reload_and_wait(standby, trusted.format("="))


@contextmanager
def superuser_session(world: World) -> Iterator[None]:
    """A superuser of another name, connected over the network."""
    password = "test-0c9d2a"
    with statements(
        world.primary,
        f"CREATE ROLE test_eve SUPERUSER LOGIN PASSWORD '{password}'",
        "DROP ROLE test_eve",
    ):
        parameters = connection_parameters(
            world.environment,
            [world.primary.site],
            world.secrets.database_login(),
            read_write=False,
        )
        with _connected({**parameters, "user": "test_eve", "password": password}):
            yield


@contextmanager
def _connected(parameters: dict[str, str]) -> Iterator[None]:
    deadline = time.monotonic() + 10
    while True:  # the server takes its new rules a moment after the reload
        try:
            session = psycopg.connect(**parameters)  # type: ignore[arg-type]
            break
        except psycopg.OperationalError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    try:
        yield
    finally:
        session.close()
