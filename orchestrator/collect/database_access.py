"""Kind `database_access`: what may be done inside each server's databases, and by whom.

Data: `role`, `databases` (those that are no templates), and lists of texts, each ending in
` in DATABASE`; without the objects of PostgreSQL's own schemas unless said otherwise:

- to everybody (PUBLIC): `public_database_rights`, `public_create_schemas`, `public_relations`
- to others than the owner: `grants` (rights on relations, by schema and role),
  `default_privileges`, `system_grants` (rights on PostgreSQL's own objects beyond initdb's)
- `owners` (who owns something in which schema; an extension's objects left out)
- what runs with another's rights: `definer_functions`, `definer_functions_without_path`,
  `superuser_views`, `event_triggers`, `event_triggers_off`
- `extensions`, `extension_updates` (installed is not the version that the server has on disk),
  `untrusted_languages`, `row_security_off` (policies of rows on a table that does not use them),
  `outlets` (foreign servers, publications, subscriptions: ways of data out of the database)
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import resources

from orchestrator.collect.observe import Collector, Observation, server_collectors
from orchestrator.drivers.postgresql import PostgreSQL
from orchestrator.drivers.postgresql_connection import Connection, row
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment, Site

KIND = "database_access"
_DATABASES = (
    "SELECT pg_is_in_recovery(), array(SELECT datname::text FROM pg_database"
    " WHERE datallowconn AND NOT datistemplate ORDER BY datname)"
)
_DATABASE_RIGHTS = (
    "SELECT privilege_type || ' in ' || datname FROM pg_database,"
    " aclexplode(coalesce(datacl, acldefault('d', datdba)))"
    " WHERE grantee = 0 AND NOT datistemplate ORDER BY 1"
)
# `-- FIELD: what it is`, then the query, asked in each database.
_QUERIES: dict[str, str] = dict(
    re.findall(
        r"^-- (\w+): [^\n]+\n(.*?);\n",
        resources.files("orchestrator.collect").joinpath("database_access.sql").read_text(),
        re.MULTILINE | re.DOTALL,
    )
)


def collectors(environment: Environment, secrets: Secrets) -> list[Collector]:
    """One collector for each site's server; the secret manager is not needed."""
    query = "; ".join([_DATABASES, _DATABASE_RIGHTS, *_QUERIES.values()])
    return server_collectors(KIND, environment, query, look, scope="each database, ")


def look(environment: Environment, site: Site) -> Observation:
    """Ask one server. Raises InfrastructureError, psycopg.Error."""
    return read(PostgreSQL(environment, site).connect_local)


def read(connect: Callable[[str], Connection]) -> Observation:
    """Ask over connections to databases. Raises InfrastructureError, psycopg.Error."""
    found: dict[str, list[str]] = {field: [] for field in _QUERIES}
    with connect("postgres") as connection:
        standby, databases = row(connection, _DATABASES)
        rights = [text for (text,) in connection.execute(_DATABASE_RIGHTS.encode()).fetchall()]
    for database in databases:
        with connect(database) as connection:
            # Then every name of an object comes with its schema.
            connection.execute("SET search_path = ''")
            for field, query in _QUERIES.items():
                for (text,) in connection.execute(query.encode()).fetchall():
                    found[field].append(f"{text} in {database}")
    data = {
        "role": "standby" if standby else "primary",
        "databases": databases,
        "public_database_rights": rights,
        **found,
    }
    return Observation(data, len(databases) + len(rights) + sum(map(len, found.values())))
