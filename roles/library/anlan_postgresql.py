#!/usr/bin/python
"""Files and data directory of a PostgreSQL server, before it runs.

A data directory that exists is never made anew, and a server is never made or started as a
primary beside a peer that is one: after a failover the old primary comes back by a rejoin. New
data is made beside its place and renamed, so an interrupted run leaves nothing half made.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import psycopg
from ansible.module_utils.anlan_files import differs, write
from ansible.module_utils.anlan_postgres import SUPERUSER, connect, run_as
from ansible.module_utils.basic import AnsibleModule

ARGUMENTS: dict[str, Any] = {
    "machine": {"type": "path", "required": True},
    "service_user": {"type": "str", "required": True},
    "port": {"type": "int", "required": True},
    "bin_directory": {"type": "path", "required": True},
    "version": {"type": "int", "required": True},
    "node_role": {"type": "str", "choices": ["primary", "standby"], "required": True},
    "name": {"type": "str", "required": True},
    "peer": {"type": "dict", "required": True},
    "address": {"type": "str", "required": True},
    "ca_file": {"type": "path", "required": True},
    "configuration": {"type": "str", "required": True},
    "hba": {"type": "str", "required": True},
    "ident": {"type": "str", "required": True},
    "replicator": {"type": "dict", "required": True, "no_log": True},
    "rewinder": {"type": "dict", "required": True, "no_log": True},
}
INITDB_TIMEOUT_SECONDS = 120
COPY_TIMEOUT_SECONDS = 3600


class PeerIsPrimary(Exception):
    """This server must not become a second primary."""


def escaped(value: str) -> str:
    """A field of a passfile (libpq-pgpass)."""
    return value.replace("\\", "\\\\").replace(":", "\\:")


def quoted(value: str) -> str:
    """A value in single quotes, for libpq strings and postgresql.conf alike."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


