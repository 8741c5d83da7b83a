"""Kind `database_roles`: who exists in each database server and what each may do.

Data: `role` (primary or standby), `roles` (all but PostgreSQL's own `pg_*`), and by attribute
`superusers`, `login_roles`, `replication_roles`, `bypassrls_roles`, `createrole_roles`,
`createdb_roles`: lists of names; `memberships`: texts like `orchestrator in pg_monitor`, those of
PostgreSQL's own roles in each other left out.
"""

from __future__ import annotations

from functools import partial

from orchestrator.collect.observe import Collector, Observation, database_login
from orchestrator.drivers.postgresql import PostgreSQL
from orchestrator.drivers.postgresql_connection import value
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment, Site

KIND = "database_roles"
_ROLES = (
    "SELECT rolname, rolsuper, rolcanlogin, rolreplication, rolbypassrls, rolcreaterole,"
    " rolcreatedb FROM pg_roles WHERE rolname NOT LIKE 'pg\\_%' ORDER BY rolname"
)
_MEMBERSHIPS = (
    "SELECT m.rolname || ' in ' || g.rolname FROM pg_auth_members a"
    " JOIN pg_roles m ON m.oid = a.member JOIN pg_roles g ON g.oid = a.roleid"
    " WHERE m.rolname NOT LIKE 'pg\\_%' ORDER BY 1"
)
_ATTRIBUTES = (
    "superusers",
    "login_roles",
    "replication_roles",
    "bypassrls_roles",
    "createrole_roles",
    "createdb_roles",
)


def collectors(environment: Environment, secrets: Secrets) -> list[Collector]:
    """One collector for each site's server."""
    return [
        Collector(
            kind=KIND,
            subject=f"{name}/postgresql",
            source=f"{name}/postgresql, database {site.database.name}, as orchestrator by TLS",
            query=f"{_ROLES}; {_MEMBERSHIPS}",
            look=partial(look, environment, secrets, site),
        )
        for name, site in environment.sites.items()
    ]


def look(environment: Environment, secrets: Secrets, site: Site) -> Observation:
    """Ask one server. Raises InfrastructureError, psycopg.Error."""
    with PostgreSQL(environment, site).connect(database_login(secrets)) as connection:
        standby = value(connection, "SELECT pg_is_in_recovery()")
        roles = connection.execute(_ROLES.encode()).fetchall()
        memberships = connection.execute(_MEMBERSHIPS.encode()).fetchall()
    data = {
        "role": "standby" if standby else "primary",
        "roles": [row[0] for row in roles],
        **{
            name: [row[0] for row in roles if row[position]]
            for position, name in enumerate(_ATTRIBUTES, start=1)
        },
        "memberships": [row[0] for row in memberships],
    }
    return Observation(data, len(roles) + len(memberships))
