#!/usr/bin/python
"""Backups of a PostgreSQL server by pgBackRest: configuration, stanza, WAL archiving.

The order matters: the stanza is made in every repository before the server gets its
archive_command, for asynchronous archiving holds the lock that stanza-create needs. Where the
server archives already (a repository was lost and is made anew), that lock is waited for.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import psycopg
from ansible.module_utils.anlan_files import differs, owner_ids, write
from ansible.module_utils.anlan_postgres import (
    CommandError,
    connect,
    in_recovery,
    run_as,
    scalar,
)
from ansible.module_utils.basic import AnsibleModule

ARGUMENTS: dict[str, Any] = {
    "machine": {"type": "path", "required": True},
    "service_user": {"type": "str", "required": True},
    "port": {"type": "int", "required": True},
    "binary": {"type": "path", "default": "/usr/bin/pgbackrest"},
    "stanza": {"type": "str", "required": True},
    "repositories": {"type": "list", "elements": "int", "required": True},
    "configuration": {"type": "str", "required": True, "no_log": True},
}
COMMAND_TIMEOUT_SECONDS = 150.0
INFO_IO_TIMEOUT_SECONDS = 5
# The archiver gives up on a repository after its `archive-timeout` of 60 s, and pauses as long.
LOCK_TIMEOUT_SECONDS = 120.0
LOCKED = "[050]"
# `info`: the repository has the stanza, with or without backups.
STANZA_IS_THERE = {0, 2}


class Backups:
    """The node's pgBackRest as it should be."""

    def __init__(self, parameters: dict[str, Any]) -> None:
        self.parameters = parameters
        self.machine = Path(parameters["machine"])
        self.user: str = parameters["service_user"]
        self.stanza: str = parameters["stanza"]
        self.configuration = self.machine / "etc" / "pgbackrest.conf"
        self.archive = self.machine / "etc" / "archive.conf"
        self.folders = [
            self.machine / "data" / "pgbackrest",
            self.machine / "data" / "pgbackrest" / "spool",
            self.machine / "data" / "pgbackrest" / "lock",
            self.machine / "log" / "pgbackrest",
        ]
        command = f"{parameters['binary']} --config={self.configuration} --stanza={self.stanza}"
        self.archive_text = (
            "# Written by anlan: the repositories can take the WAL.\n"
            f"archive_command = '{command} archive-push %p'\n"
        )

    def run(self, *arguments: str) -> str:
        """Run pgbackrest as the server's user. Raises CommandError."""
        return run_as(
            self.user,
            [
                self.parameters["binary"],
                f"--config={self.configuration}",
                f"--stanza={self.stanza}",
                *arguments,
            ],
            timeout_seconds=COMMAND_TIMEOUT_SECONDS,
        )

    def missing(self) -> list[int]:
        """The repositories without the stanza. Raises CommandError when one cannot be read."""
        there = {
            repository["key"]
            for repository in self._report().get("repo", [])
            if repository["status"]["code"] in STANZA_IS_THERE
        }
        return [key for key in self.parameters["repositories"] if key not in there]

    def outdated(self) -> bool:
        """Whether the stanza belongs to a former database of this name (another system id)."""
        databases = self._report().get("db", [])
        with connect(self.machine, self.parameters["port"]) as connection:
            own = scalar(connection, "SELECT system_identifier FROM pg_control_system()")
        newest = {
            key: max(found["id"] for found in databases if found["repo-key"] == key)
            for key in {found["repo-key"] for found in databases}
        }
        return any(
            found["system-id"] != own
            for found in databases
            if found["id"] == newest[found["repo-key"]]
        )

    def _report(self) -> dict[str, Any]:
        # It asks a repository that is down four times, for as long as `io-timeout` each.
        quick = f"--io-timeout={INFO_IO_TIMEOUT_SECONDS}"
        report = json.loads(self.run("info", "--output=json", "--log-level-console=off", quick))
        return next((stanza for stanza in report if stanza["name"] == self.stanza), {})

    def needs(self) -> list[str]:
        """What differs, of folders, configuration, stanza, archive."""
        needs = []
        if any(not self._is_ours(folder) for folder in self.folders):
            needs.append("folders")
        if differs(self.configuration, self.parameters["configuration"].encode(), 0o600, self.user):
            needs.append("configuration")
        archive = differs(self.archive, self.archive_text.encode(), 0o600, self.user)
        archive = archive or not self._is_loaded()
        # Whichever is the primary: a repository made anew while b is one gets its stanza from b.
        if self._is_primary() and (needs or archive or self.missing()):
            needs.append("stanza")
        if archive:
            needs.append("archive")
        return needs

    def apply(self, needs: list[str]) -> None:
        """Do what `needs` named, in its order."""
        for folder in self.folders if "folders" in needs else []:
            folder.mkdir(parents=True, exist_ok=True)
            if os.geteuid() == 0:
                os.chown(folder, *owner_ids(self.user))
            folder.chmod(0o700)
        if "configuration" in needs:
            write(self.configuration, self.parameters["configuration"].encode(), 0o600, self.user)
        if "stanza" in needs:
            if self.missing():
                self._create()
            elif self.outdated():  # made anew beside its backups, which stay restorable
                self._run_locked("stanza-upgrade")
        if "archive" in needs:
            write(self.archive, self.archive_text.encode(), 0o600, self.user)
            with connect(self.machine, self.parameters["port"]) as connection:
                connection.execute("SELECT pg_reload_conf()")
        if "stanza" in needs:
            self.run("check")

    def _create(self) -> None:
        try:
            self._run_locked("stanza-create")
        except CommandError as error:
            if "[055]" not in str(error):
                raise
            # An interrupted stanza-create leaves one of its two files; nothing depends on them
            # in a repository that never had the stanza.
            for key in self.missing():
                for part in ("archive", "backup"):
                    run_as(
                        self.user,
                        [
                            self.parameters["binary"],
                            f"--config={self.configuration}",
                            f"--repo={key}",
                            "--recurse",
                            "repo-rm",
                            f"{part}/{self.stanza}",
                        ],
                        timeout_seconds=COMMAND_TIMEOUT_SECONDS,
                    )
            self._run_locked("stanza-create")

    def _run_locked(self, command: str) -> None:
        """Run what needs the stanza's locks, once the archiver leaves them. Raises CommandError."""
        deadline = time.monotonic() + LOCK_TIMEOUT_SECONDS
        while True:
            try:
                self.run(command)
                return
            except CommandError as error:
                if LOCKED not in str(error) or time.monotonic() > deadline:
                    raise
            time.sleep(0.5)

    def _is_primary(self) -> bool:
        with connect(self.machine, self.parameters["port"]) as connection:
            return not in_recovery(connection)

    def _is_loaded(self) -> bool:
        with connect(self.machine, self.parameters["port"]) as connection:
            loaded = scalar(connection, "SHOW archive_command")
        return f"archive_command = '{loaded}'" in self.archive_text

    def _is_ours(self, folder: Path) -> bool:
        try:
            status = folder.stat()
        except OSError:
            return False
        owned = os.geteuid() != 0 or status.st_uid == owner_ids(self.user)[0]
        return owned and (status.st_mode & 0o7777) == 0o700


def main() -> None:
    """Ansible's entry."""
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True)
    backups = Backups(module.params)
    try:
        needs = backups.needs()
        if needs and not module.check_mode:
            backups.apply(needs)
    except (psycopg.Error, OSError, ValueError, KeyError) as error:
        if module.check_mode and isinstance(error, (psycopg.Error, OSError)):
            module.exit_json(changed=True, actions=[str(error)])
        module.fail_json(msg=f"backups of {backups.machine}: {error}")
    module.exit_json(changed=bool(needs), actions=needs)


if __name__ == "__main__":
    main()