class Server:
    """The server as it should be."""

    def __init__(self, parameters: dict[str, Any]) -> None:
        self.parameters = parameters
        self.machine = Path(parameters["machine"])
        self.user: str = parameters["service_user"]
        self.data = self.machine / "data" / "pg"
        self.fresh = self.machine / "data" / "pg.new"
        # Set by the orchestrator's failover, until this server is a standby.
        self.fenced = self.machine / "data" / "pg.fenced"
        self.passfile = self.machine / "etc" / "pgpass"

    def files(self) -> dict[Path, str]:
        """Every file of the configuration with its content."""
        etc = self.machine / "etc"
        lines = [
            ":".join(
                [
                    escaped(place["address"]),
                    str(place["port"]),
                    "*",
                    escaped(login["username"]),
                    escaped(login["password"]),
                ]
            )
            for place in self.places()
            for login in (self.parameters["replicator"], self.parameters["rewinder"])
        ]
        return {
            etc / "postgresql.conf": self.parameters["configuration"],
            etc / "pg_hba.conf": self.parameters["hba"],
            etc / "pg_ident.conf": self.parameters["ident"],
            self.passfile: "\n".join(lines) + "\n",
        }

    def places(self) -> list[dict[str, Any]]:
        """Where its programs log in; by the line the peer keeps its name and has another port."""
        peer = self.parameters["peer"]
        return [self.parameters, peer, {**peer, "port": peer["line"]["port"]}]

    def needs(self) -> list[str]:
        """What is missing or differs: names of files, and `data`."""
        needs = [
            path.name
            for path, text in self.files().items()
            if differs(path, text.encode(), 0o600, self.user)
        ]
        if not (self.data / "PG_VERSION").exists():
            needs.append("data")
        return needs

    def apply(self, needs: list[str]) -> None:
        """Write the files and make the data directory, as `needs` named them."""
        for path, text in self.files().items():
            if path.name in needs:
                write(path, text.encode(), 0o600, self.user)
        if "data" in needs:
            if self.data.exists() and any(self.data.iterdir()):
                raise OSError(
                    f"{self.data} has no PG_VERSION but is not empty: look at it, it is not touched"
                )
            shutil.rmtree(self.fresh, ignore_errors=True)
            if self.parameters["node_role"] == "primary":
                self._initialise()
            else:
                self._copy()
            self.data.parent.mkdir(exist_ok=True)
            self.fresh.rename(self.data)

    def conninfo(self, user: str, database: str | None = None, *, direct: bool = False) -> str:
        """The libpq string that reaches the peer as `user` by the line, without a password."""
        peer, tls = self.parameters["peer"], self.machine / "tls"
        parts = {
            "host": peer["address"],  # whose name the certificate must have
            "hostaddr": None if direct else peer["line"]["address"],
            "port": str(peer["port"] if direct else peer["line"]["port"]),
            "user": user,
            "dbname": database,
            "application_name": self.parameters["name"],
            "sslmode": "verify-full",
            "sslrootcert": self.parameters["ca_file"],
            "sslcert": str(tls / f"{user}.crt"),
            "sslkey": str(tls / f"{user}.key"),
            "passfile": str(self.passfile),
            "connect_timeout": "5",
            "keepalives_idle": "5",
        }
        return " ".join(f"{name}={quoted(value)}" for name, value in parts.items() if value)

    def refuse_second_primary(self) -> None:
        """Raise PeerIsPrimary when this server would run as a primary and the peer is one."""
        try:
            connect(self.machine, self.parameters["port"]).close()
            return  # it runs: what it is was decided before
        except psycopg.Error:
            pass
        exists = (self.data / "PG_VERSION").exists()
        if exists and (self.data / "standby.signal").exists():
            return
        if not exists and self.parameters["node_role"] == "standby":
            return
        if self.fenced.exists():
            raise PeerIsPrimary(
                f"this server was fenced when {self.parameters['peer']['name']} was promoted: it "
                "is not started as a second primary; finish the drill (`anlan drill resume RUN`) "
                "or bring the environment back (`anlan env restore ENV`)"
            )
        # Past the line: one that is cut must not hide another primary.
        peer = self.conninfo("rewinder", "postgres", direct=True)
        question = "SELECT pg_is_in_recovery()"
        command = [
            str(Path(self.parameters["bin_directory"]) / "psql"),
            *("-X", "-A", "-t", "-d", peer, "-c", question),
        ]
        try:
            answer = run_as(self.user, command, timeout_seconds=15).strip()
        except OSError:
            return  # no peer, or none that answers
        if answer == "f":
            raise PeerIsPrimary(
                f"{self.parameters['peer']['name']} is the primary now and "
                f"{self.parameters['name']} would be a second one: rejoin it as a standby with "
                "the failback of anlan, then apply this role again"
            )

    def _initialise(self) -> None:
        run_as(
            self.user,
            [
                str(Path(self.parameters["bin_directory"]) / "initdb"),
                f"--pgdata={self.fresh}",
                f"--username={SUPERUSER}",
                "--data-checksums",
                "--auth-local=peer",
                "--auth-host=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
            ],
            timeout_seconds=INITDB_TIMEOUT_SECONDS,
        )

    def _copy(self) -> None:
        run_as(
            self.user,
            [
                str(Path(self.parameters["bin_directory"]) / "pg_basebackup"),
                f"--pgdata={self.fresh}",
                f"--dbname={self.conninfo('replicator')}",
                f"--slot={self.parameters['name']}",
                "--wal-method=stream",
                "--checkpoint=fast",
                "--manifest-checksums=SHA256",
                "--no-password",
            ],
            timeout_seconds=COPY_TIMEOUT_SECONDS,
        )
        # The copy brings the primary's settings: replace them all.
        settings = [
            "# Written by anlan when this server was made.",
            f"primary_conninfo = {quoted(self.conninfo('replicator'))}",
            f"primary_slot_name = {quoted(self.parameters['name'])}",
            "recovery_target_timeline = 'latest'",
            "synchronous_standby_names = ''",
            # The slot keeps what it needs; asking a repository of a dead site delays a promotion.
            "restore_command = ''",
        ]
        text = "\n".join(settings) + "\n"
        write(self.fresh / "postgresql.auto.conf", text.encode(), 0o600, self.user)
        write(self.fresh / "standby.signal", b"", 0o600, self.user)


def check_version(parameters: dict[str, Any]) -> None:
    """Raise OSError when the programs are missing or of another major version."""
    program = Path(parameters["bin_directory"]) / "postgres"
    if not program.exists():
        raise OSError(f"{program} is missing: install PostgreSQL {parameters['version']}")
    said = run_as(parameters["service_user"], [str(program), "--version"], timeout_seconds=10)
    if f" {parameters['version']}." not in said:
        raise OSError(f"{program} is {said.strip()}, wanted is version {parameters['version']}")


def main() -> None:
    """Ansible's entry."""
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True)
    server = Server(module.params)
    needs: list[str] = []
    try:
        needs = server.needs()
        if not module.check_mode:
            if "data" in needs:
                check_version(module.params)
            server.refuse_second_primary()
            server.apply(needs)
    except (PeerIsPrimary, OSError, KeyError) as error:
        module.fail_json(msg=f"PostgreSQL of {server.machine}: {error}")
    texts = "".join(module.params[name] for name in ("configuration", "hba", "ident"))
    module.exit_json(
        changed=bool(needs), actions=needs, digest=hashlib.sha256(texts.encode()).hexdigest()
    )


if __name__ == "__main__":
    main()
