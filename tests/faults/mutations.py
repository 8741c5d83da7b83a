"""What breaks the real environment behind a drill's back, and heals it again.

Each is a context manager that takes the environment and the drill's state directory. What a drill
must say of it is in test_mutations.py.
"""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.drivers.certificates import server_certificates
from orchestrator.drivers.lease import LeaseFile
from orchestrator.drivers.objectstore import ObjectStore
from orchestrator.drivers.objectstore_attack import Attacker
from orchestrator.drivers.pgbackrest import PgBackRest
from orchestrator.drivers.postgresql import PostgreSQL
from orchestrator.drivers.postgresql_connection import value
from orchestrator.drivers.wal_names import archived_wal
from orchestrator.model.environment import Environment, Site
from tests.commands import await_entry

REPOSITORY = 2
_SECONDS_LOCKED = 3


def home(environment: Environment) -> PostgreSQL:
    """The server that is primary."""
    return PostgreSQL(environment, environment.starting_primary)


def away(environment: Environment) -> PostgreSQL:
    """Its standby."""
    return PostgreSQL(environment, environment.peer(environment.starting_primary.name))


@contextmanager
def replay_paused(environment: Environment, _: Path) -> Iterator[None]:
    """The standby receives and does not replay."""
    with away(environment).connect_local() as standby:
        standby.execute("SELECT pg_wal_replay_pause()")
        try:
            yield
        finally:
            standby.execute("SELECT pg_wal_replay_resume()")


@contextmanager
def standby_cut_off(environment: Environment, _: Path) -> Iterator[None]:
    """The standby runs and receives nothing."""
    server, primary = away(environment), home(environment)
    with server.connect_local() as standby:
        kept = str(value(standby, "SHOW primary_conninfo"))
        _set(server, "primary_conninfo", "")
        try:
            until = time.monotonic() + 30
            while primary.replicas():
                assert time.monotonic() < until, "the standby still streams"
                time.sleep(0.1)
            yield
        finally:
            _set(server, "primary_conninfo", kept)
            primary.await_streaming(server.settings.application_name)


def _set(server: PostgreSQL, name: str, text: str) -> None:
    with server.connect_local() as connection:
        literal = text.replace("'", "''")
        connection.execute(f"ALTER SYSTEM SET {name} = '{literal}'".encode())
    _reload(server)


def _reset(server: PostgreSQL, name: str) -> None:
    with server.connect_local() as connection:
        connection.execute(f"ALTER SYSTEM RESET {name}".encode())
    _reload(server)


def _reload(server: PostgreSQL) -> None:
    with server.connect_local() as connection:
        connection.execute("SELECT pg_reload_conf()")


@contextmanager
def commits_do_not_wait(environment: Environment, _: Path) -> Iterator[None]:
    """The list of synchronous standbys is right, and the ERP's commits wait for nobody."""
    server = home(environment)
    with server.connect_local() as connection:
        change = f'ALTER DATABASE "{server.settings.name}"'
        connection.execute(f"{change} SET synchronous_commit = local".encode())
        try:
            yield
        finally:
            connection.execute(f"{change} RESET synchronous_commit".encode())


@contextmanager
def statements_not_audited(environment: Environment, _: Path) -> Iterator[None]:
    """The database's audit extension is loaded and told to write nothing."""
    server = home(environment)
    _set(server, "pgaudit.log", "none")
    try:
        yield
    finally:
        _reset(server, "pgaudit.log")


@contextmanager
def standby_not_audited(environment: Environment, _: Path) -> Iterator[None]:
    """The standby, which will be promoted, is told to audit nothing."""
    _set(away(environment), "pgaudit.log", "none")
    try:
        yield
    finally:
        # The way back copies the survivor's settings to the old primary.
        for server in (home(environment), away(environment)):
            _reset(server, "pgaudit.log")


@contextmanager
def standby_serves_plaintext(environment: Environment, _: Path) -> Iterator[None]:
    """The standby, which will be promoted, takes logins without TLS."""
    server = away(environment)
    rules = server.settings.config_file.with_name("pg_hba.conf")
    kept = rules.read_text()
    rules.write_text(f"host all all all scram-sha-256\n{kept}")  # keeps owner and mode
    try:
        _reload(server)
        yield
    finally:
        rules.write_text(kept)
        _reload(server)


