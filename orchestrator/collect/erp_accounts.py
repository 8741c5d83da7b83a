"""Kind `erp_accounts`: the ERP's users, sessions and histories (Tryton 8.2), from its database.

Data: `users` (active ones: `login`, `administrator`, `groups`, `has_email`, `has_password`,
`writes`: how many models he may change), `user_names`, `without_group` (no administrators),
`without_email`, `book_writers` (users whose groups or administration let them change the books);
`sessions`, `oldest_session_hours` (0 without one), `failing_logins` (logins with as many failed
attempts as lock, in the ERP's own window), `failed_attempts`; `queue_waiting` (tasks that were
not begun for an hour), `cron_jobs`, `cron_errors` (failed runs of a day); `posted_documents`,
`without_history` (posted or paid invoices whose posting is in no history, ir_model_log) and
`history_events` (entries by event).

Tryton keeps no time of the last login, so who was inactive for long cannot be told.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from orchestrator.collect.observe import Collector, Observation, database_login
from orchestrator.drivers.postgresql_connection import Connection, connect_read_write, row
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment

KIND = "erp_accounts"
BOOKS = ("account.move", "account.move.line", "account.invoice", "account.payment")
_LOCKING_ATTEMPTS = 5
# A group has the rights of its parents too (res/group.py, group_parent_all_cte); a user's rights
# on a model are the most that any row of his groups or of everybody gives him (ir/model.py).
_USERS = """
WITH RECURSIVE member(uid, "group") AS (
  SELECT ug."user", ug."group" FROM "res_user-res_group" ug
  UNION
  SELECT m.uid, g.parent FROM member m JOIN res_group g ON g.id = m."group"
  WHERE g.parent IS NOT NULL)
SELECT u.login, coalesce(u.administrator, false), coalesce(u.email, '') <> '',
  u.password_hash IS NOT NULL,
  (SELECT coalesce(array_agg(g.name ORDER BY g.name), '{}') FROM res_group g
   JOIN "res_user-res_group" ug ON ug."group" = g.id WHERE ug."user" = u.id AND g.active),
  (SELECT count(DISTINCT a.model) FROM ir_model_access a
   WHERE a.active AND (a.perm_write OR a.perm_create OR a.perm_delete) AND (a."group" IS NULL
   OR a."group" IN (SELECT m."group" FROM member m WHERE m.uid = u.id))),
  coalesce(u.administrator, false) OR EXISTS (SELECT FROM ir_model_access a
   JOIN res_group g ON g.id = a."group" AND g.active
   WHERE a.active AND (a.perm_write OR a.perm_create OR a.perm_delete) AND a.model = ANY(%s)
   AND a."group" IN (SELECT m."group" FROM member m WHERE m.uid = u.id))
FROM res_user u WHERE u.active ORDER BY u.login
"""
_SESSIONS = (
    "SELECT count(*), coalesce(extract(epoch FROM max(now()::timestamp - create_date)) / 3600, 0)"
    "::float8 FROM ir_session"
)
_ATTEMPTS = "SELECT login, count(*) FROM res_user_login_attempt GROUP BY login ORDER BY login"
_QUEUE = (
    "SELECT count(*) FROM ir_queue WHERE dequeued_at IS NULL AND finished_at IS NULL"
    " AND coalesce(scheduled_at, enqueued_at) < now()::timestamp - interval '1 hour'"
)
_CRON = (
    "SELECT (SELECT count(*) FROM ir_cron WHERE active), (SELECT count(*) FROM ir_error"
    " WHERE origin LIKE 'ir.cron,%' AND create_date > now()::timestamp - interval '1 day')"
)
_HISTORY = (
    "SELECT count(*), count(*) FILTER (WHERE NOT EXISTS (SELECT FROM ir_model_log l"
    " WHERE l.resource = 'account.invoice,' || i.id)) FROM account_invoice i"
    " WHERE i.state IN ('posted', 'paid')"
)
_EVENTS = "SELECT event, count(*) FROM ir_model_log GROUP BY event ORDER BY event"
_ALL = (_USERS, _SESSIONS, _ATTEMPTS, _QUEUE, _CRON, _HISTORY, _EVENTS)


def collectors(environment: Environment, secrets: Secrets) -> list[Collector]:
    """One collector: the ERP's data are the same at every site."""
    name = environment.starting_primary.database.name
    return [
        Collector(
            kind=KIND,
            subject="common/erp",
            source=f"database {name} of the primary, as orchestrator by TLS",
            query="; ".join(" ".join(query.split()) for query in _ALL),
            look=partial(look, environment, secrets),
        )
    ]


def look(environment: Environment, secrets: Secrets) -> Observation:
    """Ask whichever server is primary. Raises InfrastructureError, psycopg.Error."""
    with connect_read_write(environment, database_login(secrets)) as connection:
        return read(connection)


def read(connection: Connection) -> Observation:
    """Ask over a connection. Raises psycopg.Error."""
    users = [_user(found) for found in _users(connection)]
    sessions, oldest = row(connection, _SESSIONS)
    attempts: dict[str, int] = dict(connection.execute(_ATTEMPTS.encode()).fetchall())
    (waiting,) = row(connection, _QUEUE)
    jobs, errors = row(connection, _CRON)
    posted, without = row(connection, _HISTORY)
    events: dict[str, int] = dict(connection.execute(_EVENTS.encode()).fetchall())
    data = {
        "users": [{key: one[key] for key in one if key != "books"} for one in users],
        "user_names": [one["login"] for one in users],
        "without_group": [
            one["login"] for one in users if not one["groups"] and not one["administrator"]
        ],
        "without_email": [one["login"] for one in users if not one["has_email"]],
        "book_writers": [one["login"] for one in users if one["books"]],
        "sessions": sessions,
        "oldest_session_hours": round(oldest, 2),
        "failed_attempts": sum(attempts.values()),
        "failing_logins": [name for name, n in attempts.items() if n >= _LOCKING_ATTEMPTS],
        "queue_waiting": waiting,
        "cron_jobs": jobs,
        "cron_errors": errors,
        "posted_documents": posted,
        "without_history": without,
        "history_events": [f"{event}: {number}" for event, number in events.items()],
    }
    return Observation(data, len(users) + len(attempts) + len(events) + 5)


def _users(connection: Connection) -> list[tuple[Any, ...]]:
    return connection.execute(_USERS.encode(), (list(BOOKS),)).fetchall()


def _user(found: tuple[Any, ...]) -> dict[str, Any]:
    names = ("login", "administrator", "has_email", "has_password", "groups", "writes", "books")
    return dict(zip(names, found, strict=True))
