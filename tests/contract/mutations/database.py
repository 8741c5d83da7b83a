"""Mutations of the database servers."""

from __future__ import annotations

from pathlib import Path

from orchestrator.drivers.postgresql import PostgreSQL
from tests.contract.mutations.database_changes import (
    Change,
    cleartext_session,
    erp_statements,
    first_line,
    mode,
    paused_replay,
    source,
    standby_setting,
    stranger_in_data,
    superuser_session,
    waiting_for_a_restart,
)
from tests.contract.mutations.world import Mutation, primary_setting, primary_statements

PRIMARY, STANDBY = "{primary}/postgresql", "{standby}/postgresql"


def _on_primary(policy: str, says: str, change: Change) -> Mutation:
    """What is seen at the primary."""
    return Mutation(policy, PRIMARY, says, change)


def _on_standby(policy: str, says: str, change: Change) -> Mutation:
    """What is seen at the standby."""
    return Mutation(policy, STANDBY, says, change)


def _today(server: PostgreSQL) -> Path:
    return max(server.settings.log_directory.glob("postgresql-*.log"))


_FUNCTION = "FUNCTION public.test_lent() RETURNS int LANGUAGE sql SECURITY DEFINER"

ROLES = [
    _on_primary(
        "database-superusers",
        "unexpected superusers: test_eve",
        primary_statements("CREATE ROLE test_eve SUPERUSER", "DROP ROLE test_eve"),
    ),
    _on_primary(
        "database-roles",
        "unexpected roles: test_eve",
        primary_statements("CREATE ROLE test_eve", "DROP ROLE test_eve"),
    ),
    _on_primary(
        "database-privileges",
        "unexpected memberships: erp in pg_read_server_files",
        primary_statements(
            "GRANT pg_read_server_files TO erp", "REVOKE pg_read_server_files FROM erp"
        ),
    ),
    _on_primary(
        "database-grantable-memberships",
        "test_eve in pg_monitor",
        primary_statements(
            "CREATE ROLE test_eve; GRANT pg_monitor TO test_eve WITH ADMIN OPTION",
            "DROP ROLE test_eve",
        ),
    ),
    _on_primary(
        "database-connection-limits",
        "roles without a limit: rewinder",
        primary_statements(
            "ALTER ROLE rewinder CONNECTION LIMIT -1", "ALTER ROLE rewinder CONNECTION LIMIT 5"
        ),
    ),
    _on_primary(
        "database-passwords-in-time",
        "a password ends at",
        primary_statements(
            "CREATE ROLE test_eve LOGIN VALID UNTIL 'tomorrow'", "DROP ROLE test_eve"
        ),
    ),
    _on_primary(
        "database-role-settings",
        "log_statement for rewinder in all databases",
        primary_statements(
            "ALTER ROLE rewinder SET log_statement = 'none'",
            "ALTER ROLE rewinder RESET log_statement",
        ),
    ),
    _on_primary(
        "database-passwords",
        "not stored as SCRAM: test_eve",
        primary_statements(
            "CREATE ROLE test_eve LOGIN PASSWORD 'md5ab2c8e6f7c0a7a8c2b34f2f0f0a8a111'",
            "DROP ROLE test_eve",
        ),
    ),
    _on_primary(
        "database-guessable-passwords",
        "easily guessed: test_eve",
        primary_statements("CREATE ROLE test_eve LOGIN PASSWORD 'test_eve'", "DROP ROLE test_eve"),
    ),
    _on_primary(
        "database-superuser-entrance",
        "superusers with a password: postgres",
        primary_statements(
            "ALTER ROLE postgres PASSWORD 'test-51c07b'", "ALTER ROLE postgres PASSWORD NULL"
        ),
    ),
]

