"""Kind `database_settings`: how each database server is set, as the server itself says.

Data: `role`; the settings below, dots written as underscores, switches as booleans, lists as
lists; `non_scram_roles` (login roles whose stored password is no SCRAM hash); `hba` (the rules of
pg_hba.conf in order, as texts) and of them `hba_trust` (a rule lets in without a proof),
`hba_cleartext` (a TCP rule that does not ask for TLS and does not reject) and `hba_errors`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from orchestrator.collect.observe import Collector, Observation
from orchestrator.drivers.postgresql import PostgreSQL
from orchestrator.drivers.postgresql_connection import value
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment, Site

KIND = "database_settings"
_SWITCHES = (
    "ssl",
    "data_checksums",
    "fsync",
    "full_page_writes",
    "logging_collector",
    "log_connections",
    "log_disconnections",
    "log_truncate_on_rotation",
)
_LISTS = ("shared_preload_libraries", "pgaudit.log")
_TEXTS = (
    "ssl_min_protocol_version",
    "password_encryption",
    "log_filename",
    "log_line_prefix",
    "log_statement",
    "archive_mode",
    "synchronous_commit",
    "synchronous_standby_names",
)
_SETTINGS = "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)"
# Superusers alone may read these two.
_PASSWORDS = (
    "SELECT rolname FROM pg_authid WHERE rolcanlogin AND rolpassword IS NOT NULL"
    " AND rolpassword NOT LIKE 'SCRAM-SHA-256$%' ORDER BY rolname"
)
_HBA = (
    "SELECT line_number, type, database, user_name,"
    " coalesce(address || coalesce('/' || netmask, ''), ''), auth_method,"
    " coalesce(options, '{}'), coalesce(error, '') FROM pg_hba_file_rules ORDER BY line_number"
)


def collectors(environment: Environment, secrets: Secrets) -> list[Collector]:
    """One collector for each site's server; the secret manager is not needed."""
    return [
        Collector(
            kind=KIND,
            subject=f"{name}/postgresql",
            source=f"{name}/postgresql, as postgres by the local socket",
            query=f"{_SETTINGS}; {_PASSWORDS}; {_HBA}",
            look=partial(look, environment, site),
        )
        for name, site in environment.sites.items()
    ]


def look(environment: Environment, site: Site) -> Observation:
    """Ask one server. Raises InfrastructureError, psycopg.Error."""
    with PostgreSQL(environment, site).connect_local() as connection:
        standby = value(connection, "SELECT pg_is_in_recovery()")
        names = [*_SWITCHES, *_LISTS, *_TEXTS]
        settings: dict[str, str] = dict(connection.execute(_SETTINGS.encode(), (names,)).fetchall())
        passwords = connection.execute(_PASSWORDS.encode()).fetchall()
        rules = connection.execute(_HBA.encode()).fetchall()
    data = {
        "role": "standby" if standby else "primary",
        **{name: settings[name] == "on" for name in _SWITCHES if name in settings},
        **{_key(name): _list(settings.get(name, "")) for name in _LISTS},
        **{name: settings[name] for name in _TEXTS if name in settings},
        "non_scram_roles": [row[0] for row in passwords],
        **_hba(rules),
    }
    return Observation(data, len(settings) + len(passwords) + len(rules))


def _key(setting: str) -> str:
    return setting.replace(".", "_")


def _list(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _hba(rules: list[tuple[Any, ...]]) -> dict[str, list[str]]:
    # A line that cannot be read has an error and nothing else.
    read = [rule for rule in rules if not rule[-1]]
    return {
        "hba": [_rule(rule) for rule in read],
        "hba_trust": [_rule(rule) for rule in read if rule[5] == "trust"],
        "hba_cleartext": [
            _rule(rule)
            for rule in read
            if rule[1] not in {"local", "hostssl"}
            if rule[5] != "reject"
        ],
        "hba_errors": [f"line {rule[0]}: {rule[-1]}" for rule in rules if rule[-1]],
    }


def _rule(rule: tuple[Any, ...]) -> str:
    number, kind, databases, users, address, method, options, _ = rule
    parts = (kind, ",".join(databases), ",".join(users), address, method, *options)
    return f"line {number}: " + " ".join(part for part in parts if part)
