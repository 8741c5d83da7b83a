"""Whether a server commits: a server may answer on its port and be able to write nothing."""

from __future__ import annotations

import select
import time

import psycopg
from psycopg.pq import ExecStatus

from orchestrator.drivers.credentials import Credentials
from orchestrator.drivers.postgresql import PostgreSQL, Reach
from orchestrator.drivers.postgresql_connection import connection_parameters, value

# An empty message in the WAL (PostgreSQL manual, "Replication Management Functions"): a commit that
# needs no table and leaves nothing.
_COMMIT = b"SELECT pg_logical_emit_message(true, 'anlan', '')"

# Who does not wait for the standby's disk (PostgreSQL manual, synchronous_commit).
_HASTY = """\
SELECT coalesce(string_agg(who || ' ' || setting, ', '), '') FROM (
  SELECT 'server' AS who, 'synchronous_commit=' || reset_val AS setting FROM pg_settings
    WHERE name = 'synchronous_commit'
  UNION ALL
  SELECT concat_ws('/', coalesce(datname, 'any database'), coalesce(rolname, 'any role')), setting
    FROM pg_db_role_setting s LEFT JOIN pg_database d ON d.oid = s.setdatabase
    LEFT JOIN pg_roles r ON r.oid = s.setrole, unnest(setconfig) AS setting
) AS found WHERE setting LIKE 'synchronous_commit=%'
  AND setting NOT IN ('synchronous_commit=on', 'synchronous_commit=remote_apply')"""


def hasty_commits(server: PostgreSQL) -> str:
    """Whose commits do not wait for a synchronous standby, whatever the list of standbys says.

    Empty when all wait. A session may still choose otherwise for itself. Raises
    InfrastructureError, psycopg.Error.
    """
    with server.connect_local() as connection:
        return str(value(connection, _HASTY))


def ask_commit(server: PostgreSQL, credentials: Credentials, timeout_seconds: float) -> Reach:
    """What a commit comes to that is asked for from the network; never raises.

    It waits for the server's own disk, not for the standby: a primary whose standby is gone is
    well. A login that is refused for another reason than that the server starts or stops (a
    password, too many clients) is an answer too.
    """
    if (reach := server.reach(timeout_seconds)) is not Reach.ANSWERS:
        return reach
    parameters = connection_parameters(
        server.environment, [server.site], credentials, read_write=False, timeout_seconds=2
    )
    parameters["options"] = "-c synchronous_commit=local"
    try:
        connection = psycopg.connect(**parameters, autocommit=True)  # type: ignore[arg-type]
    except psycopg.Error as error:
        if "FATAL:" not in str(error):
            return Reach.SILENT
        return Reach.UNABLE if "the database system is" in str(error) else Reach.ANSWERS
    try:
        return _commit(connection, time.monotonic() + timeout_seconds)
    except psycopg.Error:
        return Reach.UNABLE
    finally:
        connection.close()


def _commit(connection: psycopg.Connection[tuple[object, ...]], deadline: float) -> Reach:
    """Commit with a time limit of our own: a frozen server does not keep one."""
    server = connection.pgconn
    server.send_query(_COMMIT)
    server.flush()
    while server.is_busy():
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([connection.fileno()], [], [], left)[0]:
            return Reach.SILENT
        server.consume_input()
    result = server.get_result()
    done = result is not None and result.status == ExecStatus.TUPLES_OK
    return Reach.ANSWERS if done else Reach.UNABLE
