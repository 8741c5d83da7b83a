#!/usr/bin/python
"""What a running PostgreSQL server holds: its users, their rights, the peer's slot.

Users are made on whichever server is the primary now; a standby gets them by replication. What
ALTER SYSTEM set over a line of postgresql.conf is reset: that file is the configuration. A setting
that waits for a restart gets one. Server logs past their retention are removed.
"""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import Any

import psycopg
from ansible.module_utils.anlan_postgres import (
    Connection,
    connect,
    holds_password,
    in_recovery,
    only_visitors,
    restart,
    scalar,
    set_password,
    wait_until_up,
)
from ansible.module_utils.basic import AnsibleModule
from psycopg import sql

ARGUMENTS: dict[str, Any] = {
    "machine": {"type": "path", "required": True},
    "port": {"type": "int", "required": True},
    "node_role": {"type": "str", "choices": ["primary", "standby"], "required": True},
    "peer": {"type": "dict", "required": True},
    # Logins from the secret manager: erp-database, replicator, rewinder, vault-admin.
    "logins": {"type": "dict", "required": True, "no_log": True},
    "rotated_user": {"type": "str", "default": "orchestrator"},
    "audit_retention_days": {"type": "int", "required": True},
}
UP_TIMEOUT_SECONDS = 120.0
SECONDS_A_DAY = 86400
# KV entry: what the user may do beyond logging in, and how often at once. The ERP's two servers
# have pools of 64; what it leaves of max_connections is for drills, which must come in beside it.
ATTRIBUTES = {
    "erp-database": "NOREPLICATION NOCREATEROLE CONNECTION LIMIT 70",
    "replicator": "REPLICATION NOCREATEROLE CONNECTION LIMIT 10",
    "rewinder": "NOREPLICATION NOCREATEROLE CONNECTION LIMIT 5",
    "vault-admin": "NOREPLICATION CREATEROLE CONNECTION LIMIT 5",
}
ROTATED_LIMIT = 40
MEMBERSHIPS = ("pg_monitor",)
# An earlier version gave it; with it one reads every password's verifier too.
NO_MEMBERSHIPS = ("pg_read_all_data",)
# What pg_rewind calls on its source (its manual, "Notes"), and the checkpoint after a promotion.
REWIND_FUNCTIONS = (
    "pg_catalog.pg_ls_dir(text, boolean, boolean)",
    "pg_catalog.pg_stat_file(text, boolean)",
    "pg_catalog.pg_read_binary_file(text)",
    "pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean)",
)


# Settings of postgresql.conf itself that ALTER SYSTEM has set too. What a driver or another role
# sets so (names of standbys, the peer, the archive) is not in that file.
OVERRIDDEN = """
SELECT DISTINCT mine.name FROM pg_file_settings mine JOIN pg_file_settings file USING (name)
WHERE file.sourcefile = current_setting('config_file')
AND mine.sourcefile = current_setting('data_directory') || '/postgresql.auto.conf' ORDER BY 1
"""
LOADED = "SELECT pg_conf_load_time()"
RELOAD_TIMEOUT_SECONDS = 10.0


