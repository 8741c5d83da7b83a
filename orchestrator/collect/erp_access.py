"""Kind `erp_access`: who may do what in the ERP (Tryton 8.2), read from its database.

Data: `active_users`; `administrators` (active users with the rights of all groups, which sit
outside groups); `access_managers` (active users whose groups may change users, groups or access
rights, so could become administrators); `open_models` (stored models that every user may write,
create or delete, whatever his groups) and how each came to be open: `open_by_row` (an access row
for everybody grants it), `open_by_absence` (no access row for everybody limits it, which for
Tryton means that all may do all).
"""

from __future__ import annotations

from functools import partial

from orchestrator.collect.observe import Collector, Observation, database_login
from orchestrator.drivers.postgresql_connection import Connection, connect_read_write
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment

KIND = "erp_access"
_USERS = "SELECT login, administrator FROM res_user WHERE active ORDER BY login"
# A group has the rights of its parents too (res/group.py, group_parent_all_cte).
_MANAGERS = """
WITH RECURSIVE member(login, "group") AS (
  SELECT u.login, ug."group" FROM "res_user-res_group" ug JOIN res_user u ON u.id = ug."user"
  WHERE u.active AND NOT coalesce(u.administrator, false)
  UNION
  SELECT m.login, g.parent FROM member m JOIN res_group g ON g.id = m."group"
  WHERE g.parent IS NOT NULL)
SELECT DISTINCT m.login FROM member m JOIN res_group g ON g.id = m."group" AND g.active
JOIN ir_model_access a ON a."group" = g.id AND a.active
WHERE a.model IN ('res.user', 'res.group', 'res.user-res.group', 'ir.model.access')
  AND (a.perm_write OR a.perm_create) ORDER BY 1
"""
# Tryton 8.2, ir/model.py, ModelAccess.get_access: a user's rights on a model are the most that
# any row gives him, of the model or of a model that one of its fields marked `access` points to;
# without any such row he may do everything.
_OPEN = """
WITH RECURSIVE governed(model, governor) AS (
  SELECT name, name FROM ir_model
  UNION
  SELECT g.model, f.relation FROM governed g JOIN ir_model_field f ON f.model = g.governor
  WHERE f.access AND f.relation IS NOT NULL),
stored AS (
  SELECT m.name FROM ir_model m JOIN pg_tables t
  ON t.schemaname = 'public' AND t.tablename = replace(m.name, '.', '_'))
SELECT s.name, count(a.id) > 0,
  coalesce(bool_or(a.perm_write OR a.perm_create OR a.perm_delete), true)
FROM stored s JOIN governed g ON g.model = s.name
LEFT JOIN ir_model_access a ON a.model = g.governor AND a.active AND a."group" IS NULL
GROUP BY s.name ORDER BY s.name
"""


def collectors(environment: Environment, secrets: Secrets) -> list[Collector]:
    """One collector: the ERP's data are the same at every site."""
    name = environment.starting_primary.database.name
    return [
        Collector(
            kind=KIND,
            subject="common/erp",
            source=f"database {name} of the primary, as orchestrator by TLS",
            query="; ".join(" ".join(query.split()) for query in (_USERS, _MANAGERS, _OPEN)),
            look=partial(look, environment, secrets),
        )
    ]


def look(environment: Environment, secrets: Secrets) -> Observation:
    """Ask whichever server is primary. Raises InfrastructureError, psycopg.Error."""
    with connect_read_write(environment, database_login(secrets)) as connection:
        return read(connection)


def read(connection: Connection) -> Observation:
    """Ask over a connection. Raises psycopg.Error."""
    users = connection.execute(_USERS.encode()).fetchall()
    managers = connection.execute(_MANAGERS.encode()).fetchall()
    models = connection.execute(_OPEN.encode()).fetchall()
    by_row = [name for name, has_row, is_open in models if is_open and has_row]
    by_absence = [name for name, has_row, is_open in models if is_open and not has_row]
    data = {
        "active_users": [login for login, _ in users],
        "administrators": [login for login, administrator in users if administrator],
        "access_managers": [login for (login,) in managers],
        "models": len(models),
        "open_models": sorted(by_row + by_absence),
        "open_by_row": by_row,
        "open_by_absence": by_absence,
    }
    return Observation(data, len(users) + len(managers) + len(models))
