"""Kind `database_settings`: how each database server is set, as the server itself says.

Data: `role`; settings under their own names, dots written as underscores: switches as booleans,
lists as lists, numbers in the unit that the name ends in. Of pg_hba.conf and pg_ident.conf the
fields of `database_hba`. Of stored passwords `non_scram_roles`, `superusers_with_password` and
`guessable_roles`: names alone. Of the files `pending_restart`, `file_errors` and `altered`
(settings that ALTER SYSTEM changed).
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import PurePosixPath
from typing import Any

from orchestrator.collect import database_hba
from orchestrator.collect.database_passwords import guessable
from orchestrator.collect.observe import Collector, Observation, server_collectors
from orchestrator.drivers.postgresql import PostgreSQL
from orchestrator.drivers.postgresql_connection import Connection, value
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment, Site

KIND = "database_settings"
_SWITCHES = (
    "ssl",
    "ssl_prefer_server_ciphers",
    "data_checksums",
    "fsync",
    "full_page_writes",
    "wal_log_hints",
    "autovacuum",
    "track_counts",
    "logging_collector",
    "log_connections",
    "log_disconnections",
    "log_truncate_on_rotation",
    "log_hostname",
    "log_checkpoints",
    "log_lock_waits",
    "log_replication_commands",
    "debug_print_parse",
    "debug_print_rewritten",
    "debug_print_plan",
    "pgaudit.log_statement",
    "pgaudit.log_statement_once",
    "pgaudit.log_parameter",
    "pgaudit.log_catalog",
    "pgaudit.log_client",
    "ignore_checksum_failure",
    "ignore_invalid_pages",
    "ignore_system_indexes",
    "zero_damaged_pages",
    "allow_system_table_mods",
    "lo_compat_privileges",
    "row_security",
    "standard_conforming_strings",
)
_LISTS = (
    "shared_preload_libraries",
    "session_preload_libraries",
    "local_preload_libraries",
    "listen_addresses",
    "log_destination",
    "pgaudit.log",
)
_TEXTS = (
    "ssl_min_protocol_version",
    "password_encryption",
    "log_filename",
    "log_file_mode",
    "log_line_prefix",
    "log_statement",
    "log_min_messages",
    "log_min_error_statement",
    "log_error_verbosity",
    "log_timezone",
    "pgaudit.log_level",
    "archive_mode",
    "wal_level",
    "synchronous_commit",
    "synchronous_standby_names",
    "unix_socket_permissions",
    "dynamic_library_path",
    "backslash_quote",
)
# Setting → field with its unit, and how many of the server's units make one.
_NUMBERS = {
    "server_version_num": ("server_version_num", 1),
    "max_connections": ("max_connections", 1),
    "superuser_reserved_connections": ("superuser_reserved_connections", 1),
    "authentication_timeout": ("authentication_timeout_seconds", 1),
    "idle_in_transaction_session_timeout": ("idle_in_transaction_timeout_seconds", 1000),
    "tcp_user_timeout": ("tcp_user_timeout_seconds", 1000),
    "log_rotation_age": ("log_rotation_age_minutes", 1),
    "log_parameter_max_length": ("log_parameter_max_bytes", 1),
    "log_parameter_max_length_on_error": ("log_parameter_on_error_max_bytes", 1),
    "archive_timeout": ("archive_timeout_seconds", 1),
    "max_slot_wal_keep_size": ("max_slot_wal_keep_megabytes", 1),
}
_PATHS = ("data_directory", "log_directory", "archive_command", "ssl_ca_file")
_SETTINGS = "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)"
# Superusers alone may read these.
_PASSWORDS = (
    "SELECT rolname, rolsuper, rolpassword FROM pg_authid WHERE rolcanlogin"
    " AND rolpassword IS NOT NULL ORDER BY rolname"
)
_SUPERUSERS = "SELECT rolname FROM pg_roles WHERE rolsuper AND rolcanlogin ORDER BY rolname"
_PENDING = "SELECT name FROM pg_settings WHERE pending_restart ORDER BY name"
_ALTERED = (
    "SELECT name FROM pg_settings WHERE sourcefile LIKE '%/postgresql.auto.conf' ORDER BY name"
)
# One that waits for a restart counts as an error there, and is in `pending_restart` here.
_FILE_ERRORS = (
    "SELECT regexp_replace(sourcefile, '.*/', '') || ' line ' || sourceline || ': ' || error"
    " FROM pg_file_settings WHERE error IS NOT NULL AND coalesce(name, '') <> ALL ("
    "SELECT name FROM pg_settings WHERE pending_restart) ORDER BY 1"
)


def collectors(environment: Environment, secrets: Secrets) -> list[Collector]:
    """One collector for each site's server; the secret manager is not needed."""
    queries = (
        _SETTINGS,
        _PASSWORDS,
        database_hba.RULES,
        database_hba.MAPPINGS,
        _PENDING,
        _ALTERED,
        _FILE_ERRORS,
    )
    query = "; ".join(queries)
    return server_collectors(KIND, environment, query, look)


