"""Where the engine keeps which steps are done: SQLite in the state directory, or PostgreSQL.

`ANLAN_STORE=postgresql://…` names a server for several workers. It must not be one that is drilled.
"""

from __future__ import annotations

import os
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from orchestrator.model.environment import Environment
from orchestrator.model.errors import InfrastructureError, InputError

VARIABLE = "ANLAN_STORE"
_SCHEMES = ("postgresql://", "postgres://")
_CONNECT_SECONDS = 5


def engine_database(state: Path, environment: Environment) -> tuple[str, str]:
    """The URL of the engine's database, and its name for people, without a password.

    Raises InputError for a URL that is none, or that leads to a database of the environment;
    InfrastructureError when the server does not answer: DBOS would wait for it for ever.
    """
    url = os.environ.get(VARIABLE, "")
    if not url:
        file = state / "engine.sqlite"
        return f"sqlite:///{file}", str(file)
    todo = f"set {VARIABLE} to postgresql://USER@HOST:PORT/DATABASE, or unset it (SQLite)"
    if not url.startswith(_SCHEMES):
        raise InputError(f"{VARIABLE} does not begin with postgresql://", todo)
    try:
        parts = conninfo_to_dict(url)
    except psycopg.Error:
        raise InputError(f"{VARIABLE} is not a PostgreSQL URL", todo) from None
    host, port = str(parts.get("host", "")), str(parts.get("port", "5432"))
    name = f"{parts.get('dbname', '')} at {host or 'the local socket'}:{port}"
    for site in environment.sites.values():
        places = {site.database.address, str(site.database.socket_directory)}
        if host in places and port == str(site.database.port):
            raise InputError(
                f"{VARIABLE} leads to the database of site {site.name}, which drills break",
                "give the engine a database of its own",
            )
    try:
        # The database itself is made by the engine when it is missing.
        psycopg.connect(url, dbname="postgres", connect_timeout=_CONNECT_SECONDS).close()
    except psycopg.Error as error:
        reason = str(error).splitlines()[0]
        raise InfrastructureError(
            f"the engine's database {name} does not answer: {reason}",
            f"start it, or correct {VARIABLE}",
        ) from None
    return url, name
