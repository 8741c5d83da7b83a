"""Connections to PostgreSQL: TLS with the server's name verified, or the local socket."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

from orchestrator.drivers.credentials import Credentials
from orchestrator.model.environment import Environment, Site
from orchestrator.model.errors import InfrastructureError

Connection = psycopg.Connection[tuple[Any, ...]]


def connection_parameters(
    environment: Environment,
    sites: Sequence[Site],
    credentials: Credentials,
    *,
    read_write: bool,
    timeout_seconds: int = 3,
) -> dict[str, str]:
    """libpq parameters for `sites` by TCP: TLS with the names verified, one database name.

    With `read_write` libpq goes on to the next site until one accepts writes.
    """
    return {
        "host": ",".join(site.database.address for site in sites),
        "port": ",".join(str(site.database.port) for site in sites),
        "dbname": sites[0].database.name,
        "user": credentials.username,
        "password": credentials.password,
        "sslmode": "verify-full",
        "sslrootcert": str(environment.tls.ca_file),
        "ssl_min_protocol_version": environment.tls.minimum_version,
        "sslcert": "",
        "gssencmode": "disable",
        "target_session_attrs": "read-write" if read_write else "any",
        "connect_timeout": str(timeout_seconds),
        "tcp_user_timeout": "3000",
        "application_name": "anlan",
    }


def connect_read_write(
    environment: Environment, credentials: Credentials, *, timeout_seconds: int = 3
) -> Connection:
    """Connect to whichever site accepts writes. Raises InfrastructureError when none does."""
    parameters = connection_parameters(
        environment,
        list(environment.sites.values()),
        credentials,
        read_write=True,
        timeout_seconds=timeout_seconds,
    )
    return connect(parameters, "any site that accepts writes")


def connect(parameters: dict[str, str], what: str) -> Connection:
    """Connect in autocommit. Raises InfrastructureError naming `what`."""
    try:
        return psycopg.connect(**parameters, autocommit=True)  # type: ignore[arg-type]
    except psycopg.Error as error:
        reason = " | ".join(str(error).split("\n")[:4])
        raise InfrastructureError(
            f"cannot connect to {what}: {reason}", "start the database, or look at its log"
        ) from error


def row(connection: Connection, query: str) -> tuple[Any, ...]:
    """The one row of a query. Raises psycopg.Error."""
    found = connection.execute(query.encode()).fetchone()
    if found is None:
        raise InfrastructureError(f"no row from: {query}", "report this: it always has one")
    return found


def value(connection: Connection, query: str) -> Any:
    """The first column of a query's one row. Raises psycopg.Error."""
    return row(connection, query)[0]
