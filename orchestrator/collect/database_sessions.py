"""Kind `database_sessions`: what each server is doing now: sessions, transactions, checksums.

Data: `role`; of sessions by TCP `cleartext_sessions` (without TLS), `superuser_sessions`,
`old_tls_sessions` (less than TLS 1.2), each as `USER from ADDRESS`; `sessions`,
`connections_used_percent` (of max_connections); `idle_transaction_seconds` (the longest that a
session sits in a transaction doing nothing), `transaction_seconds` (the oldest of a client);
`prepared_transactions`; `checksum_failures` (pages found damaged since the last reset),
`frozen_age_percent` (how much of the transaction numbers until a forced stop is used).
"""

from __future__ import annotations

from orchestrator.collect.observe import Collector, Observation, server_collectors
from orchestrator.drivers.postgresql import PostgreSQL
from orchestrator.drivers.postgresql_connection import row
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment, Site

KIND = "database_sessions"
_SESSIONS = (
    "SELECT coalesce(usename::text, '') || ' from ' || host(client_addr), coalesce(ssl, false),"
    " coalesce(version, ''), coalesce((SELECT rolsuper FROM pg_roles WHERE oid = usesysid), false)"
    " FROM pg_stat_activity LEFT JOIN pg_stat_ssl USING (pid) WHERE client_addr IS NOT NULL"
    " ORDER BY 1"
)
# Two billion transactions ahead of the oldest row the server stops (manual, "Preventing
# Transaction ID Wraparound Failures").
_STATE = (
    "SELECT pg_is_in_recovery(),"
    " count(*) FILTER (WHERE backend_type = 'client backend'),"
    " count(*) FILTER (WHERE backend_type = 'client backend') * 100.0"
    " / current_setting('max_connections')::int,"
    " coalesce(max(extract(epoch FROM now() - state_change))"
    " FILTER (WHERE state LIKE 'idle in transaction%'), 0),"
    " coalesce(max(extract(epoch FROM now() - xact_start))"
    " FILTER (WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()), 0),"
    " (SELECT count(*) FROM pg_prepared_xacts),"
    " (SELECT sum(checksum_failures) FROM pg_stat_database),"
    " (SELECT max(greatest(age(datfrozenxid), mxid_age(datminmxid))) FROM pg_database) / 2e7"
    " FROM pg_stat_activity"
)
_OLD = ("SSLv3", "TLSv1", "TLSv1.1")


def collectors(environment: Environment, secrets: Secrets) -> list[Collector]:
    """One collector for each site's server; the secret manager is not needed."""
    query = f"{_SESSIONS}; {_STATE}"
    return server_collectors(KIND, environment, query, look)


def look(environment: Environment, site: Site) -> Observation:
    """Ask one server. Raises InfrastructureError, psycopg.Error."""
    with PostgreSQL(environment, site).connect_local() as connection:
        sessions = connection.execute(_SESSIONS.encode()).fetchall()
        standby, count, used, idle, oldest, prepared, failures, age = row(connection, _STATE)
    data = {
        "role": "standby" if standby else "primary",
        "sessions": count,
        "connections_used_percent": round(float(used), 1),
        "cleartext_sessions": [who for who, tls, _, _ in sessions if not tls],
        "old_tls_sessions": [f"{who} by {one}" for who, _, one, _ in sessions if one in _OLD],
        "superuser_sessions": [who for who, _, _, superuser in sessions if superuser],
        "idle_transaction_seconds": round(float(idle), 1),
        "transaction_seconds": round(float(oldest), 1),
        "prepared_transactions": prepared,
        # Null without checksums: then nobody knows.
        "checksum_failures": None if failures is None else int(failures),
        "frozen_age_percent": round(float(age), 2),
    }
    return Observation(data, len(sessions) + 1)
