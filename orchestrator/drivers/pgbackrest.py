"""Backups of one site by pgBackRest (2.45), run as the service user with the node's own file.

The backup engine stays behind these verbs. Two of its habits are handled here: `verify` exits 0
when it finds corruption, so its output is read; with a repository down it waits for minutes, so
every verb has a time limit.
"""

from __future__ import annotations

import configparser
import json
import re
import time
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestrator.drivers.lease import LeaseFile
from orchestrator.drivers.postgresql import PostgreSQL
from orchestrator.drivers.process import Finished, run
from orchestrator.model.environment import Environment, Site
from orchestrator.model.errors import InfrastructureError, InputError, Refused

TYPES = ("full", "diff", "incr")
# pgBackRest's LockAcquireError: another process holds the stanza (its `error.yaml`).
_LOCKED = 50


@dataclass(frozen=True)
class Backup:
    """One backup of one repository; times are aware UTC, sizes in bytes.

    Its recovery begins in the WAL segment `start_wal` and is consistent at `stop_lsn`.
    `references` are the earlier backups that it needs.
    """

    repository: int
    label: str
    type: str
    started: datetime
    stopped: datetime
    size_bytes: int
    stored_bytes: int
    error: bool
    stop_lsn: str
    start_wal: str
    references: tuple[str, ...]


@dataclass(frozen=True)
class VerifyResult:
    """What `verify` found in one repository; sound only if it read backups and found no fault."""

    repository: int
    backups: int
    wal_segments: int
    problems: tuple[str, ...]

    @property
    def is_sound(self) -> bool:
        """Whether it verified a backup and WAL, and reported no problem."""
        return self.backups > 0 and self.wal_segments > 0 and not self.problems


