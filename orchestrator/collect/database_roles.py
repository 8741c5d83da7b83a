"""Kind `database_roles`: who exists in each database server and what each may do.

Data: `role` (primary or standby), `roles` (all but PostgreSQL's own `pg_*`), and by attribute
`superusers`, `login_roles`, `replication_roles`, `bypassrls_roles`, `createrole_roles`,
`createdb_roles`: lists of names; `memberships`: texts like `orchestrator in pg_monitor`, those of
PostgreSQL's own roles in each other left out, and of them `grantable_memberships` (WITH ADMIN).
`unlimited_roles`: login roles, not superusers, without a limit of connections.
`password_ends`: `{role, valid_until}` of each login role whose password ends. `role_settings`: what
is set for a role or a database alone, as `NAME for ROLE in DATABASE`; the values are left out.
"""

from __future__ import annotations

from functools import partial

from orchestrator.collect.observe import Collector, Observation, database_login
from orchestrator.drivers.postgresql import PostgreSQL
from orchestrator.drivers.postgresql_connection import Connection, value
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment, Site
from orchestrator.model.fact import timestamp

KIND = "database_roles"
_ROLES = (
    "SELECT rolname, rolsuper, rolcanlogin, rolreplication, rolbypassrls, rolcreaterole,"
    " rolcreatedb, rolcanlogin AND NOT rolsuper AND rolconnlimit < 0, CASE WHEN rolcanlogin"
    " AND isfinite(rolvaliduntil) THEN rolvaliduntil END"
    " FROM pg_roles WHERE rolname NOT LIKE 'pg\\_%' ORDER BY rolname"
)
_MEMBERSHIPS = (
    "SELECT m.rolname || ' in ' || g.rolname, a.admin_option FROM pg_auth_members a"
    " JOIN pg_roles m ON m.oid = a.member JOIN pg_roles g ON g.oid = a.roleid"
    " WHERE m.rolname NOT LIKE 'pg\\_%' ORDER BY 1"
)
_SETTINGS = (
    "SELECT split_part(setting, '=', 1) || ' for ' || coalesce(r.rolname, 'all roles') || ' in '"
    " || coalesce(d.datname, 'all databases') FROM pg_db_role_setting s"
    " CROSS JOIN unnest(s.setconfig) setting LEFT JOIN pg_roles r ON r.oid = s.setrole"
    " LEFT JOIN pg_database d ON d.oid = s.setdatabase ORDER BY 1"
)
_ATTRIBUTES = (
    "superusers",
    "login_roles",
    "replication_roles",
    "bypassrls_roles",
    "createrole_roles",
    "createdb_roles",
    "unlimited_roles",
)


def collectors(environment: Environment, secrets: Secrets) -> list[Collector]:
    """One collector for each site's server."""
    return [
        Collector(
            kind=KIND,
            subject=f"{name}/postgresql",
            source=f"{name}/postgresql, database {site.database.name}, as orchestrator by TLS",
            query=f"{_ROLES}; {_MEMBERSHIPS}; {_SETTINGS}",
            look=partial(look, environment, secrets, site),
        )
        for name, site in environment.sites.items()
    ]


def look(environment: Environment, secrets: Secrets, site: Site) -> Observation:
    """Ask one server. Raises InfrastructureError, psycopg.Error."""
    with PostgreSQL(environment, site).connect(database_login(secrets)) as connection:
        return read(connection)


def read(connection: Connection) -> Observation:
    """Ask over a connection. Raises psycopg.Error."""
    standby = value(connection, "SELECT pg_is_in_recovery()")
    roles = connection.execute(_ROLES.encode()).fetchall()
    memberships = connection.execute(_MEMBERSHIPS.encode()).fetchall()
    settings = connection.execute(_SETTINGS.encode()).fetchall()
    data = {
        "role": "standby" if standby else "primary",
        "roles": [row[0] for row in roles],
        **{
            name: [row[0] for row in roles if row[position]]
            for position, name in enumerate(_ATTRIBUTES, start=1)
        },
        "password_ends": [
            {"role": row[0], "valid_until": timestamp(row[-1])} for row in roles if row[-1]
        ],
        "memberships": [row[0] for row in memberships],
        "grantable_memberships": [text for text, grantable in memberships if grantable],
        "role_settings": [row[0] for row in settings],
    }
    return Observation(data, len(roles) + len(memberships) + len(settings))
