"""Kind `database_replication`: how each server sends its changes to the other, or gets them.

Data, of every server: `role`, `lag_bytes` (null: not known) and the slots' `idle_slots`,
`broken_slots` (their WAL is lost or going to be), `logical_slots`, `retained_bytes`.

- of a primary: `streaming` and `synchronous` (names of standbys), `commits_wait` (a commit waits
  for a standby's disk), `senders` (database users), `senders_without_tls`,
  `senders_without_certificate`
- of a standby: `receiving`, `source_verified` (by TLS, with the source's name),
  `shows_certificate`, `password_in_settings` (primary_conninfo holds it), `replay_paused`,
  `apply_delay_seconds`, `follows_timeline`

What is not of a server's role is null.
"""

from __future__ import annotations

from typing import Any

from psycopg.conninfo import conninfo_to_dict

from orchestrator.collect.observe import Collector, Observation, server_collectors
from orchestrator.drivers.postgresql import PostgreSQL
from orchestrator.drivers.postgresql_connection import Connection, row, value
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment, Site

KIND = "database_replication"
_SLOTS = (
    "SELECT slot_name::text, slot_type = 'logical', active, coalesce(wal_status, 'lost'),"
    " coalesce(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()"
    " ELSE pg_current_wal_lsn() END, restart_lsn), 0)::bigint"
    " FROM pg_replication_slots ORDER BY slot_name"
)
_SENDERS = (
    "SELECT application_name, usename::text, state, sync_state, coalesce(ssl, false),"
    " client_dn IS NOT NULL, pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)::bigint"
    " FROM pg_stat_replication LEFT JOIN pg_stat_ssl USING (pid) ORDER BY 1"
)
_PRIMARY = (
    "SELECT current_setting('synchronous_commit') IN ('on', 'remote_apply')"
    " AND current_setting('synchronous_standby_names') <> ''"
)
_STANDBY = (
    "SELECT (SELECT status FROM pg_stat_wal_receiver),"
    " (SELECT conninfo FROM pg_stat_wal_receiver), current_setting('primary_conninfo'),"
    " pg_is_wal_replay_paused(), (SELECT setting::int / 1000.0 FROM pg_settings"
    " WHERE name = 'recovery_min_apply_delay')::float8,"
    " current_setting('recovery_target_timeline'),"
    " pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())::bigint"
)
_OF_PRIMARY = (
    "streaming",
    "synchronous",
    "commits_wait",
    "senders",
    "senders_without_tls",
    "senders_without_certificate",
)
_OF_STANDBY = (
    "receiving",
    "source_verified",
    "shows_certificate",
    "password_in_settings",
    "replay_paused",
    "apply_delay_seconds",
    "follows_timeline",
)


def collectors(environment: Environment, secrets: Secrets) -> list[Collector]:
    """One collector for each site's server; the secret manager is not needed."""
    query = f"{_SLOTS}; on a primary {_SENDERS}; {_PRIMARY}; on a standby {_STANDBY}"
    return server_collectors(KIND, environment, query, look)


def look(environment: Environment, site: Site) -> Observation:
    """Ask one server. Raises InfrastructureError, psycopg.Error."""
    with PostgreSQL(environment, site).connect_local() as connection:
        standby = value(connection, "SELECT pg_is_in_recovery()")
        slots = connection.execute(_SLOTS.encode()).fetchall()
        side, rows = (_standby if standby else _primary)(connection)
    data = {
        "role": "standby" if standby else "primary",
        **dict.fromkeys((*_OF_PRIMARY, *_OF_STANDBY)),
        "idle_slots": [name for name, _, active, _, _ in slots if not active],
        "broken_slots": [
            f"{name} ({status})"
            for name, _, _, status, _ in slots
            if status in {"unreserved", "lost"}
        ],
        "logical_slots": [name for name, logical, _, _, _ in slots if logical],
        "retained_bytes": max((bytes_ for *_, bytes_ in slots), default=0),
        **side,
    }
    return Observation(data, len(slots) + rows)


def _primary(connection: Connection) -> tuple[dict[str, Any], int]:
    # A base backup has a sender of its own, which is no standby.
    found = connection.execute(_SENDERS.encode()).fetchall()
    standbys = [one for one in found if one[2] in {"streaming", "catchup"}]
    side = {
        "streaming": [name for name, _, state, *_ in standbys if state == "streaming"],
        "synchronous": [one[0] for one in standbys if one[3] in {"sync", "quorum"}],
        "commits_wait": value(connection, _PRIMARY),
        "senders": sorted({one[1] for one in found}),
        "senders_without_tls": [one[0] for one in found if not one[4]],
        "senders_without_certificate": [one[0] for one in found if not one[5]],
        "lag_bytes": _lag([one[6] for one in standbys]),
    }
    return side, len(found) + 1


def _lag(lags: list[int | None]) -> int | None:
    """The longest; not known when no standby has told it."""
    told = [lag for lag in lags if lag is not None]
    return max(0, *told) if told else None


def _standby(connection: Connection) -> tuple[dict[str, Any], int]:
    status, used, written, paused, delay, timeline, lag = row(connection, _STANDBY)
    # Of the connection in use; the settings are the next connection's.
    source = conninfo_to_dict(used) if used else {}
    side = {
        "receiving": status == "streaming",
        "source_verified": source.get("sslmode") == "verify-full" if used else None,
        "shows_certificate": bool(source.get("sslcert")) if used else None,
        "password_in_settings": "password" in conninfo_to_dict(written or ""),
        "replay_paused": paused,
        "apply_delay_seconds": delay,
        "follows_timeline": timeline,
        "lag_bytes": None if lag is None else max(0, lag),
    }
    return side, 1