ACCESS = [
    _on_primary(
        "database-public-databases",
        "CONNECT in ",
        primary_statements(
            "GRANT CONNECT ON DATABASE postgres TO PUBLIC",
            "REVOKE CONNECT ON DATABASE postgres FROM PUBLIC",
        ),
    ),
    _on_primary(
        "database-public-schemas",
        "may create: public in",
        erp_statements(
            "GRANT CREATE ON SCHEMA public TO PUBLIC", "REVOKE CREATE ON SCHEMA public FROM PUBLIC"
        ),
    ),
    _on_primary(
        "database-public-relations",
        "SELECT on public.account_move in",
        erp_statements(
            "GRANT SELECT (id) ON account_move TO PUBLIC",
            "REVOKE SELECT (id) ON account_move FROM PUBLIC",
        ),
    ),
    _on_primary(
        "database-grants",
        "SELECT,UPDATE on schema public to rewinder",
        erp_statements(
            "GRANT SELECT, UPDATE ON account_move TO rewinder",
            "REVOKE ALL ON account_move FROM rewinder",
        ),
    ),
    _on_primary(
        "database-default-privileges",
        "SELECT on new tables of erp to PUBLIC",
        erp_statements(
            "ALTER DEFAULT PRIVILEGES FOR ROLE erp GRANT SELECT ON TABLES TO PUBLIC",
            "ALTER DEFAULT PRIVILEGES FOR ROLE erp REVOKE SELECT ON TABLES FROM PUBLIC",
        ),
    ),
    _on_primary(
        "database-system-grants",
        "EXECUTE on pg_read_file(text) to erp",
        erp_statements(
            "GRANT EXECUTE ON FUNCTION pg_read_file(text) TO erp",
            "REVOKE EXECUTE ON FUNCTION pg_read_file(text) FROM erp",
        ),
    ),
    _on_primary(
        "database-system-grants",
        "SELECT on pg_authid to PUBLIC",
        erp_statements(
            "GRANT SELECT ON pg_authid TO PUBLIC", "REVOKE SELECT ON pg_authid FROM PUBLIC"
        ),
    ),
    _on_primary(
        "database-owners",
        "postgres owns of schema public",
        erp_statements("CREATE TABLE public.test_table ()", "DROP TABLE public.test_table"),
    ),
    _on_primary(
        "database-definer-functions",
        "public.test_lent() of postgres",
        erp_statements(f"CREATE {_FUNCTION} AS 'SELECT 1'", "DROP FUNCTION public.test_lent()"),
    ),
    _on_primary(
        "database-definer-paths",
        "without search_path: public.test_lent()",
        erp_statements(f"CREATE {_FUNCTION} AS 'SELECT 1'", "DROP FUNCTION public.test_lent()"),
    ),
    _on_primary(
        "database-superuser-views",
        "public.test_view",
        erp_statements(
            "CREATE VIEW public.test_view AS SELECT 1 AS one", "DROP VIEW public.test_view"
        ),
    ),
    _on_primary(
        "database-languages",
        "untrusted languages: test_language",
        erp_statements(
            "CREATE LANGUAGE test_language HANDLER plpgsql_call_handler",
            "DROP LANGUAGE test_language",
        ),
    ),
    _on_primary(
        "database-extensions",
        "unexpected extensions: hstore",
        erp_statements("CREATE EXTENSION hstore", "DROP EXTENSION hstore"),
    ),
    _on_primary(
        "database-extension-versions",
        "hstore 1.4, not",
        erp_statements("CREATE EXTENSION hstore VERSION '1.4'", "DROP EXTENSION hstore"),
    ),
    _on_primary(
        "database-row-security",
        "public.test_table",
        erp_statements(
            "CREATE TABLE public.test_table (); CREATE POLICY none ON public.test_table",
            "DROP TABLE public.test_table",
        ),
    ),
    _on_primary(
        "database-outlets",
        "publication test_outlet",
        erp_statements("CREATE PUBLICATION test_outlet", "DROP PUBLICATION test_outlet"),
    ),
    _on_primary(
        "database-event-triggers",
        "that are off: pgaudit_sql_drop",
        erp_statements(
            "ALTER EVENT TRIGGER pgaudit_sql_drop DISABLE",
            "ALTER EVENT TRIGGER pgaudit_sql_drop ENABLE",
        ),
    ),
]

ENTRANCES = [
    _on_standby(
        "database-network-rules",
        "without a proof: line 1: host nothing nobody",
        first_line("pg_hba.conf", "host nothing nobody 127.0.0.0/8 trust"),
    ),
    _on_standby(
        "database-superuser-entrance",
        "postgres by line 1: hostssl nothing postgres",
        first_line("pg_hba.conf", "hostssl nothing postgres 127.0.0.0/8 scram-sha-256"),
    ),
    _on_standby(
        "database-login-methods",
        "rules of pg_hba.conf with md5",
        first_line("pg_hba.conf", "hostssl nothing nobody 127.0.0.0/8 md5"),
    ),
    _on_standby(
        "database-networks",
        "line 1: hostssl nothing nobody all",
        first_line("pg_hba.conf", "hostssl nothing nobody all scram-sha-256"),
    ),
    _on_standby(
        "database-replication-rules",
        "line 1: hostssl replication nobody",
        first_line("pg_hba.conf", "hostssl replication nobody 127.0.0.0/8 scram-sha-256"),
    ),
    _on_standby(
        "database-local-entrance",
        "mappings of other accounts: line 1: mallory as postgres",
        first_line("pg_ident.conf", "ops mallory postgres"),
    ),
    _on_standby(
        "database-settings-applied",
        "lines that are not applied: postgresql.conf line 1",
        first_line("postgresql.conf", "no_such_setting = 1"),
    ),
    _on_standby(
        "database-settings-applied",
        "wait for a restart: max_connections",
        waiting_for_a_restart,
    ),
    _on_standby(
        "database-sessions-tls", "sessions without TLS: orchestrator from", cleartext_session
    ),
    _on_primary(
        "database-sessions-superuser", "over the network: test_eve from", superuser_session
    ),
]