class PgBackRest:
    """pgBackRest on one site. Every verb raises InfrastructureError when the tool fails."""

    def __init__(
        self, environment: Environment, site: Site, *, config_file: Path | None = None
    ) -> None:
        self.site = site
        self.settings = site.backup
        self._config_file = config_file or site.backup.config_file
        self._lease = LeaseFile(environment.lease_file)
        self._environment = environment

    def backup(self, type_: str, *, repository: int, timeout_seconds: float = 3600.0) -> Backup:
        """Make a backup (full, diff or incr) in one repository and return it.

        A checkpoint comes first: pgBackRest wants the timeline of the control file to be that of
        the WAL, and a new primary writes it then. While another backup of the stanza runs (one
        that a killed orchestrator left, perhaps) it waits for that one's end.
        """
        if type_ not in TYPES:
            raise InputError(f"no backup type {type_!r}", f"use one of {', '.join(TYPES)}")
        PostgreSQL(self._environment, self.site).checkpoint()
        deadline = time.monotonic() + timeout_seconds
        while True:
            left = max(1.0, deadline - time.monotonic())
            accept = (0, _LOCKED) if left > 1.0 else (0,)
            options = (f"--type={type_}", f"--repo={repository}")
            if self._run("backup", *options, timeout=left, accept=accept).exit_code == 0:
                return self.latest(repository)
            time.sleep(1.0)

    def info(self, repository: int | None = None) -> dict[str, Any]:
        """The stanza's entry of `info --output=json`, of one repository or of all of them."""
        found = self._info(*([] if repository is None else [f"--repo={repository}"]))
        if not found:
            raise InfrastructureError(
                f"no stanza {self.settings.stanza} in the repositories of site {self.site.name}",
                "apply the role `pgbackrest` (it creates the stanza)",
            )
        return dict(found[0])

    def backups(self) -> tuple[Backup, ...]:
        """Every backup of every repository, the oldest first."""
        return backups_in(self.info())

    def latest(self, repository: int) -> Backup:
        """The newest backup of one repository. Raises InfrastructureError if it has none."""
        there = [backup for backup in self.backups() if backup.repository == repository]
        if not there:
            raise InfrastructureError(
                f"repository {repository} of stanza {self.settings.stanza} holds no backup",
                "make one: `anlan backup`",
            )
        return there[-1]

    def archived(self, repository: int) -> tuple[str, str]:
        """The first and last WAL segment that one repository holds; empty when it has none."""
        for archive in reversed(self.info().get("archive", [])):
            if archive["database"]["repo-key"] == repository:
                return str(archive["min"] or ""), str(archive["max"] or "")
        return "", ""

    def store_keys(self, repository: int) -> dict[str, str]:
        """The keys of a repository's object store, from the tool's own file (0600).

        They are there also while the secret manager is not. Raises InfrastructureError.
        """
        return {
            "access_key": self.option(f"repo{repository}-s3-key"),
            "secret_key": self.option(f"repo{repository}-s3-key-secret"),
        }

    def readable(self, repository: int) -> str:
        """How one repository's index reads with this site's login and cipher pass; empty if well.

        pgBackRest exits with 0 also when it cannot read.
        """
        found = self._info(f"--repo={repository}")
        stanzas = [one for one in found if one["name"] == self.settings.stanza]
        if not stanzas:
            return f"no stanza {self.settings.stanza}"
        wrong = [
            one["status"] for one in (stanzas[0], *stanzas[0]["repo"]) if one["status"]["code"]
        ]
        return "; ".join(dict.fromkeys(str(status["message"]) for status in wrong))[:300]

    def check(self) -> None:
        """Prove that a WAL segment reaches every repository (switches one; on the primary)."""
        self._run("check", timeout=150.0)

    def verify(self, repository: int, *, timeout_seconds: float = 3600.0) -> VerifyResult:
        """Read a whole repository and compare every checksum, by what it prints.

        A WAL segment that is gone altogether is not noticed by pgBackRest 2.45: only a restore
        that replays the WAL proves that there is no gap.
        """
        finished = self._run(
            "verify",
            f"--repo={repository}",
            "--output=text",
            "--verbose",
            "--log-level-console=info",
            timeout=timeout_seconds,
        )
        known = {backup.label for backup in self.backups() if backup.repository == repository}
        return read_verify_report(repository, known, finished.output)

    def restore(
        self,
        target_directory: Path,
        *,
        repository: int,
        token: int | None = None,
        type_: str = "default",
        target: str | None = None,
        backup_label: str | None = None,
        options: Sequence[str] = (),
        environment: dict[str, str] | None = None,
        timeout_seconds: float = 3600.0,
    ) -> Finished:
        """Restore into `target_directory`; `target` is a time with offset, an LSN or a name.

        A directory below a site's machine needs the lease's `token` (it overwrites production);
        one outside is a twin's and needs none. Raises Refused.
        """
        production = [site.machine.directory for site in self._environment.sites.values()]
        if any(target_directory.is_relative_to(directory) for directory in production):
            if token is None:
                raise Refused(
                    f"{target_directory} is a production directory: restoring over it needs the "
                    "lease",
                    "acquire the lease and pass its token, or restore into a twin",
                )
            self._lease.check(token)
        arguments = [
            f"--repo={repository}",
            f"--pg1-path={target_directory}",
            f"--type={type_}",
            *([f"--target={target}"] if target else []),
            *([f"--set={backup_label}"] if backup_label else []),
            *options,
        ]
        return self._run("restore", *arguments, timeout=timeout_seconds, environment=environment)

    def option(self, name: str) -> str:
        """A global option of this machine's own file, such as `repo1-path`.

        Raises InfrastructureError.
        """
        parser = configparser.RawConfigParser(strict=False, delimiters=("=",))
        try:
            parser.read_string(self._config_file.read_text())
            return parser["global"][name]
        except OSError as error:
            raise InfrastructureError(
                f"cannot read {self._config_file}: {error.strerror}", "run as root, or as its owner"
            ) from error
        except (configparser.Error, KeyError) as error:
            raise InfrastructureError(
                f"{self._config_file} has no readable option {name}", "apply the role `pgbackrest`"
            ) from error

    def fetch_archived(
        self, name: str, target: Path, *, environment: dict[str, str], timeout_seconds: float
    ) -> None:
        """Get one WAL segment, or timeline history, of the archive into the file `target`."""
        arguments = (name, str(target))
        self._run("archive-get", *arguments, timeout=timeout_seconds, environment=environment)

    def _info(self, *options: str) -> list[dict[str, Any]]:
        output = self._run("info", "--output=json", *options, timeout=120.0).output
        # Of a file that it cannot decrypt it quotes the garbage, control characters and all.
        found: list[dict[str, Any]] = json.loads(output, strict=False)
        return found

    def _run(
        self,
        verb: str,
        *arguments: str,
        timeout: float,
        accept: Sequence[int] = (0,),
        environment: dict[str, str] | None = None,
    ) -> Finished:
        return run(
            [
                "pgbackrest",
                f"--config={self._config_file}",
                f"--stanza={self.settings.stanza}",
                verb,
                *arguments,
            ],
            timeout_seconds=timeout,
            as_user=self.site.machine.service_user,
            accept=accept,
            environment=environment,
        )


