"""An isolated twin: a place to restore into that cannot reach production.

A twin is a directory below ROOT/twins and a network namespace with a loopback interface and
nothing else, held by one process. One gateway leads out: to the backup repository, for the WAL
that recovery fetches; it is a pair of socat processes joined by a unix socket in the directory.
Every process of the twin carries ANLAN_TWIN=<directory>. The isolation is that of the network: the
file system is the host's. A twin has a time to live, after which its holder removes it; `reap`
removes those whose holder died.

The data directory of a *kept* twin is not in it, but in ROOT/kept, and stays when the twin goes:
the next one restores onto it what has changed. One twin at a time has it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.drivers.files import own, write_atomically
from orchestrator.drivers.process import Finished, run, spawn
from orchestrator.drivers.processes import (
    ProcessEntry,
    belongs,
    end,
    process_entry,
    processes_of,
    send,
)
from orchestrator.model.environment import Environment
from orchestrator.model.errors import InfrastructureError

MARKER = "ANLAN_TWIN"
_PART = "ANLAN_TWIN_PART"
_KILL_TIMEOUT_SECONDS = 10.0
_START_TIMEOUT_SECONDS = 10.0
_RECORD = "twin.json"


@dataclass(frozen=True)
class Residue:
    """What is left of a twin: its live processes, and whether its directory exists."""

    processes: tuple[ProcessEntry, ...]
    directory_exists: bool

    @property
    def is_zero(self) -> bool:
        """Whether nothing is left."""
        return not self.processes and not self.directory_exists


class Twin:
    """The twin of one run. `create` is idempotent; verbs raise InfrastructureError."""

    def __init__(
        self, environment: Environment, run_id: str, service_user: str, *, kept: bool = False
    ) -> None:
        """`kept`: its database is in the data directory that outlives the environment's twins."""
        self.environment = environment
        self.run_id = run_id
        self.service_user = service_user
        # A short name: the paths of unix sockets are limited to 107 bytes.
        name = hashlib.sha256(run_id.encode()).hexdigest()[:8]
        self.directory = twins_directory(environment) / name
        self.run_directory = self.directory / "run"
        self.log_directory = self.directory / "log"
        self._kept = environment.root / "kept" if kept else None
        self.data_directory = (self._kept or self.directory) / "data"

    def create(self, *, ttl_seconds: float) -> None:
        """Make the directory and the namespace; a twin that is there keeps its time to live."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self.directory.parent.chmod(0o755)
            self.directory.chmod(0o755)
            for folder in (self.directory / "etc", self.run_directory, self.log_directory):
                folder.mkdir(exist_ok=True, mode=0o755)
                own(folder, self.service_user)
            record = self.directory / _RECORD
            if not record.exists():
                data = {"run_id": self.run_id, "expires_unix": time.time() + ttl_seconds}
                write_atomically(record, json.dumps(data) + "\n")
        except OSError as error:
            raise InfrastructureError(
                f"cannot make the twin {self.directory}: {error}", "make its parent writable"
            ) from error
        if self._kept is not None:
            self._claim(self._kept)
        if self._holder() is None:
            self._start_holder()

    @property
    def expires(self) -> datetime:
        """When the twin is removed by its holder or the reaper (UTC)."""
        return datetime.fromtimestamp(_expires_unix(self.directory), UTC)

    def inside(self) -> list[str]:
        """The arguments in front of a command that make it run in the twin's namespace."""
        holder = self._holder()
        if holder is None:
            raise InfrastructureError(
                f"the twin {self.directory} has no namespace", "create it (again) first"
            )
        user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        return ["nsenter", f"--target={holder.pid}", *user, "--net", "--"]

    def run(
        self,
        arguments: Sequence[str | Path],
        *,
        timeout_seconds: float,
        as_user: str | None = None,
        stdin: str | None = None,
        secrets: Sequence[str] = (),
        accept: Sequence[int] = (0,),
        directory: Path | None = None,
    ) -> Finished:
        """Run a command in the namespace and return how it ended."""
        return run(
            arguments,
            timeout_seconds=timeout_seconds,
            as_user=as_user,
            inside=self.inside(),
            environment={MARKER: str(self.directory)},
            stdin=stdin,
            secrets=secrets,
            accept=accept,
            directory=directory,
        )

    def spawn(
        self, name: str, arguments: Sequence[str | Path], *, as_user: str | None = None
    ) -> ProcessEntry:
        """Start a server in the namespace, once: a live one of this name is returned as it is."""
        return self._once(name, arguments, inside=self.inside(), as_user=as_user)

    def open_gateway(self, address: str, port: int) -> None:
        """Let the twin reach one TCP endpoint, the backup repository, at its own address."""
        # nodelay: else each small file that recovery asks for waits 0.1 s for delayed ACKs.
        link = self.run_directory / f"gateway-{port}-{address}.sock"
        self._once(
            f"gateway-out-{address}-{port}",
            [
                "socat",
                f"UNIX-LISTEN:{link},fork,mode=0600,unlink-early",
                f"TCP:{address}:{port},nodelay",
            ],
        )
        listen = f"TCP-LISTEN:{port},bind={address},fork,reuseaddr,nodelay"
        self.spawn(f"gateway-in-{address}-{port}", ["socat", listen, f"UNIX-CONNECT:{link}"])
        deadline = time.monotonic() + _START_TIMEOUT_SECONDS
        attempt = ["socat", "-u", "OPEN:/dev/null", f"TCP:{address}:{port},connect-timeout=1"]
        while self.run(attempt, timeout_seconds=5.0, accept=range(256)).exit_code:
            if time.monotonic() > deadline:
                raise InfrastructureError(
                    f"the gateway of twin {self.directory} to {address}:{port} does not open",
                    f"read the logs gateway-* in {self.log_directory}",
                )
            time.sleep(0.05)

    def namespace(self) -> int:
        """The inode of the twin's network namespace."""
        holder = self._holder()
        if holder is None:
            raise InfrastructureError(f"the twin {self.directory} has no namespace", "create it")
        return namespace_of(holder.pid)

    def processes(self) -> tuple[ProcessEntry, ...]:
        """The live processes of the twin; a server works in its data directory, kept or not."""
        found = processes_of(self.directory, MARKER)
        if self._kept is not None:
            found += processes_of(self._kept, MARKER)
        return tuple(dict.fromkeys(found))

    def remove(self) -> None:
        """End every process of the twin and delete its directory; once is enough, twice is fine.

        A kept data directory stays.
        """
        remove_directory(self.directory)
        end(self.processes())

    def residue(self) -> Residue:
        """What is left of the twin."""
        return Residue(self.processes(), self.directory.exists())

    def _claim(self, kept: Path) -> None:
        """Take the kept data directory over: the twin that had it last is removed before."""
        try:
            kept.mkdir(exist_ok=True, mode=0o755)
            note = kept / "twin"
            last = note.read_text().strip() if note.exists() else ""
            if last and last != self.directory.name:
                remove_directory(self.directory.parent / last)
            write_atomically(note, f"{self.directory.name}\n")
        except OSError as error:
            raise InfrastructureError(
                f"cannot use the kept directory {kept}: {error}", "delete it: it is made anew"
            ) from error

    def _once(
        self,
        name: str,
        arguments: Sequence[str | Path],
        *,
        inside: Sequence[str] = (),
        as_user: str | None = None,
    ) -> ProcessEntry:
        pid_file = self.run_directory / f"{name}.pid"
        if (there := self._process(pid_file) or self._nameless(name)) is not None:
            return there
        entry = spawn(
            arguments,
            log_file=self.log_directory / f"{name}.log",
            as_user=as_user,
            inside=inside,
            environment={MARKER: str(self.directory), _PART: name},
            directory=self.directory,
        )
        write_atomically(pid_file, f"{entry.pid} {entry.started}\n")
        return entry

    def _process(self, pid_file: Path) -> ProcessEntry | None:
        try:
            pid, started = map(int, pid_file.read_text().split())
        except (OSError, ValueError):
            return None
        entry = process_entry(pid)
        return entry if entry and entry.started == started else None

    def _nameless(self, name: str) -> ProcessEntry | None:
        """A part that was started by a run that was killed before it noted the pid."""
        part = f"{_PART}={name}".encode()
        for entry in self.processes():
            with contextlib.suppress(OSError):
                if part in Path(f"/proc/{entry.pid}/environ").read_bytes().split(b"\0"):
                    return entry
        return None

    def _holder(self) -> ProcessEntry | None:
        entry = self._process(self.run_directory / "holder.pid")
        return entry if entry and belongs(entry.pid, self.directory, MARKER) else None

    def _start_holder(self) -> None:
        ready = self.run_directory / "namespace.ready"
        ready.unlink(missing_ok=True)
        user = [] if os.geteuid() == 0 else ["--user", "--map-current-user", "--keep-caps"]
        module = [sys.executable, "-m", "orchestrator.drivers.twin_holder"]
        expires = str(_expires_unix(self.directory))
        entry = self._once(
            "holder", ["unshare", *user, "--net", "--", *module, str(self.directory), expires]
        )
        deadline = time.monotonic() + _START_TIMEOUT_SECONDS
        while not ready.exists():
            if not entry.is_alive() or time.monotonic() > deadline:
                raise InfrastructureError(
                    f"no network namespace for the twin {self.directory}",
                    f"read {self.log_directory / 'holder.log'}; without root the kernel must "
                    "allow user namespaces",
                )
            time.sleep(0.01)