SETTINGS = [
    _on_primary(
        "audit-database-logins",
        "log_connections is off",
        primary_setting("log_connections", "off"),
    ),
    *(
        _on_standby(policy, says, standby_setting(name, value))
        for policy, name, value, says in (
            ("database-libraries", "session_preload_libraries", "auto_explain", "auto_explain"),
            ("database-libraries", "dynamic_library_path", "/tmp:$libdir", "looked for in /tmp"),
            ("database-durability", "full_page_writes", "off", "full_page_writes is off"),
            ("database-damage-hidden", "zero_damaged_pages", "on", "zero_damaged_pages is on"),
            ("database-compatibility", "lo_compat_privileges", "on", "large objects have no"),
            ("database-settings-altered", "log_checkpoints", "off", "SYSTEM: log_checkpoints"),
            ("database-vacuum", "autovacuum", "off", "autovacuum is off"),
            ("database-idle-transactions", "idle_in_transaction_session_timeout", "0", "is off"),
            ("database-login-timeout", "authentication_timeout", "10min", "may take 600 s"),
            ("database-tls-clients", "ssl_prefer_server_ciphers", "off", "client chooses"),
            ("database-slots-limit", "max_slot_wal_keep_size", "-1", "is -1 MB"),
            ("database-archiving", "archive_timeout", "0", "archive_timeout is off"),
            ("database-log-place", "log_destination", "syslog", "it logs to syslog"),
            ("database-log-mode", "log_file_mode", "0644", "get mode 0644"),
            ("database-log-rotation", "log_rotation_age", "0", "log_rotation_age is off"),
            ("database-log-line", "log_line_prefix", "%m [%p] ", "lacks the user"),
            ("database-log-errors", "log_min_messages", "fatal", "log_min_messages is fatal"),
            ("database-log-data", "log_statement", "all", "log_statement is all"),
            ("database-log-debug", "debug_print_rewritten", "on", "debug_print_rewritten is on"),
            ("database-log-addresses", "log_hostname", "on", "log_hostname is on"),
            ("database-log-time", "log_timezone", "Asia/Shanghai", "the log is in Asia/Shanghai"),
            ("database-log-operations", "log_lock_waits", "off", "log_lock_waits is off"),
            ("database-log-replication", "log_replication_commands", "off", "commands is off"),
            ("database-audit-scope", "pgaudit.log_client", "on", "pgaudit.log_client is on"),
        )
    ),
]

FILES = [
    _on_standby(
        "database-files-data",
        "data/pg 0750",
        mode(lambda server: server.settings.data_directory, 0o750),
    ),
    _on_standby(
        "database-files-configuration",
        "pg_hba.conf 0644",
        mode(lambda server: server.settings.config_file.with_name("pg_hba.conf"), 0o644),
    ),
    _on_standby(
        "database-files-keys",
        "replicator.key 0644",
        mode(lambda server: server.settings.key_file, 0o644),
    ),
    _on_standby("database-log-private", ".log 0640", mode(_today, 0o640)),
    _on_standby(
        "database-socket",
        ".s.PGSQL.",
        mode(
            lambda server: server.settings.socket_directory / f".s.PGSQL.{server.settings.port}",
            0o777,
        ),
    ),
    _on_standby(
        "database-files-unknown", "unexpected files: dump.sql", stranger_in_data(Path.touch)
    ),
    _on_standby(
        "database-files-data",
        "symbolic links in it: dump.sql",
        stranger_in_data(lambda path: path.symlink_to("/dev/null")),
    ),
]

REPLICATION = [
    _on_standby("database-standby-receives", "its replay is paused", paused_replay),
    _on_primary("database-standby-streams", "no standby streams from it", source(lambda _: "")),
    _on_primary("database-commits-wait", "no synchronous standby", source(lambda _: "")),
    _on_standby(
        "database-replication-source",
        "it does not check its source's name",
        source(lambda before: before.replace("verify-full", "verify-ca")),
    ),
    _on_primary(
        "database-commits-wait",
        "commits wait for no standby",
        primary_setting("synchronous_commit", "local"),
    ),
    _on_primary(
        "database-slots",
        "slots that nobody uses: test_slot",
        primary_statements(
            "SELECT pg_create_physical_replication_slot('test_slot')",
            "SELECT pg_drop_replication_slot('test_slot')",
        ),
    ),
]

MUTATIONS = [*ROLES, *ACCESS, *ENTRANCES, *SETTINGS, *FILES, *REPLICATION]