def look(environment: Environment, site: Site) -> Observation:
    """Ask one server. Raises InfrastructureError, psycopg.Error."""
    with PostgreSQL(environment, site).connect_local() as connection:
        return read(connection, {"root", site.machine.service_user})


def read(connection: Connection, accounts: Collection[str]) -> Observation:
    """Ask over a superuser's connection; `accounts` are the machine's that may be the superuser.

    Raises psycopg.Error.
    """
    standby = value(connection, "SELECT pg_is_in_recovery()")
    names = [*_SWITCHES, *_LISTS, *_TEXTS, *_NUMBERS, *_PATHS]
    settings: dict[str, str] = dict(connection.execute(_SETTINGS.encode(), (names,)).fetchall())
    passwords = connection.execute(_PASSWORDS.encode()).fetchall()
    rules = connection.execute(database_hba.RULES.encode()).fetchall()
    mappings = connection.execute(database_hba.MAPPINGS.encode()).fetchall()
    superusers = _column(connection, _SUPERUSERS)
    files = {
        "pending_restart": _column(connection, _PENDING),
        "altered": _column(connection, _ALTERED),
        "file_errors": _column(connection, _FILE_ERRORS),
    }
    data = {
        "role": "standby" if standby else "primary",
        **_typed(settings),
        **_passwords(passwords),
        **database_hba.hba_fields(rules, superusers),
        **database_hba.ident_fields(mappings, accounts),
        **files,
    }
    return Observation(data, len(settings) + len(passwords) + len(rules) + len(mappings))


def _column(connection: Connection, query: str) -> list[str]:
    return [row[0] for row in connection.execute(query.encode()).fetchall()]


def _typed(settings: dict[str, str]) -> dict[str, Any]:
    """The fields of the settings; one that this version of the server lacks is left out."""
    return {
        **{_key(name): settings[name] == "on" for name in _SWITCHES if name in settings},
        **{_key(name): _list(settings.get(name, "")) for name in _LISTS},
        **{_key(name): settings[name] for name in _TEXTS if name in settings},
        **{
            field: _number(settings[name], divisor)
            for name, (field, divisor) in _NUMBERS.items()
            if name in settings
        },
        "logs_in_data_directory": _is_inside(settings["log_directory"], settings["data_directory"]),
        # The command may hold what a reader of the fact must not see.
        "archive_command_set": settings.get("archive_command", "") not in {"", "(disabled)"},
        "client_certificates_verifiable": bool(settings.get("ssl_ca_file")),
    }


def _key(setting: str) -> str:
    return setting.replace(".", "_")


def _list(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _number(text: str, divisor: int) -> float:
    number = int(text)
    return number if divisor == 1 else number / divisor


def _is_inside(path: str, folder: str) -> bool:
    """A relative path is one within the data directory."""
    return PurePosixPath(folder, path).is_relative_to(folder)


def _passwords(rows: list[tuple[Any, ...]]) -> dict[str, list[str]]:
    return {
        "non_scram_roles": [
            role for role, _, verifier in rows if not verifier.startswith("SCRAM-SHA-256$")
        ],
        "superusers_with_password": [role for role, superuser, _ in rows if superuser],
        "guessable_roles": guessable({role: verifier for role, _, verifier in rows}),
    }