def twins_directory(environment: Environment) -> Path:
    """The directory below which the twins of an environment live."""
    return environment.root / "twins"


def namespace_of(pid: int | str) -> int:
    """The inode of the network namespace of a process (`self` for this one)."""
    try:
        return Path(f"/proc/{pid}/ns/net").stat().st_ino
    except OSError as error:
        raise InfrastructureError(
            f"cannot read the network namespace of process {pid}: {error}", "is it still alive?"
        ) from error


def reap(environment: Environment) -> tuple[Path, ...]:
    """Remove every twin whose time is over (or that has no readable record); returns which."""
    removed = []
    parent = twins_directory(environment)
    for directory in sorted(parent.iterdir()) if parent.is_dir() else ():
        if directory.is_dir() and _expires_unix(directory) < time.time():
            remove_directory(directory)
            removed.append(directory)
    return tuple(removed)


def remove_directory(directory: Path) -> None:
    """SIGKILL the processes of a twin's directory until none is left, then delete it.

    Raises InfrastructureError when one survives 10 s or the directory cannot be deleted.
    """
    deadline = time.monotonic() + _KILL_TIMEOUT_SECONDS
    while left := processes_of(directory, MARKER):
        if time.monotonic() > deadline:
            raise InfrastructureError(
                f"processes {[entry.pid for entry in left]} of twin {directory} survive SIGKILL",
                "look at them (`ps -o stat,wchan`), then remove the twin again",
            )
        for entry in left:
            send(entry.pid, signal.SIGKILL)
        time.sleep(0.01)
    try:
        while directory.exists():
            # Its holder and the reaper may remove it at the same time.
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(directory)
    except OSError as error:
        raise InfrastructureError(
            f"cannot delete the twin {directory}: {error}", "delete it, or run the reaper as root"
        ) from error


def _expires_unix(directory: Path) -> float:
    """When a twin's time is over; a twin that was never fully made is over at once."""
    try:
        return float(json.loads((directory / _RECORD).read_text())["expires_unix"])
    except (OSError, ValueError, KeyError):
        return 0.0