@contextmanager
def stranger_is_superuser(environment: Environment, _: Path) -> Iterator[None]:
    """A role that nobody knows has all rights; the standby and the backups have it too."""
    with home(environment).connect_local() as connection:
        connection.execute("CREATE ROLE test_eve SUPERUSER")
    try:
        yield
    finally:
        with home(environment).connect_local() as connection:
            connection.execute("DROP ROLE test_eve")


@contextmanager
def audit_device_dead(environment: Environment, _: Path) -> Iterator[None]:
    """The secret manager's audit device writes to a file that nobody finds: a rotation gone bad."""
    file = environment.secrets.audit_log
    moved = file.with_suffix(".away")
    file.rename(moved)
    try:
        file.touch(mode=0o600)
        yield
    finally:
        moved.rename(file)


@contextmanager
def _without(file: Path) -> Iterator[None]:
    moved = file.with_suffix(".away")
    file.rename(moved)
    try:
        yield
    finally:
        moved.rename(file)


@contextmanager
def database_key_gone(environment: Environment, _: Path) -> Iterator[None]:
    """The standby's TLS key is gone; the running server does not miss it."""
    certificate = server_certificates(environment)[f"{away(environment).site.name}/postgresql"]
    with _without(certificate.prefix.with_suffix(".key")):
        yield


@contextmanager
def unseal_keys_gone(environment: Environment, _: Path) -> Iterator[None]:
    """Nobody could open the secret manager again."""
    with _without(environment.secrets.unseal_keys_file):
        yield


@contextmanager
def _wrong_cipher_pass(site: Site) -> Iterator[None]:
    file = site.backup.config_file
    kept = file.read_text()
    wrong, count = re.subn(rf"(repo{REPOSITORY}-cipher-pass)=.*", r"\1=not-the-one", kept)
    assert count == 1
    file.write_text(wrong)  # keeps owner and mode
    try:
        yield
    finally:
        file.write_text(kept)


@contextmanager
def cipher_pass_wrong_at_standby(environment: Environment, _: Path) -> Iterator[None]:
    """The site that would recover from the repository has another cipher pass for it."""
    with _wrong_cipher_pass(away(environment).site):
        yield


@contextmanager
def cipher_pass_wrong_at_primary(environment: Environment, _: Path) -> Iterator[None]:
    """The site that backs up has another cipher pass for the repository."""
    with _wrong_cipher_pass(home(environment).site):
        yield


@contextmanager
def archiver_stuck(environment: Environment, _: Path) -> Iterator[None]:
    """The primary's archiver gets nothing done, and three whole segments wait for it."""
    server = home(environment)
    _set(server, "archive_command", "false")
    try:
        for _number in range(3):
            _write_segment(server)
        yield
    finally:
        _reset(server, "archive_command")


