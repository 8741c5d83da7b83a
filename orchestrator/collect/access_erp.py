"""The rights in the ERP (Tryton 8.2), read from its database.

Users with their administration, groups and keys of applications; of each group, and of everybody,
what it may do with each model. A group has the rights of its parents (res/group.py). Left out:
rights on single fields and buttons, and record rules, which only take away.
"""

from __future__ import annotations

from functools import partial

from orchestrator.collect.access_read import Look
from orchestrator.collect.observe import database_login
from orchestrator.drivers.postgresql_connection import connect_read_write
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.access import Right, rights_of
from orchestrator.model.environment import Environment

_QUERIES = (
    """SELECT login, 'user', 'the ERP', '', unnest(array_remove(ARRAY['login',
      CASE WHEN administrator THEN 'administrator' END], NULL)) FROM res_user WHERE active""",
    """SELECT u.login, 'user', 'group ' || g.name, '', 'member'
    FROM "res_user-res_group" ug JOIN res_user u ON u.id = ug."user" AND u.active
    JOIN res_group g ON g.id = ug."group" AND g.active""",
    """SELECT u.login, 'user', 'application ' || a.application, '', 'key ' || a.state
    FROM res_user_application a JOIN res_user u ON u.id = a."user" AND u.active""",
    """WITH RECURSIVE heir(id, name, ancestor, via) AS (
      SELECT id, name, id, '' FROM res_group WHERE active
      UNION SELECT h.id, h.name, g.parent, 'group ' || p.name FROM heir h
      JOIN res_group g ON g.id = h.ancestor JOIN res_group p ON p.id = g.parent)
    SELECT 'group ' || h.name, 'group', 'model ' || a.model, h.via,
    unnest(array_remove(ARRAY[CASE WHEN a.perm_read THEN 'read' END,
      CASE WHEN a.perm_write THEN 'write' END, CASE WHEN a.perm_create THEN 'create' END,
      CASE WHEN a.perm_delete THEN 'delete' END], NULL))
    FROM heir h JOIN ir_model_access a ON a."group" = h.ancestor AND a.active""",
    """SELECT 'everybody', 'everybody', 'model ' || a.model, '',
    unnest(ARRAY[CASE WHEN a.perm_read THEN 'read' ELSE 'no read' END,
      CASE WHEN a.perm_write THEN 'write' ELSE 'no write' END,
      CASE WHEN a.perm_create THEN 'create' ELSE 'no create' END,
      CASE WHEN a.perm_delete THEN 'delete' ELSE 'no delete' END])
    FROM ir_model_access a WHERE a."group" IS NULL AND a.active""",
)


def look(environment: Environment, secrets: Secrets) -> Look:
    """How the ERP is asked."""
    name = environment.starting_primary.database.name
    return Look(
        subject="common/erp",
        source=f"database {name} of the primary, as orchestrator by TLS",
        query="; ".join(" ".join(query.split()) for query in _QUERIES),
        ask=partial(_ask, environment, secrets),
    )


def _ask(environment: Environment, secrets: Secrets) -> tuple[list[Right], int]:
    with connect_read_write(environment, database_login(secrets)) as connection:
        rows = [row for query in _QUERIES for row in connection.execute(query.encode())]
    return rights_of(rows), len(rows)
