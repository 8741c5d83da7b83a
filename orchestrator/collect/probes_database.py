"""Probes of the databases: roles that overreach, logins that must fail."""

from __future__ import annotations

import secrets as random
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import psycopg
from psycopg import errors, sql

from orchestrator.collect.observe import database_login, secret_entry
from orchestrator.collect.probe import Probe, Tried
from orchestrator.drivers.credentials import Credentials
from orchestrator.drivers.postgresql import PostgreSQL, Role
from orchestrator.drivers.postgresql_connection import (
    Connection,
    connect_read_write,
    connection_parameters,
    row,
    value,
)
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment, Site
from orchestrator.model.errors import InfrastructureError

Login = Callable[[], Credentials]
_AUDIT = "pgaudit.log"
_ROLLED_BACK = "it runs in a transaction that is rolled back"
_READS = "it reads, and what it reads is counted and thrown away"
_SESSION = "it holds for its own session, which ends at once"
_LOG_SECONDS = 3.0
# Whether postgresql.auto.conf has a line of its own already, which the undo must leave.
_KEPT = (
    "SELECT count(*) > 0 FROM pg_file_settings"
    " WHERE sourcefile LIKE '%postgresql.auto.conf' AND name = 'pgaudit.log'"
)
# name, statement, what its success would do
_AS_ERP = (
    ("erp_sets_audit", f"SET {_AUDIT} = 'none'", _SESSION),
    ("erp_drops_audit", "DROP EXTENSION pgaudit", _ROLLED_BACK),
    ("erp_reads_password_hashes", "SELECT count(*) FROM pg_authid", _READS),
    ("erp_reads_ledger", "SELECT count(*) FROM anlan.ledger", _READS),
    # Not `true`: it may end before the row is written, and a broken pipe says neither yes nor no.
    ("erp_runs_program", "COPY (SELECT 1) TO PROGRAM 'cat >/dev/null'", "it throws a row away"),
    ("erp_reads_file", "SELECT length(pg_read_file('postgresql.auto.conf'))", _READS),
    ("erp_creates_role", "CREATE ROLE anlan_negative_probe", _ROLLED_BACK),
    ("erp_becomes_orchestrator", "SET ROLE orchestrator", _SESSION),
)
_AS_ORCHESTRATOR = (
    ("orchestrator_sets_audit", f"SET {_AUDIT} = 'none'", _SESSION),
    ("orchestrator_drops_audit", "DROP EXTENSION pgaudit", _ROLLED_BACK),
    ("orchestrator_reads_password_hashes", "SELECT count(*) FROM pg_authid", _READS),
    ("orchestrator_writes_books", "UPDATE account_move SET id = id WHERE false", "it names no row"),
    ("orchestrator_creates_role", "CREATE ROLE anlan_negative_probe", _ROLLED_BACK),
    ("orchestrator_becomes_erp", "SET ROLE erp", _SESSION),
)


def probes(environment: Environment, secrets: Secrets) -> list[Probe]:
    """The probes of the primary, and those of each site's logins."""

    def erp() -> Credentials:
        entry = secret_entry(secrets, "erp-database")
        return Credentials(entry["username"], entry["password"])

    def orchestrator() -> Credentials:
        return database_login(secrets)

    found: list[Probe] = []
    for who, login, statements in (
        ("erp", erp, _AS_ERP),
        ("orchestrator", orchestrator, _AS_ORCHESTRATOR),
    ):
        found += [
            Probe(
                f"common/probe/{name}",
                f"the primary, as role {who} by TLS",
                statement,
                harmless,
                partial(_statement, environment, login, statement),
            )
            for name, statement, harmless in statements
        ]
        found.append(
            Probe(
                f"common/probe/{who}_alters_audit",
                f"the primary, as role {who} by TLS",
                f"ALTER SYSTEM SET {_AUDIT} = (the value that it has)",
                "the value is the one in force, nothing is reloaded, and the line is taken out of "
                "postgresql.auto.conf again",
                partial(_alter_system, environment, login),
            )
        )
    for site in environment.sites.values():
        found += _logins(environment, site)
    return found


def _statement(environment: Environment, login: Login, statement: str) -> Tried:
    with connect_read_write(environment, login()) as connection:
        try:
            with connection.transaction(force_rollback=True):
                connection.execute(statement.encode())
        except errors.InsufficientPrivilege as error:
            return Tried(True, str(error))
        except errors.UndefinedTable as error:
            return Tried(False, f"it may look into the schema: {error}")
        except psycopg.Error as error:
            return Tried(None, f"{type(error).__name__}: {error}")
    return Tried(False, "it succeeded", undone=True)


