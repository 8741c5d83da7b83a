#!/usr/bin/python
"""The ERP's database on the primary: restored from a cached dump, or initialised and seeded.

The database is made under another name and renamed, so it is whole or absent. The dump is named
by the digest of what made it (lock of the ERP's environment, seed program) and holds no secret
that is used: the ERP users' passwords are set from the secret manager afterwards.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from ansible.module_utils.anlan_erp import build, database_uri, is_built
from ansible.module_utils.anlan_postgres import (
    SUPERUSER,
    connect,
    in_recovery,
    only_visitors,
    run_as,
    scalar,
)
from ansible.module_utils.basic import AnsibleModule
from psycopg import sql

ARGUMENTS: dict[str, Any] = {
    "machine": {"type": "path", "required": True},
    "service_user": {"type": "str", "required": True},
    "address": {"type": "str", "required": True},
    "port": {"type": "int", "required": True},
    "bin_directory": {"type": "path", "required": True},
    "ca_file": {"type": "path", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "database": {"type": "str", "default": "erp"},
    "ledger_schema": {"type": "str", "default": "anlan"},
    "ledger_owner": {"type": "str", "default": "orchestrator"},
    # The secret manager logs in here to rotate the ledger owner's password.
    "secret_manager": {"type": "str", "default": "vault_admin"},
    "venv": {"type": "path", "required": True},
    "cache_directory": {"type": "path", "required": True},
    "requirements": {"type": "path", "required": True},
    "seed": {"type": "path", "required": True},
    "passwords": {"type": "path", "required": True},
    # Login of the database user, then those of the ERP's users.
    "owner": {"type": "dict", "default": {}, "no_log": True},
    "users": {"type": "list", "elements": "dict", "default": [], "no_log": True},
}
RESTORE_TIMEOUT_SECONDS = 600
SEED_TIMEOUT_SECONDS = 900
EXTENSIONS = ("pgaudit", "pg_stat_statements")


class Database:
    """The database as it should be."""

    def __init__(self, parameters: dict[str, Any], check: bool) -> None:
        self.parameters, self.check = parameters, check
        self.name: str = parameters["database"]
        self.fresh = f"{self.name}_new"
        self.actions: list[str] = []
        seed = Path(parameters["seed"])
        makers = (Path(parameters["requirements"]), seed, seed.with_name("erp_api.py"))
        content = b"".join(path.read_bytes() for path in makers)
        digest = hashlib.sha256(content).hexdigest()[:16]
        self.dump = Path(parameters["cache_directory"]) / f"erp-seed-{digest}.dump"

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """The superuser's session."""
        return connect(self.parameters["machine"], self.parameters["port"], database)

    def make(self) -> None:
        """Bring all into order; on a standby there is nothing to do."""
        with self.connect() as server:
            if in_recovery(server):
                return
            if not self._exists(server, self.name):
                self.actions.append("database")
                if self.check:
                    return
                self._create(server)
        with self.connect(self.name) as inside:
            self._extensions(inside)
            self._ledger(inside)
            self._reader(inside)
            visitors = [self.parameters["ledger_owner"], self.parameters["secret_manager"]]
            for action, statement in only_visitors(inside, visitors):
                self._do(inside, action, statement)
            self._users(inside)

    def remove(self) -> None:
        """Drop the database where there is a writable server with it."""
        with self.connect() as server:
            for name in (self.name, self.fresh):
                if not in_recovery(server) and self._exists(server, name):
                    self.actions.append(f"drop {name}")
                    if not self.check:
                        self._drop(server, name)

    def _exists(self, server: psycopg.Connection[Any], name: str) -> bool:
        return bool(scalar(server, "SELECT 1 FROM pg_database WHERE datname = %s", (name,)))

    def _drop(self, server: psycopg.Connection[Any], name: str) -> None:
        server.execute(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        )

    def _create(self, server: psycopg.Connection[Any]) -> None:
        build(Path(self.parameters["venv"]), Path(self.parameters["requirements"]))
        fresh, owner = sql.Identifier(self.fresh), self.parameters["owner"]["username"]
        self._drop(server, self.fresh)
        server.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(fresh, sql.Identifier(owner)))
        with self._cache_lock():
            if self.dump.exists():
                self._restore(owner)
            else:
                self._seed()
                self._save()
        with self.connect(self.fresh) as inside:
            # The seeding's own session, whose key every copy of the dump has.
            inside.execute("DELETE FROM ir_session")
            inside.execute("ANALYZE")
        server.execute(
            sql.SQL("ALTER DATABASE {} RENAME TO {}").format(fresh, sql.Identifier(self.name))
        )

    @contextmanager
    def _cache_lock(self) -> Iterator[None]:
        """One maker of the dump at a time; the others wait and restore it."""
        self.dump.parent.mkdir(parents=True, exist_ok=True)
        with self.dump.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _program(self, name: str, *arguments: str) -> list[str]:
        return [
            str(Path(self.parameters["bin_directory"]) / name),
            *("-h", f"{self.parameters['machine']}/run", "-p", str(self.parameters["port"])),
            *("-U", SUPERUSER, "-d", self.fresh, *arguments),
        ]

    def _restore(self, owner: str) -> None:
        with self.dump.open("rb") as stream:
            run_as(
                self.parameters["service_user"],
                self._program(
                    "pg_restore", "--single-transaction", "--no-owner", f"--role={owner}"
                ),
                timeout_seconds=RESTORE_TIMEOUT_SECONDS,
                environment={"PGOPTIONS": "-c pgaudit.log=none -c synchronous_commit=local"},
                stdin=stream,
            )

    def _save(self) -> None:
        temporary = self.dump.with_suffix(".new")
        with temporary.open("wb") as stream:
            run_as(
                self.parameters["service_user"],
                self._program("pg_dump", "-Fc", "-Z1"),
                timeout_seconds=RESTORE_TIMEOUT_SECONDS,
                stdout=stream,
            )
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(self.dump)

    def _seed(self) -> None:
        place = {"address": self.parameters["address"], "port": self.parameters["port"]}
        uri = database_uri(self.parameters["owner"], [place], self.parameters["ca_file"])
        with tempfile.TemporaryDirectory(prefix="anlan-erp-") as folder:
            configuration = Path(folder) / "trytond.conf"  # the folder is 0700
            configuration.write_text(f"[database]\nuri = {uri}\n")
            done = subprocess.run(
                [
                    f"{self.parameters['venv']}/bin/python",
                    self.parameters["seed"],
                    *("--config", str(configuration), "--database", self.fresh),
                ],
                capture_output=True,
                text=True,
                timeout=SEED_TIMEOUT_SECONDS,
                check=False,
            )
        if done.returncode != 0:
            raise OSError(f"the seed ended with {done.returncode}: {done.stderr[-1500:]}")

    def _extensions(self, inside: psycopg.Connection[Any]) -> None:
        for name in EXTENSIONS:
            if not scalar(inside, "SELECT 1 FROM pg_extension WHERE extname = %s", (name,)):
                self._do(inside, name, sql.SQL("CREATE EXTENSION {}").format(sql.Identifier(name)))

    def _ledger(self, inside: psycopg.Connection[Any]) -> None:
        schema, owner = self.parameters["ledger_schema"], self.parameters["ledger_owner"]
        found = scalar(
            inside, "SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = %s", (schema,)
        )
        names = sql.Identifier(schema), sql.Identifier(owner)
        if found is None:
            self._do(inside, "ledger", sql.SQL("CREATE SCHEMA {} AUTHORIZATION {}").format(*names))
        elif found != owner:
            self._do(
                inside, "ledger's owner", sql.SQL("ALTER SCHEMA {} OWNER TO {}").format(*names)
            )

    def _reader(self, inside: psycopg.Connection[Any]) -> None:
        """The ledger's owner reads the ERP's tables, those to come too, and no catalogue."""
        reader, owner = self.parameters["ledger_owner"], self.parameters["owner"]["username"]
        names = sql.Identifier(owner), sql.Identifier(reader)
        unread = scalar(
            inside,
            "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            " AND relkind IN ('r', 'p', 'v', 'm') AND NOT has_table_privilege(%s, oid, 'SELECT')",
            (reader,),
        )
        if unread:
            grant = sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {}")
            self._do(inside, f"tables for {reader}", grant.format(names[1]))
        later = scalar(
            inside,
            "SELECT count(*) FROM pg_default_acl, aclexplode(defaclacl) JOIN pg_roles r"
            " ON r.oid = grantee WHERE defaclrole = %s::regrole AND defaclobjtype = 'r'"
            " AND privilege_type = 'SELECT' AND rolname = %s",
            (owner, reader),
        )
        if not later:
            grant = sql.SQL(
                "ALTER DEFAULT PRIVILEGES FOR ROLE {} IN SCHEMA public GRANT SELECT ON TABLES TO {}"
            )
            self._do(inside, f"later tables for {reader}", grant.format(*names))

    def _users(self, inside: psycopg.Connection[Any]) -> None:
        """Set the ERP users' passwords where they differ."""
        known = dict(inside.execute("SELECT login, password_hash FROM res_user").fetchall())
        question = {
            user["username"]: {"password": user["password"], "hash": known.get(user["username"])}
            for user in self.parameters["users"]
        }
        if absent := sorted(set(question) - set(known)):
            raise OSError(f"the ERP has no user {', '.join(absent)}: was it seeded by anlan?")
        if not is_built(Path(self.parameters["venv"])):
            if self.check:  # the hashes cannot be compared; the role `erp` reports the venv
                return
            build(Path(self.parameters["venv"]), Path(self.parameters["requirements"]))
        done = subprocess.run(
            [f"{self.parameters['venv']}/bin/python", self.parameters["passwords"]],
            input=json.dumps(question),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode != 0:
            raise OSError(f"cannot compare the ERP users' passwords: {done.stderr[-500:]}")
        for login, fresh in sorted(json.loads(done.stdout).items()):
            statement = sql.SQL("UPDATE res_user SET password_hash = {} WHERE login = {}")
            self._do(
                inside,
                f"password of {login}",
                statement.format(sql.Literal(fresh), sql.Literal(login)),
            )

    def _do(
        self, connection: psycopg.Connection[Any], name: str, statement: sql.Composable
    ) -> None:
        self.actions.append(name)
        if not self.check:
            connection.execute(statement)


def main() -> None:
    """Ansible's entry."""
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True)
    absent = module.params["state"] == "absent"
    actions: list[str] = []
    try:
        database = Database(module.params, module.check_mode)
        actions = database.actions
        (database.remove if absent else database.make)()
    except psycopg.OperationalError as error:
        if absent:  # without its server the database is gone
            module.exit_json(changed=False, actions=[], reason=str(error))
        if module.check_mode:
            module.exit_json(changed=True, actions=[str(error)])
        module.fail_json(msg=f"ERP database: {error}", actions=actions)
    except (psycopg.Error, OSError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
        module.fail_json(msg=f"ERP database: {error}", actions=actions)
    module.exit_json(changed=bool(actions), actions=actions)


if __name__ == "__main__":
    main()
