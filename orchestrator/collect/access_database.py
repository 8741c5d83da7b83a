"""The rights in PostgreSQL: attributes, memberships, privileges on database, schemas, tables.

Read on the primary; standbys have the same by replication. Roles of PostgreSQL itself (`pg_*`) are
no principals, membership in them is a right. Of tables, what owners may do is told by schema, what
others were granted by table. Left out: functions, sequences, column privileges.
"""

from __future__ import annotations

from functools import partial

from orchestrator.collect.access_read import Look
from orchestrator.collect.observe import database_login
from orchestrator.drivers.postgresql_connection import connect_read_write
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.access import Right, rights_of
from orchestrator.model.environment import Environment

_GRANTEE = "CASE WHEN acl.grantee = 0 THEN 'PUBLIC' ELSE acl.grantee::regrole::text END"
_KIND = """CASE WHEN acl.grantee = 0 THEN 'everybody'
  WHEN (SELECT rolcanlogin FROM pg_roles WHERE oid = acl.grantee) THEN 'login' ELSE 'group' END"""
_MAY = "acl.privilege_type || CASE WHEN acl.is_grantable THEN ' with grant option' ELSE '' END"
_QUERIES = (
    # Attributes.
    """SELECT rolname, CASE WHEN rolcanlogin THEN 'login' ELSE 'group' END, 'the server', '',
    unnest(array_remove(ARRAY[
      CASE WHEN rolsuper THEN 'SUPERUSER' END, CASE WHEN rolcanlogin THEN 'LOGIN' END,
      CASE WHEN rolreplication THEN 'REPLICATION' END,
      CASE WHEN rolbypassrls THEN 'BYPASSRLS' END,
      CASE WHEN rolcreaterole THEN 'CREATEROLE' END,
      CASE WHEN rolcreatedb THEN 'CREATEDB' END,
      CASE WHEN NOT (rolsuper OR rolcanlogin) THEN 'exists' END], NULL))
    FROM pg_roles WHERE rolname NOT LIKE 'pg\\_%'""",
    # Memberships.
    """SELECT m.rolname, CASE WHEN m.rolcanlogin THEN 'login' ELSE 'group' END,
    'role ' || g.rolname, '', unnest(array_remove(ARRAY['MEMBER',
      CASE WHEN a.admin_option THEN 'with admin option' END], NULL))
    FROM pg_auth_members a JOIN pg_roles m ON m.oid = a.member JOIN pg_roles g ON g.oid = a.roleid
    WHERE m.rolname NOT LIKE 'pg\\_%'""",
    # Databases.
    f"""SELECT {_GRANTEE}, {_KIND}, 'database ' || d.datname, '', {_MAY} FROM pg_database d,
    aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) acl""",  # noqa: S608  (constants)
    # Schemas.
    f"""SELECT {_GRANTEE}, {_KIND}, 'schema ' || n.nspname || ' of ' || current_database(), '',
    {_MAY} FROM pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) acl
    WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'""",  # noqa: S608  (constants)
    # Tables: by schema for owners, by table for whoever was granted something.
    f"""SELECT {_GRANTEE}, {_KIND}, CASE WHEN acl.grantee = c.relowner
      THEN 'tables of schema ' || n.nspname || ' of ' || current_database()
      ELSE 'table ' || n.nspname || '.' || c.relname || ' of ' || current_database() END, '',
    CASE WHEN acl.grantee = c.relowner THEN 'everything, as owner' ELSE {_MAY} END
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace,
    aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) acl
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname NOT LIKE 'pg\\_%'
    AND n.nspname <> 'information_schema'""",  # noqa: S608  (constants)
)


def look(environment: Environment, secrets: Secrets) -> Look:
    """How PostgreSQL is asked."""
    return Look(
        subject="common/postgresql",
        source="PostgreSQL of the primary, as orchestrator by TLS",
        query="; ".join(" ".join(query.split()) for query in _QUERIES),
        ask=partial(_ask, environment, secrets),
    )


def _ask(environment: Environment, secrets: Secrets) -> tuple[list[Right], int]:
    with connect_read_write(environment, database_login(secrets)) as connection:
        rows = [row for query in _QUERIES for row in connection.execute(query.encode())]
    return rights_of(rows), len(rows)
