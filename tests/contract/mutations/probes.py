"""Mutations of what must be refused: rights that are given for a moment, and clients that verify
less than ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from orchestrator.collect import client_trust
from tests.contract.mutations.tls import replaced
from tests.contract.mutations.world import (
    Mutation,
    World,
    primary_setting,
    primary_statements,
    reload_and_wait,
)

Change = Callable[[World], AbstractContextManager[None]]
_PROBE = "common/probe/"


def granted(what: str, role: str, *, erp: bool = False) -> Change:
    """A change: a grant on the primary."""
    return primary_statements(f"GRANT {what} TO {role}", f"REVOKE {what} FROM {role}", erp=erp)


def network_rules(edit: Callable[[str], str]) -> Change:
    """A change: the primary's pg_hba.conf."""

    @contextmanager
    def change(world: World) -> Iterator[None]:
        file = world.primary.settings.config_file.with_name("pg_hba.conf")
        text = file.read_text()
        rules = "SELECT count(*) {} 0 FROM pg_hba_file_rules WHERE auth_method = 'trust'"
        assert edit(text) != text
        try:
            with replaced(file, edit(text).encode()):
                reload_and_wait(world.primary, "SELECT true")
                yield
        finally:
            reload_and_wait(world.primary, rules.format("="))

    return change


def opened(path: Callable[[World], Path], mode: int) -> Change:
    """A change: the mode of a file."""

    @contextmanager
    def change(world: World) -> Iterator[None]:
        file = path(world)
        before = file.stat().st_mode & 0o7777
        file.chmod(mode)
        try:
            yield
        finally:
            file.chmod(before)

    return change


def careless(**changes: str) -> Change:
    """A change: the database's client connects with other parameters."""
    ours = client_trust.connection_parameters

    def parameters(*arguments: Any, **options: Any) -> dict[str, str]:
        return {**ours(*arguments, **options), **changes}

    return lambda world: mock.patch.object(client_trust, "connection_parameters", parameters)


_DATABASE_CLIENT = "common/clients/database"
_UNVERIFIED = {"sslmode": "require", "sslrootcert": ""}

MUTATIONS = [
    Mutation(
        "probe-audit-database",
        f"{_PROBE}erp_sets_audit",
        "it was not refused",
        granted("SET ON PARAMETER pgaudit.log", "erp"),
    ),
    Mutation(
        "probe-audit-database",
        f"{_PROBE}orchestrator_alters_audit",
        "it was not refused",
        granted("ALTER SYSTEM ON PARAMETER pgaudit.log", "orchestrator"),
    ),
    Mutation(
        "probe-database-reads",
        f"{_PROBE}erp_reads_password_hashes",
        "it was not refused",
        granted("SELECT ON pg_authid", "erp", erp=True),
    ),
    Mutation(
        "probe-database-reads",
        f"{_PROBE}orchestrator_reads_password_hashes",
        "it was not refused",
        granted("SELECT ON pg_authid", "orchestrator", erp=True),
    ),
    Mutation(
        "probe-database-reads",
        f"{_PROBE}erp_reads_ledger",
        "it was not refused",
        granted("USAGE ON SCHEMA anlan", "erp", erp=True),
    ),
    Mutation(
        "probe-database-escalation",
        f"{_PROBE}erp_runs_program",
        "it was not refused",
        granted("pg_execute_server_program", "erp"),
    ),
    Mutation(
        "probe-database-escalation",
        f"{_PROBE}orchestrator_becomes_erp",
        "it was not refused",
        granted("erp", "orchestrator"),
    ),
    Mutation(
        "probe-books-read-only",
        f"{_PROBE}orchestrator_writes_books",
        "it was not refused",
        granted("UPDATE ON account_move", "orchestrator", erp=True),
    ),
    Mutation(
        "probe-logins-need-proof",
        "{primary}/probe/login_without_password",
        "it was not refused",
        network_rules(lambda text: f"hostssl all erp 127.0.0.0/8 trust\n{text}"),
    ),
    Mutation(
        "probe-replication-certificate",
        "{primary}/probe/replication_without_certificate",
        "it was not refused",
        network_rules(lambda text: text.replace("clientcert=verify-full", "")),
    ),
    Mutation(
        "probe-failed-logins-logged",
        "{primary}/probe/login_with_wrong_password",
        "the failed login is not in the log",
        primary_setting("log_min_messages", "panic"),
    ),
    Mutation(
        "probe-service-user",
        f"{_PROBE}service_user_front_door_socket",
        "it was not refused",
        opened(lambda world: world.environment.front_door.runtime_socket, 0o666),
    ),
    Mutation(
        "client-refuses-wrong-name",
        _DATABASE_CLIENT,
        "it sends to a server with a certificate for another name",
        careless(sslmode="verify-ca"),
    ),
    Mutation(
        "client-refuses-expired",
        _DATABASE_CLIENT,
        "it sends to a server with an expired certificate",
        careless(**_UNVERIFIED),
    ),
    Mutation(
        "client-refuses-unknown-authority",
        _DATABASE_CLIENT,
        "it sends to a server with a certificate of an unknown authority",
        careless(**_UNVERIFIED),
    ),
]