def backups_in(info: Mapping[str, Any]) -> tuple[Backup, ...]:
    """The backups that a stanza's entry lists, the oldest first."""
    found = [_backup(entry) for entry in info.get("backup", [])]
    return tuple(sorted(found, key=lambda backup: backup.stopped))


def _backup(entry: dict[str, Any]) -> Backup:
    info = entry["info"]
    stored = info["repository"]
    return Backup(
        repository=int(entry["database"]["repo-key"]),
        label=str(entry["label"]),
        type=str(entry["type"]),
        started=datetime.fromtimestamp(entry["timestamp"]["start"], UTC),
        stopped=datetime.fromtimestamp(entry["timestamp"]["stop"], UTC),
        size_bytes=int(info["size"]),
        # With bundles pgBackRest gives the delta alone.
        stored_bytes=int(stored.get("size") or stored.get("delta") or 0),
        error=bool(entry.get("error")),
        stop_lsn=str(entry["lsn"]["stop"]),
        start_wal=str(entry["archive"]["start"]),
        references=tuple(entry.get("reference") or ()),
    )


def read_verify_report(repository: int, known: Set[str], text: str) -> VerifyResult:
    """Read what `verify --output=text --verbose` prints: a status, archives, backups and counts.

    `known` are the backups that the repository lists. One that it no longer lists has expired;
    of it Object Lock keeps the folder, whose manifest is missing. Raises InfrastructureError when
    the report is not there: no report is no proof.
    """
    status = re.findall(r"^ *status: (\w+)", text, re.MULTILINE)
    if not status:
        raise InfrastructureError(
            f"pgBackRest's verify of repository {repository} printed no report",
            "run `pgbackrest verify --output=text --verbose` by hand and read its log",
        )
    # The report is printed twice: by the log and as the output.
    segments = dict(re.findall(r"archiveId: (\S+), total WAL checked: (\d+)", text))
    found = dict(re.findall(r"backup: (\S+), status: ([a-z ]+)", text))
    expired = {label for label in found if label not in known}
    problems = [f"backup {label} was not verified" for label in sorted(known - found.keys())]
    problems += [
        f"backup {label} is {state}"
        for label, state in sorted(found.items())
        if state != "valid" and not (label in expired and state == "manifest missing")
    ]
    problems += [f"the stanza's status is {state}" for state in set(status) if state != "ok"]
    problems += [
        line.partition("INFO: ")[2] or line.strip()
        for line in text.splitlines()
        if re.search(r"INFO: invalid|INFO: missing|\b(missing|invalid|other): [1-9]", line)
    ]
    return VerifyResult(
        repository=repository,
        backups=len(found.keys() - expired),
        wal_segments=sum(map(int, segments.values())),
        problems=tuple(dict.fromkeys(problems)),
    )
