"""The database of a twin: restored from a repository, recovered in the namespace, opened.

The restore itself reads the repository directly (it moves the bulk); recovery then fetches WAL
through the gateway. The twin has its own pgBackRest file (its own spool, lock and log folders, one
repository) and its own server configuration: it archives nothing, follows nobody, waits for nobody.
"""

from __future__ import annotations

import configparser
import io
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg

from orchestrator.drivers.files import own, write_atomically
from orchestrator.drivers.pgbackrest import PgBackRest
from orchestrator.drivers.postgresql_connection import Connection, connect, value
from orchestrator.drivers.process import run
from orchestrator.drivers.processes import end
from orchestrator.drivers.twin import MARKER, Twin
from orchestrator.model.environment import Environment, Site
from orchestrator.model.errors import InfrastructureError, InputError

# Recovery demands at least the primary's values of these (PostgreSQL manual, "Hot Standby").
_CONTROL_SETTINGS = (
    "max_connections",
    "max_worker_processes",
    "max_wal_senders",
    "max_prepared_xacts",
    "max_locks_per_xact",
)
_NAMES = {
    "max_prepared_xacts": "max_prepared_transactions",
    "max_locks_per_xact": "max_locks_per_transaction",
}
_KEPT_IN_AUTO_CONF = re.compile(r"\s*(restore_command|recovery_target\w*)\s*=")
_TARGET = re.compile(r"\s*recovery_target\w*\s*=")
_HBA = """\
local all postgres peer map=twin
local all all scram-sha-256
host all all 127.0.0.1/32 scram-sha-256
"""


@dataclass(frozen=True)
class Restored:
    """How a restore went: its seconds; files and bytes that were fetched, and that were there.

    What was there matched the backup's checksum of it, which pgBackRest's `--delta` read and
    computed. The bytes are those of the files in the data directory.
    """

    seconds: float
    fetched_files: int
    fetched_bytes: int
    present_files: int
    present_bytes: int