@contextmanager
def archive_has_a_gap(environment: Environment, _: Path) -> Iterator[None]:
    """A WAL segment between the newest backup and now is gone from the archive."""
    server, tool = home(environment), PgBackRest(environment, environment.starting_primary)
    held = tool.backup("incr", repository=REPOSITORY)
    attacker = _attacker(environment)
    bucket, prefix = attacker.bucket("backup"), _archive(tool)
    for _number in range(3):
        _write_segment(server)
    tool.check()
    there = {one.key for one in attacker.versions(bucket, prefix) if one.is_latest}
    segments = sorted(s for s in archived_wal(there).segments if s > held.start_wal)
    victim = segments[len(segments) // 2]
    (key,) = (key for key in there if f"/{victim}-" in key)
    assert not attacker.hide(bucket, key).refused
    try:
        yield
    finally:
        attacker.remove_all(bucket, key)  # the marker alone: the segment is locked
    assert any(one.key == key and one.is_latest for one in attacker.versions(bucket, prefix))


def _write_segment(server: PostgreSQL) -> None:
    with server.connect_local() as connection:
        connection.execute("SELECT pg_logical_emit_message(true, 'anlan', 'a segment')")
    server.switch_wal()


def _archive(tool: PgBackRest) -> str:
    return tool.option(f"repo{REPOSITORY}-path").strip("/") + "/archive/"


def _attacker(environment: Environment) -> Attacker:
    """Who has the database's keys to the repository; nobody holds the environment meanwhile."""
    lease = LeaseFile(environment.lease_file)
    site = list(environment.sites.values())[REPOSITORY - 1]
    token = lease.acquire("mutation")
    try:
        return Attacker(environment, site, environment.starting_primary, REPOSITORY, token)
    finally:
        lease.release("mutation")


@contextmanager
def archive_has_a_newer_timeline(environment: Environment, _: Path) -> Iterator[None]:
    """Another server, promoted once more often, archives into the same repository."""
    tool = PgBackRest(environment, environment.starting_primary)
    store: ObjectStore = _attacker(environment)
    bucket, prefix = store.bucket("backup"), _archive(tool)
    paths = [one.key for one in store.versions(bucket, prefix) if "-1/" in one.key]
    newer = archived_wal(paths).newest_timeline + 1
    folder = re.split(r"(?<=-1)/", paths[0])[0]
    key = f"{folder}/{newer:08X}.history"
    store.put_locked(bucket, key, b"1\t0/1000000\tanother server\n", days=_SECONDS_LOCKED / 86_400)
    try:
        yield
    finally:
        while store.remove_all(bucket, key):
            time.sleep(0.5)


@contextmanager
def invoice_line_changed(environment: Environment, _: Path) -> Iterator[None]:
    """A line of a posted invoice is changed past the ERP."""
    server = home(environment)
    line = (
        "(SELECT min(l.id) FROM account_invoice_line l JOIN account_invoice i ON i.id = l.invoice"
        " WHERE l.type = 'line' AND i.state IN ('posted', 'paid'))"
    )
    change = "UPDATE account_invoice_line SET quantity = quantity {} 1 WHERE id = " + line
    with server.connect_local(server.settings.name) as connection:
        connection.execute(change.format("+").encode())
        try:
            yield
        finally:
            connection.execute(change.format("-").encode())


@contextmanager
def commits_hang(environment: Environment, _: Path) -> Iterator[None]:
    """The ledger's writes are sent and none is acknowledged."""
    server = home(environment)
    with server.connect_local(server.settings.name) as connection:
        connection.execute(
            "CREATE FUNCTION anlan.hang() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN PERFORM pg_sleep(3600); RETURN NEW; END $$"
        )
        connection.execute(
            "CREATE TRIGGER hang BEFORE INSERT ON anlan.ledger"
            " FOR EACH ROW EXECUTE FUNCTION anlan.hang()"
        )
        try:
            yield
        finally:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE query LIKE 'INSERT INTO anlan.ledger%' AND wait_event = 'PgSleep'"
            )
            connection.execute("DROP FUNCTION anlan.hang() CASCADE")


@contextmanager
def watch_dies(_: Environment, state: Path) -> Iterator[None]:
    """The watch on the primaries is killed when the fault comes."""
    failed: list[BaseException] = []

    def work() -> None:
        try:
            await_entry(state, "mark", "fault")
            (pid,) = (state / "runs").glob("[!.]*/probes/primaries/pid")
            os.kill(int(pid.read_text().split()[0]), signal.SIGKILL)
        except BaseException as error:  # noqa: BLE001  (told by the test's own thread)
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    assert not failed, failed


def when_the_erp_was_empty(environment: Environment) -> str:
    """Make every table of the ERP empty for a moment that is archived; returns the moment.

    The full tables are put back before this returns; a restore to the moment finds empty ones.
    """
    server = home(environment)
    empty = (
        "DO $$ DECLARE name text; BEGIN"
        " FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'kept' LOOP"
        " EXECUTE format('CREATE TABLE public.%1$I (LIKE kept.%1$I INCLUDING ALL)', name);"
        " END LOOP; END $$"
    )
    with server.connect_local(server.settings.name) as connection:
        with connection.transaction():
            connection.execute("ALTER SCHEMA public RENAME TO kept")
            connection.execute("CREATE SCHEMA public AUTHORIZATION pg_database_owner")
            connection.execute(empty)
            connection.execute(
                f'GRANT ALL ON ALL TABLES IN SCHEMA public TO "{_owner(server)}"'.encode()
            )
        try:
            time.sleep(1)
            moment = datetime.now(UTC)
            time.sleep(1)
        finally:
            with connection.transaction():
                connection.execute("DROP SCHEMA public CASCADE")
                connection.execute("ALTER SCHEMA kept RENAME TO public")
    return moment.isoformat()


def _owner(server: PostgreSQL) -> str:
    with server.connect_local() as connection:
        name = server.settings.name
        query = f"SELECT datdba::regrole::text FROM pg_database WHERE datname = '{name}'"
        return str(value(connection, query))