def _alter_system(environment: Environment, login: Login) -> Tried:
    primary = _primary(environment)
    with primary.connect_local() as superuser:
        kept = bool(value(superuser, _KEPT))
        with connect_read_write(environment, login()) as connection:
            now = str(value(connection, f"SHOW {_AUDIT}"))
            statement = sql.SQL("ALTER SYSTEM SET {} = {}").format(
                sql.Identifier(*_AUDIT.split(".")), sql.Literal(now)
            )
            try:
                connection.execute(statement)
            except errors.InsufficientPrivilege as error:
                return Tried(True, str(error))
            except psycopg.Error as error:
                return Tried(None, f"{type(error).__name__}: {error}")
        if not kept:
            superuser.execute(f"ALTER SYSTEM RESET {_AUDIT}".encode())
        return Tried(False, "it succeeded", undone=bool(value(superuser, _KEPT)) == kept)


def _primary(environment: Environment) -> PostgreSQL:
    for site in environment.sites.values():
        server = PostgreSQL(environment, site)
        if server.role() is Role.PRIMARY:
            return server
    raise InfrastructureError("no site has a primary", "see `anlan env show`")


def _logins(environment: Environment, site: Site) -> list[Probe]:
    """Logins at one site that must fail; a login that succeeds is closed at once."""
    harmless = "the connection is closed before anything is asked"
    where = f"{site.name}/postgresql by TLS"

    def probe(name: str, attempt: str, act: Callable[[], Tried]) -> Probe:
        return Probe(f"{site.name}/probe/{name}", where, attempt, harmless, act)

    def login(**changes: str) -> Callable[[], Tried]:
        return partial(_login, environment, site, changes)

    return [
        probe(
            "login_without_password",
            "a login as erp without a password",
            login(user="erp", password=""),
        ),
        probe(
            "login_with_wrong_password",
            "a login as erp with a password that was just made up, and its line in the log",
            partial(_wrong_password, environment, site),
        ),
        probe(
            "superuser_login_by_network",
            "a login as postgres with a password that was just made up",
            login(user="postgres", password=random.token_hex(16)),
        ),
        probe(
            "replication_without_certificate",
            "a replication connection as replicator without a client certificate",
            login(user="replicator", password="", dbname="postgres", replication="true"),
        ),
    ]


# What PostgreSQL and libpq say of a login that was refused by right (auth.c, fe-auth.c).
_REFUSALS = (
    "no password supplied",
    "password authentication failed",
    "requires a valid client certificate",
    "pg_hba.conf rejects",
    "no pg_hba.conf entry",
)


def _login(environment: Environment, site: Site, changes: dict[str, str]) -> Tried:
    nobody = Credentials(changes["user"], changes["password"])
    parameters: dict[str, Any] = connection_parameters(
        environment, [site], nobody, read_write=False
    )
    # Neither a password file nor a certificate of the user who runs this may help.
    parameters |= {"passfile": str(environment.root / "no-passfile"), "sslkey": "", **changes}
    try:
        psycopg.connect(**parameters).close()
    except psycopg.OperationalError as error:
        text = " ".join(str(error).split())
        if not any(one in text for one in _REFUSALS):
            raise InfrastructureError(f"site {site.name} did not say no: {text}") from error
        # One who is asked for a password was not asked for a certificate.
        return Tried("replication" not in changes or "certificate" in text, text)
    return Tried(False, "it let the probe in", undone=True)


def _wrong_password(environment: Environment, site: Site) -> Tried:
    changes = {"user": "erp", "password": random.token_hex(16), "application_name": "anlan_probe"}
    with PostgreSQL(environment, site).connect_local() as connection:
        file, size = row(
            connection, "SELECT pg_current_logfile(), (pg_stat_file(pg_current_logfile())).size"
        )
        tried = _login(environment, site, changes)
        logged = _is_logged(connection, str(file), int(size))
    return Tried(tried.refused, tried.answer, tried.undone, logged)


def _is_logged(connection: Connection, file: str, offset: int) -> bool:
    """Whether the log has a new line of a failed password for erp."""
    deadline = time.monotonic() + _LOG_SECONDS
    query = "SELECT pg_read_binary_file(%s, %s, pg_size_bytes('1MB'), true)"
    while time.monotonic() < deadline:
        found = connection.execute(query, (file, offset)).fetchone()
        if found is None:
            raise InfrastructureError(f"{file} cannot be read", "report this: it always can")
        if b'password authentication failed for user "erp"' in bytes(found[0] or b""):
            return True
        time.sleep(0.05)
    return False
