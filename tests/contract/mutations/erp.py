"""Mutations of the ERP: users, rights and histories in its database, settings in its file."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from orchestrator.collect.handshake import endpoint_of, reach
from orchestrator.drivers.erp import Erp
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.errors import InfrastructureError
from tests.contract.mutations.tls import replaced
from tests.contract.mutations.world import Mutation, World, primary_statements

Change = Callable[[World], AbstractContextManager[None]]
_EVE = "'test-eve'"
_USER = (
    "INSERT INTO res_user (login, name, active, administrator, password_hash)"
    f" VALUES ({_EVE}, 'Eve', true, false, 'none')"
)
_NO_USER = f"DELETE FROM res_user WHERE login = {_EVE}"
_DRILL = "(SELECT id FROM res_user WHERE login = 'drill')"


def data(do: str, undo: str) -> Change:
    """A change: statements in the ERP's database."""
    return primary_statements(do, undo, erp=True)


def access(model: str, group: str) -> Change:
    """A change: an access row that lets a group (SQL) write a model."""
    return data(
        'INSERT INTO ir_model_access (model, active, perm_write, description, "group")'
        f" VALUES ('{model}', true, true, 'test of a policy', {group})",
        "DELETE FROM ir_model_access WHERE description = 'test of a policy'",
    )


def settings(*changes: tuple[str, str], restart: bool = False) -> Change:
    """A change: lines in the file of the standby site's ERP, which no client uses."""

    @contextmanager
    def change(world: World) -> Iterator[None]:
        file = world.standby.site.erp.config_file
        text = file.read_text()
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        try:
            with replaced(file, text.encode()):
                if restart:
                    _restart(world)
                yield
        finally:
            if restart:
                _restart(world)

    return change


def _restart(world: World) -> None:
    site = world.standby.site
    world.standby.machine.program_restart(site.erp.program)
    deadline = time.monotonic() + 90
    while True:
        try:
            reach(endpoint_of(site.erp.url))
            return
        except InfrastructureError:
            assert time.monotonic() < deadline, site.erp.url
            time.sleep(0.2)


@contextmanager
def default_password(world: World) -> Iterator[None]:
    """The administrator has the password that the probe guesses."""
    site = world.primary.site
    hashed = subprocess.run(
        [
            site.erp.venv / "bin" / "python",
            "-c",
            "from pwdlib import PasswordHash; print(PasswordHash.recommended().hash('admin'))",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    with world.primary.connect_local(site.database.name) as connection:
        where = "WHERE login = 'admin'"
        found = connection.execute(f"SELECT password_hash FROM res_user {where}".encode())
        (before,) = found.fetchone()  # type: ignore[misc]
        connection.execute(f"UPDATE res_user SET password_hash = %s {where}".encode(), (hashed,))
        try:
            yield
        finally:
            connection.execute(
                f"UPDATE res_user SET password_hash = %s {where}".encode(), (before,)
            )


@contextmanager
def administrator(world: World) -> Iterator[None]:
    """The probe's user is an administrator: by the ERP itself, which keeps rights in memory."""
    environment = world.environment
    provisioner = Secrets(environment, environment.secrets.provisioner_file)
    client = Erp(environment.front_door.url, "erp", environment.tls.ca_file, timeout_seconds=60)
    client.login(provisioner.login_of("erp-admin"))
    ids = client.search("res.user", [["login", "=", "drill"]])
    client.call("model.res.user.write", ids, {"administrator": True})
    try:
        yield
    finally:
        client.call("model.res.user.write", ids, {"administrator": False})
        client.logout()
        client.close()


_PROBE = "common/probe/"
_ERP = "common/erp"

MUTATIONS = [
    Mutation("erp-administrators", _ERP, "unexpected administrators: drill", administrator),
    Mutation("erp-book-writers", _ERP, "these may change the books: drill", administrator),
    Mutation(
        "erp-book-writers",
        _ERP,
        "these may change the books: drill",
        access(
            "account.move", "(SELECT id FROM res_group WHERE name = 'Party Administration' LIMIT 1)"
        ),
    ),
    Mutation(
        "erp-open-models",
        _ERP,
        "product.template",
        access("product.template", "NULL"),
    ),
    Mutation("erp-users", _ERP, "unexpected active users: test-eve", data(_USER, _NO_USER)),
    Mutation(
        "erp-users-grouped", _ERP, "active users of no group: test-eve", data(_USER, _NO_USER)
    ),
    Mutation(
        "erp-sessions",
        _ERP,
        "hours old",
        data(
            "INSERT INTO ir_session (key, create_uid, create_date)"
            f" VALUES ('test', {_DRILL}, now()::timestamp - interval '30 days')",
            "DELETE FROM ir_session WHERE key = 'test'",
        ),
    ),
    Mutation(
        "erp-login-failures",
        _ERP,
        "locked by failed logins: test-eve",
        data(
            "INSERT INTO res_user_login_attempt (login, create_date)"
            f" SELECT {_EVE}, now()::timestamp FROM generate_series(1, 6)",
            f"DELETE FROM res_user_login_attempt WHERE login = {_EVE}",
        ),
    ),
    Mutation(
        "erp-change-history",
        _ERP,
        "1 posted invoices have no history",
        data(
            "UPDATE ir_model_log SET resource = 'test:' || resource WHERE resource ="
            " (SELECT 'account.invoice,' || min(id) FROM account_invoice WHERE state = 'posted')",
            "UPDATE ir_model_log SET resource = substr(resource, 6) WHERE resource LIKE 'test:%'",
        ),
    ),
    Mutation(
        "erp-queue",
        _ERP,
        "1 tasks wait for more than an hour",
        data(
            "INSERT INTO ir_queue (name, data, enqueued_at)"
            " VALUES ('test of a policy', '{}', now()::timestamp - interval '2 hours')",
            "DELETE FROM ir_queue WHERE name = 'test of a policy'",
        ),
    ),
    Mutation(
        "erp-password-rules",
        "{standby}/erp",
        "a password may have 6 characters",
        settings(("length = 12", "length = 6")),
    ),
    Mutation(
        "erp-password-rules",
        "{standby}/erp",
        "it has no list of forbidden passwords",
        settings(("forbidden =", "; forbidden =")),
    ),
    Mutation(
        "erp-lockout",
        "{standby}/erp",
        "it allows 500 failed logins",
        settings(("max_attempt = 5", "max_attempt = 500")),
    ),
    Mutation(
        "erp-session-limits",
        "{standby}/erp",
        "a session lives for 2592000 s",
        settings(("max_age = 43200", "max_age = 2592000")),
    ),
    Mutation(
        "erp-settings-in-force",
        "{standby}/erp",
        "its file was written after it started",
        settings(("timeout = 300", "timeout = 301")),
    ),
    Mutation(
        "erp-closed",
        "{standby}/erp",
        "it lists its databases",
        settings(("list = False", "list = True"), restart=True),
    ),
    Mutation(
        "erp-default-password", f"{_PROBE}erp_default_password", "not refused", default_password
    ),
    Mutation(
        "erp-user-overreach",
        f"{_PROBE}erp_user_writes_users",
        "not refused",
        administrator,
    ),
    Mutation("erp-user-overreach", f"{_PROBE}erp_user_writes_books", "not refused", administrator),
]