class TwinDatabase:
    """The PostgreSQL of a twin, restored as the node `site` would restore itself.

    Verbs raise InfrastructureError when a command fails; `restore` may be repeated (it is a delta
    restore onto what is there).
    """

    def __init__(
        self,
        environment: Environment,
        twin: Twin,
        site: Site,
        repository: int,
        *,
        repository_path: str | None = None,
        local: bool = False,
    ) -> None:
        """`repository_path`: another place in the store, or with `local` a directory, to read."""
        self.repository_path = repository_path
        self.local = local
        self.twin = twin
        self.site = site
        self.repository = repository
        self.port = site.database.port
        self.wal_directory = twin.directory / "wal"
        self.bin_directory = site.database.bin_directory
        self._user = site.machine.service_user
        self._pgbackrest_file = twin.directory / "etc" / "pgbackrest.conf"
        self._conf = twin.directory / "etc" / "postgresql.conf"
        self._environment = environment

    def gateways(self) -> list[tuple[str, int]]:
        """Address and port of what recovery must reach: the repository, unless it is local."""
        return [] if self.local else [self.repository_endpoint()]

    def repository_endpoint(self) -> tuple[str, int]:
        """Address and port of the store of the repository that is restored from."""
        options = dict(self._site_configuration()["global"])
        prefix = f"repo{self.repository}-"
        host = options.get(f"{prefix}storage-host") or options.get(f"{prefix}s3-endpoint")
        if not host:
            raise InputError(
                f"no repository {self.repository} with an S3 endpoint",
                "choose one of the repositories of the descriptor's sites",
                file=str(self.site.backup.config_file),
            )
        return host, int(options.get(f"{prefix}storage-port", "443"))

    def restore(
        self,
        *,
        type_: str = "default",
        target: str | None = None,
        backup_label: str | None = None,
        pause: bool = False,
        timeout_seconds: float = 3600.0,
    ) -> Restored:
        """Restore the data directory and make it a twin's; returns what that took.

        `type_` and `target` are pgBackRest's (default, immediate, time, lsn, name, xid). With
        `pause` the recovery will stop at the target, read-only, and may go on from there; it takes
        its WAL from the twin's own folder, as far as `twin_wal` has fetched that.
        """
        data = self.twin.data_directory
        lock = data / "postmaster.pid"
        # One that a killed twin left may name a process of production by now: do not signal it.
        if any(entry.command == "postgres" for entry in self.twin.processes()):
            self.stop()
        # A killed orchestrator's restore may still be at work on the same directory.
        end(e for e in self.twin.processes() if e.command in {"pgbackrest", "postgres"})
        lock.unlink(missing_ok=True)
        started = time.monotonic()
        self.configure()
        # pgBackRest does not take what has neither of these for a database, and stops.
        if not any((data / name).exists() for name in ("PG_VERSION", "backup.manifest")):
            shutil.rmtree(data, ignore_errors=True)
        if not data.exists():
            data.mkdir(mode=0o700)
            own(data, self._user)
        # With nothing to recover to, pgBackRest's default replays to the end and opens by itself.
        action = ["--target-action=promote"] if type_ not in {"default", "none"} else []
        if pause:
            action = ["--target-action=pause"]
            if self.wal_directory.exists():
                # To ask pgBackRest for each segment takes most of a short recovery's time.
                copy = f'cp "{self.wal_directory}/%f" "%p" 2>/dev/null'
                stanza = f"--stanza={self.site.backup.stanza}"
                fetch = f'pgbackrest --config={self._pgbackrest_file} {stanza} archive-get %f "%p"'
                action.append(f"--recovery-option=restore_command={copy} || {fetch}")
        finished = self.archive().restore(
            data,
            repository=self.repository,
            type_=type_,
            target=target,
            backup_label=backup_label,
            options=["--archive-mode=off", "--delta", "--log-level-console=detail", *action],
            environment={MARKER: str(self.twin.directory)},
            timeout_seconds=timeout_seconds,
        )
        fetched, present = read_restore_log(finished.output)
        restored = Restored(
            time.monotonic() - started, len(fetched), _bytes(fetched), len(present), _bytes(present)
        )
        self._strip(data)
        self._write_server_configuration()
        return restored

    def clone(self, source: str, *, timeout_seconds: float) -> float:
        """Copy a running server into the data directory (pg_basebackup); returns the seconds.

        `source` is a libpq string of a role that may replicate. What an earlier attempt left is
        copied anew. The copy is a standby of nobody: `start(standby=True)`, then `promote`.
        """
        end(one for one in self.twin.processes() if one.command in {"pg_basebackup", "postgres"})
        data, started = self.twin.data_directory, time.monotonic()
        shutil.rmtree(data, ignore_errors=True)
        data.mkdir(mode=0o700)
        own(data, self._user)
        # Not in the twin's namespace, which reaches nobody; the slot is a temporary one.
        run(
            [
                self.bin_directory / "pg_basebackup",
                f"--pgdata={data}",
                f"--dbname={source}",
                "--wal-method=stream",
                "--checkpoint=fast",
                "--manifest-checksums=SHA256",
            ],
            timeout_seconds=timeout_seconds,
            as_user=self._user,
            environment={MARKER: str(self.twin.directory)},
        )
        run(
            [self.bin_directory / "pg_verifybackup", data],
            timeout_seconds=timeout_seconds,
            as_user=self._user,
        )
        self._strip(data)
        write_atomically(data / "standby.signal", "", mode=0o600, owner=self._user)
        self._write_server_configuration()
        return time.monotonic() - started

    def promote(self, *, timeout_seconds: float) -> float:
        """Promote the clone; returns the seconds until it accepts writes. Promoted is fine."""
        started = time.monotonic()
        with self.connect_local() as connection:
            if value(connection, "SELECT pg_is_in_recovery()") and not value(
                connection, f"SELECT pg_promote(true, {int(timeout_seconds)})"
            ):
                raise InfrastructureError(
                    f"the clone of twin {self.twin.run_id} was not promoted in "
                    f"{timeout_seconds:g} s",
                    f"read {self.twin.log_directory / 'postgresql.log'}",
                )
        return time.monotonic() - started

    def configure(self) -> None:
        """Write the twin's pgBackRest file: the site's with one repository and its own folders."""
        parser = self._site_configuration()
        own_folders = {}
        for kind in ("spool", "lock", "log"):
            folder = self.twin.directory / f"pgbackrest-{kind}"
            folder.mkdir(exist_ok=True)
            own(folder, self._user)
            own_folders[f"{kind}-path"] = str(folder)
        for section in parser.sections():
            for option in list(parser[section]):
                other_repository = re.match(r"repo(\d+)-", option)
                if (
                    (other_repository and int(other_repository[1]) != self.repository)
                    or re.match(r"(pg\d+-|archive-)", option)
                    or option in own_folders
                ):
                    parser.remove_option(section, option)
        parser["global"].update(own_folders)
        prefix = f"repo{self.repository}-"
        if self.repository_path is not None:
            parser["global"][f"{prefix}path"] = self.repository_path
        if self.local:
            for option in list(parser["global"]):
                if option.startswith((f"{prefix}s3-", f"{prefix}storage-")):
                    parser.remove_option("global", option)
            parser["global"][f"{prefix}type"] = "posix"
        stanza = self.site.backup.stanza
        if not parser.has_section(stanza):
            parser.add_section(stanza)
        parser[stanza]["pg1-path"] = str(self.twin.data_directory)
        parser[stanza]["pg1-socket-path"] = str(self.twin.run_directory)
        parser[stanza]["pg1-port"] = str(self.port)
        text = io.StringIO()
        parser.write(text, space_around_delimiters=False)
        # It holds the repository's keys, as the site's own file does.
        write_atomically(self._pgbackrest_file, text.getvalue(), mode=0o600, owner=self._user)

    def archive(self) -> PgBackRest:
        """pgBackRest as the twin uses it, once `configure` or `restore` has written its file."""
        return PgBackRest(self._environment, self.site, config_file=self._pgbackrest_file)

    def recover_further(self, xid: str, *, timeout_seconds: float = 600.0) -> None:
        """Let a paused recovery go on up to another transaction, which must be a later one.

        A recovery does not go back: for that, `restore`.
        """
        self.stop()
        auto = self.twin.data_directory / "postgresql.auto.conf"
        kept = [line for line in auto.read_text().splitlines() if not _TARGET.match(line)]
        kept += [f"recovery_target_xid = '{int(xid)}'", "recovery_target_action = 'pause'"]
        write_atomically(auto, "\n".join(kept) + "\n", mode=0o600, owner=self._user)
        self.start(paused=True, timeout_seconds=timeout_seconds)

    def start(
        self, *, paused: bool = False, standby: bool = False, timeout_seconds: float = 600.0
    ) -> float:
        """Start the server in the namespace; returns the seconds until it accepts writes.

        With `paused`: until its recovery has stopped at the target, where it can be read. With
        `standby`: until it can be read.
        """
        for gateway in self.gateways():
            self.twin.open_gateway(*gateway)
        started = time.monotonic()
        process = self.twin.spawn(
            "postgresql",
            [
                self.bin_directory / "postgres",
                "-D",
                self.twin.data_directory,
                f"--config-file={self._conf}",
            ],
            as_user=self._user,
        )
        is_ready = self._is_paused if paused else self._is_open
        if standby:
            is_ready = self._is_readable
        while not is_ready():
            if not process.is_alive() or time.monotonic() - started > timeout_seconds:
                log = self.twin.log_directory / "postgresql.log"
                tail = " | ".join(log.read_text(errors="replace").splitlines()[-6:])
                raise InfrastructureError(
                    f"the restored database of twin {self.twin.run_id} did not open: {tail}",
                    "the backup cannot be recovered to this target: try another one",
                )
            time.sleep(0.05)
        return time.monotonic() - started

    def segment_bytes(self) -> int:
        """The size of a WAL segment of the restored database."""
        found = re.search(r"^Bytes per WAL segment:\s+(\d+)", self._control(), re.MULTILINE)
        return int(found[1]) if found else 1 << 24

    def connect_local(self, database: str = "postgres") -> Connection:
        """Connect as the superuser by the twin's unix socket (which needs no network)."""
        parameters = {
            "host": str(self.twin.run_directory),
            "port": str(self.port),
            "dbname": database,
            "user": "postgres",
            "connect_timeout": "3",
            "application_name": "anlan-twin",
        }
        return connect(parameters, f"the database of twin {self.twin.run_id}")

    def stop(self) -> None:
        """Stop the server cleanly; a stopped one is fine."""
        run(
            [
                self.bin_directory / "pg_ctl",
                "stop",
                "--mode=fast",
                "--timeout=60",
                f"--pgdata={self.twin.data_directory}",
            ],
            timeout_seconds=70.0,
            as_user=self._user,
            accept=(0, 1),
        )
        if self._is_open():
            raise InfrastructureError(
                f"the database of twin {self.twin.run_id} does not stop", "remove the twin"
            )

    def _is_open(self) -> bool:
        return self._answers("SELECT NOT pg_is_in_recovery()")

    def _is_readable(self) -> bool:
        return self._answers("SELECT true")

    def _is_paused(self) -> bool:
        # Refused before the recovery is consistent, and an error after it.
        return self._answers("SELECT pg_get_wal_replay_pause_state() = 'paused'")

    def _answers(self, question: str) -> bool:
        try:
            with self.connect_local() as connection:
                return bool(value(connection, question))
        except (InfrastructureError, psycopg.Error):
            return False

    def _site_configuration(self) -> configparser.RawConfigParser:
        file = self.site.backup.config_file
        parser = configparser.RawConfigParser(strict=False, delimiters=("=",))
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        try:
            parser.read_string(file.read_text())
            parser["global"]
        except (OSError, configparser.Error, KeyError) as error:
            raise InfrastructureError(
                f"no pgBackRest configuration in {file}: {error}", "apply the role `pgbackrest`"
            ) from error
        return parser

    def _strip(self, data: Path) -> None:
        """Leave in postgresql.auto.conf what recovery needs: no primary, slot or standby names."""
        auto = data / "postgresql.auto.conf"
        kept = [line for line in auto.read_text().splitlines() if _KEPT_IN_AUTO_CONF.match(line)]
        write_atomically(auto, "\n".join(kept) + "\n", mode=0o600, owner=self._user)
        (data / "standby.signal").unlink(missing_ok=True)

    def _control(self) -> str:
        command = [self.bin_directory / "pg_controldata", self.twin.data_directory]
        return run(command, timeout_seconds=30.0, as_user=self._user).output

    def _write_server_configuration(self) -> None:
        control = self._control()
        limits = []
        for name in _CONTROL_SETTINGS:
            found = re.search(rf"^{name} setting:\s+(\d+)", control, re.MULTILINE)
            if found:
                limits.append(f"{_NAMES.get(name, name)} = {found[1]}")
        etc = self.twin.directory / "etc"
        # The audit extension's triggers need their library; the twin loads and audits as its site.
        site = self.site.database.config_file.read_text()
        limits += re.findall(
            r"^\s*(?:shared_preload_libraries|pgaudit\.\w+|log_line_prefix)\s*=.*$",
            site,
            re.MULTILINE,
        )
        lines = [
            "# Written by anlan: the server of an isolated twin.",
            f"hba_file = '{etc}/pg_hba.conf'",
            f"ident_file = '{etc}/pg_ident.conf'",
            "listen_addresses = '127.0.0.1'",
            f"port = {self.port}",
            f"unix_socket_directories = '{self.twin.run_directory}'",
            "ssl = off",
            "archive_mode = off",
            "synchronous_standby_names = ''",
            "logging_collector = off",
            "log_timezone = 'UTC'",
            "timezone = 'UTC'",
            "autovacuum = off",
            *limits,
        ]
        ident = {"root", self._user}
        texts = {
            "postgresql.conf": "\n".join(lines) + "\n",
            "pg_hba.conf": _HBA,
            "pg_ident.conf": "".join(f"twin {user} postgres\n" for user in sorted(ident)),
        }
        for name, text in texts.items():
            write_atomically(etc / name, text, mode=0o600, owner=self._user)


def read_restore_log(text: str) -> tuple[list[Path], list[Path]]:
    """Of `restore --log-level-console=detail`: the files fetched, and those that were there."""
    fetched: list[Path] = []
    present: list[Path] = []
    for name, there in re.findall(
        r"DETAIL: restore (?:zeroed )?file (.+?)( - exists and [a-z ]+)? \((?:bundle |\d)", text
    ):
        # The control file is renamed when all else is in place.
        (present if there else fetched).append(Path(name.removesuffix(".pgbackrest.tmp")))
    return fetched, present


def _bytes(files: list[Path]) -> int:
    return sum(file.stat().st_size for file in files)
