#!/usr/bin/python
"""Files and data directory of a PostgreSQL server, before it runs.

A data directory that exists is never made anew, and a server is never made or started as a
primary beside a peer that is one: after a failover the old primary comes back by a rejoin, and one
whose data are gone (its site was lost) is made a standby of the peer. New data is made beside its
place and renamed, so an interrupted run leaves nothing half made.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import psycopg
from ansible.module_utils.anlan_files import differs, sync_folder, write
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
# What libpq says when nobody listens. Anything else is an answer, or none can be told.
SILENT = ("Connection refused", "timeout expired", "No route to host", "Network is unreachable")


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
        # Set by the orchestrator's failover, until this server is a standby; outlives the machine.
        self.fenced = self.machine.with_name(f"{self.machine.name}.fenced")
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

    def write_files(self, needs: list[str]) -> None:
        """Write the files that `needs` names; by the passfile the peer can be asked."""
        for path, text in self.files().items():
            if path.name in needs:
                write(path, text.encode(), 0o600, self.user)

    def make_data(self, needs: list[str]) -> None:
        """Make the data directory if `needs` names it."""
        if "data" in needs:
            if self.data.exists() and any(self.data.iterdir()):
                raise OSError(
                    f"{self.data} has no PG_VERSION but is not empty: look at it, it is not touched"
                )
            shutil.rmtree(self.fresh, ignore_errors=True)
            self.data.parent.mkdir(exist_ok=True)
            if self._is_first():
                self._initialise()
                self.fresh.rename(self.data)
                return
            if self.parameters["node_role"] == "primary":
                self._make_slot()
            self._copy()
            self.fresh.rename(self.data)
            self.fenced.unlink(missing_ok=True)
            sync_folder(self.fenced.parent)

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
        """Raise PeerIsPrimary when this server would be started as one beside a primary."""
        if not (self.data / "PG_VERSION").exists():
            return  # what is made in its place is decided when it is made
        try:
            connect(self.machine, self.parameters["port"]).close()
            return  # it runs: what it is was decided before
        except psycopg.Error:
            pass
        if (self.data / "standby.signal").exists():
            return
        if self.fenced.exists():
            raise PeerIsPrimary(
                f"this server was fenced when {self.parameters['peer']['name']} was promoted: it "
                "is not started as a second primary; finish the drill (`anlan drill resume RUN`) "
                "or bring the environment back (`anlan env restore ENV`)"
            )
        if self._peer() == "primary":
            raise PeerIsPrimary(
                f"{self.parameters['peer']['name']} is the primary now and "
                f"{self.parameters['name']} would be a second one: rejoin it as a standby with "
                "the failback of anlan, then apply this role again"
            )

    def _is_first(self) -> bool:
        """Whether missing data are to be a new, empty primary; else they are the peer's.

        Raises PeerIsPrimary when the peer has data and is not the primary, OSError when it cannot
        be told what the peer is.
        """
        if self.parameters["node_role"] == "standby" or self.fenced.exists():
            return False
        peer = self._peer()
        if peer == "standby":
            raise PeerIsPrimary(
                f"the data of {self.parameters['name']} are gone and "
                f"{self.parameters['peer']['name']} is a standby that has them: promote that one "
                "(`anlan env restore ENV`), then apply this role again"
            )
        return peer == ""

    def _peer(self) -> str:
        """What the peer answers that it is: primary or standby; empty when nobody listens there.

        Raises OSError for any other answer: one that starts or refuses the login may be a primary.
        """
        # Past the line: one that is cut must not hide another primary.
        peer = self.conninfo("rewinder", "postgres", direct=True)
        command = [
            str(Path(self.parameters["bin_directory"]) / "psql"),
            *("-X", "-A", "-t", "-w", "-d", peer, "-c", "SELECT pg_is_in_recovery()"),
        ]
        try:
            answer = run_as(self.user, command, timeout_seconds=15).strip()
        except OSError as error:
            if any(word in str(error) for word in SILENT):
                return ""
            raise
        return "primary" if answer == "f" else "standby"

    def _make_slot(self) -> None:
        """Make this server's slot at the peer, the primary in its place, if it is not there."""
        name = self.parameters["name"]
        command = [
            str(Path(self.parameters["bin_directory"]) / "psql"),
            *("-X", "-w", "-d", f"{self.conninfo('replicator')} replication='true'"),
            *("-c", f"CREATE_REPLICATION_SLOT {name} PHYSICAL RESERVE_WAL"),
        ]
        try:
            run_as(self.user, command, timeout_seconds=60)
        except OSError as error:
            if "already exists" not in str(error):
                raise

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
            server.write_files(needs)
            server.refuse_second_primary()
            server.make_data(needs)
    except (PeerIsPrimary, OSError, KeyError) as error:
        module.fail_json(msg=f"PostgreSQL of {server.machine}: {error}")
    texts = "".join(module.params[name] for name in ("configuration", "hba", "ident"))
    module.exit_json(
        changed=bool(needs), actions=needs, digest=hashlib.sha256(texts.encode()).hexdigest()
    )


if __name__ == "__main__":
    main()