class Wish:
    """The wanted state, compared with one session's server; `actions` names what differed."""

    def __init__(self, parameters: dict[str, Any], connection: Connection, check: bool) -> None:
        self.parameters, self.connection, self.check = parameters, connection, check
        self.actions: list[str] = []

    def _do(self, name: str, statement: sql.Composable | None = None) -> bool:
        self.actions.append(name)
        if statement is not None and not self.check:
            self.connection.execute(statement)
        return not self.check

    def users(self) -> None:
        """Users with password and attributes; the rotated one gets a password once."""
        rows = self.connection.execute(
            "SELECT rolname, rolpassword, rolreplication, rolcreaterole, rolsuper, rolconnlimit"
            " FROM pg_authid"
        ).fetchall()
        found = {row[0]: row[1:] for row in rows}
        for entry, attributes in ATTRIBUTES.items():
            login = self.parameters["logins"][entry]
            user, words = login["username"], attributes.split()
            wanted = ("REPLICATION" in words, "CREATEROLE" in words, False, int(words[-1]))
            role = sql.Identifier(user)
            if user not in found:
                self._do(
                    f"user {user}",
                    sql.SQL("CREATE ROLE {} LOGIN {}").format(role, sql.SQL(attributes)),
                )
            elif found[user][1:] != wanted:
                self._do(
                    f"attributes of {user}",
                    sql.SQL("ALTER ROLE {} LOGIN NOSUPERUSER {}").format(role, sql.SQL(attributes)),
                )
            known = found[user][0] if user in found else None
            if not holds_password(known, login["password"]) and self._do(f"password of {user}"):
                set_password(self.connection, user, login["password"])
        rotated = self.parameters["rotated_user"]
        limit = sql.SQL("CONNECTION LIMIT {}").format(sql.Literal(ROTATED_LIMIT))
        if rotated in found and found[rotated][-1] != ROTATED_LIMIT:
            self._do(
                f"attributes of {rotated}",
                sql.SQL("ALTER ROLE {} {}").format(sql.Identifier(rotated), limit),
            )
        if rotated not in found:
            self._do(
                f"user {rotated}",
                sql.SQL("CREATE ROLE {} LOGIN {}").format(sql.Identifier(rotated), limit),
            )
            if not self.check:  # nobody knows it: the secret manager sets its own
                set_password(self.connection, rotated, secrets.token_urlsafe(32))

    def rights(self) -> None:
        """Memberships of the rotated user and of vault-admin's, functions of the rewinder."""
        rotated = self.parameters["rotated_user"]
        for group in (*MEMBERSHIPS, *NO_MEMBERSHIPS):
            member = bool(
                scalar(
                    self.connection,
                    "SELECT count(*) FROM pg_auth_members m JOIN pg_roles u ON u.oid = m.member "
                    "JOIN pg_roles g ON g.oid = m.roleid WHERE u.rolname = %s AND g.rolname = %s",
                    (rotated, group),
                )
            )
            if member != (group in MEMBERSHIPS):
                names = sql.Identifier(group), sql.Identifier(rotated)
                self._do(
                    f"{'no ' if member else ''}{group} for {rotated}",
                    sql.SQL("REVOKE {} FROM {}" if member else "GRANT {} TO {}").format(*names),
                )
        rewinder = self.parameters["logins"]["rewinder"]["username"]
        exists = scalar(self.connection, "SELECT 1 FROM pg_roles WHERE rolname = %s", (rewinder,))
        for function in REWIND_FUNCTIONS:
            if exists and scalar(
                self.connection,
                "SELECT has_function_privilege(%s, %s, 'EXECUTE')",
                (rewinder, function),
            ):
                continue
            self._do(
                f"{function} for {rewinder}",
                sql.SQL("GRANT EXECUTE ON FUNCTION {} TO {}").format(
                    sql.SQL(function), sql.Identifier(rewinder)
                ),
            )
        if not exists or not scalar(
            self.connection, "SELECT pg_has_role(%s, 'pg_checkpoint', 'MEMBER')", (rewinder,)
        ):
            self._do(
                f"pg_checkpoint for {rewinder}",
                sql.SQL("GRANT pg_checkpoint TO {}").format(sql.Identifier(rewinder)),
            )

    def visitors(self) -> None:
        """Nobody but the superuser and the rewinder comes into the database postgres."""
        for action, statement in only_visitors(
            self.connection, [self.parameters["logins"]["rewinder"]["username"]]
        ):
            self._do(action, statement)

    def extension(self) -> None:
        """The statistics of statements, in the database postgres."""
        known = "SELECT 1 FROM pg_extension WHERE extname = 'pg_stat_statements'"
        if not scalar(self.connection, known):
            self._do("pg_stat_statements", sql.SQL("CREATE EXTENSION pg_stat_statements"))

    def slot(self) -> None:
        """The slot of the peer, on the server that is meant to be, and is, the primary."""
        name = self.parameters["peer"]["name"]
        known = "SELECT 1 FROM pg_replication_slots WHERE slot_name = %s"
        if self.parameters["node_role"] == "primary" and not scalar(
            self.connection, known, (name,)
        ):
            self._do(
                f"slot {name}",
                sql.SQL("SELECT pg_create_physical_replication_slot({}, true)").format(
                    sql.Literal(name)
                ),
            )


def overridden(connection: Connection, check: bool) -> list[str]:
    """Reset what ALTER SYSTEM set over the configuration file; returns what differed."""
    names = [row[0] for row in connection.execute(OVERRIDDEN).fetchall()]
    if names and not check:
        for name in names:
            connection.execute(sql.SQL("ALTER SYSTEM RESET {}").format(sql.Identifier(name)))
        before = scalar(connection, LOADED)
        connection.execute("SELECT pg_reload_conf()")
        deadline = time.monotonic() + RELOAD_TIMEOUT_SECONDS
        while scalar(connection, LOADED) == before:
            if time.monotonic() > deadline:
                raise OSError("the server did not read its configuration again")
            time.sleep(0.05)
    return [f"ALTER SYSTEM RESET {name}" for name in names]


def old_logs(machine: Path, days: int) -> list[Path]:
    """Daily server logs last written more than `days` ago."""
    limit = time.time() - days * SECONDS_A_DAY
    return [
        path
        for path in sorted((machine / "log").glob("postgresql-????-??-??.log"))
        if path.stat().st_mtime < limit
    ]


def main() -> None:
    """Ansible's entry."""
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True)
    parameters, check = module.params, module.check_mode
    machine, port = Path(parameters["machine"]), parameters["port"]
    actions: list[str] = []
    try:
        if not check:
            wait_until_up(machine, port, UP_TIMEOUT_SECONDS)
        with connect(machine, port) as connection:
            actions += overridden(connection, check)
        with connect(machine, port) as connection:
            waiting = scalar(
                connection, "SELECT string_agg(name, ', ') FROM pg_settings WHERE pending_restart"
            )
        if waiting:
            actions.append(f"restart for {waiting}")
            if not check:
                restart(machine, port)
        with connect(machine, port) as connection:
            standby = in_recovery(connection)
            if not standby:
                wish = Wish(parameters, connection, check)
                for step in (
                    wish.users,
                    wish.rights,
                    wish.visitors,
                    wish.extension,
                    wish.slot,
                ):
                    step()
                actions += wish.actions
        for path in old_logs(machine, parameters["audit_retention_days"]):
            actions.append(path.name)
            if not check:
                path.unlink(missing_ok=True)
    except psycopg.OperationalError as error:
        if check:
            module.exit_json(changed=True, actions=["the server is down"], standby=False)
        module.fail_json(msg=f"PostgreSQL of {machine}: {error}", actions=actions)
    except (psycopg.Error, OSError, KeyError) as error:
        module.fail_json(msg=f"PostgreSQL of {machine}: {error!r}", actions=actions)
    module.exit_json(changed=bool(actions), actions=actions, standby=standby)


if __name__ == "__main__":
    main()
