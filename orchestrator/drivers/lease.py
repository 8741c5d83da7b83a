"""One destructive run per environment: a lease on a file, with a fencing token.

The token is a counter that only grows. Whoever acquires gets the next number, also who
resumes the same run; a destructive verb
presents its number and is refused unless it is the number of the holder now. So a run that was
overtaken (aborted, released and replaced) can do no more harm, even if its process still lives.
The file is replaced whole under a lock of the kernel, which ends with the process that held it:
kill -9 at any moment leaves the old lease or the new one.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from orchestrator.drivers.files import write_atomically
from orchestrator.drivers.processes import process_entry
from orchestrator.model.errors import InfrastructureError, Refused


@dataclass(frozen=True)
class Lease:
    """Who holds the environment. `run_id` is empty when nobody does; times are aware UTC."""

    token: int
    run_id: str
    since: datetime | None
    expires: datetime | None
    holder: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_held(self) -> bool:
        """Whether a run holds it and has not let its time run out."""
        return bool(self.run_id) and (self.expires is None or datetime.now(UTC) < self.expires)


_FREE = Lease(token=0, run_id="", since=None, expires=None)


@dataclass(frozen=True)
class LeaseFile:
    """The lease of one environment at `path` (descriptor: lease_file)."""

    path: Path

    def acquire(
        self,
        run_id: str,
        holder: Mapping[str, str] | None = None,
        *,
        ttl_seconds: float | None = None,
    ) -> int:
        """Take the lease for `run_id` and return its fencing token.

        A process that holds it for this run already gets the same token again. Another process
        (resume) gets the next one, so what is left of the one before it is refused. Raises Refused
        while another run holds it, InfrastructureError when the file cannot be used.
        """
        if not run_id:
            raise ValueError("a lease needs a run id")
        now = datetime.now(UTC)
        with self._locked():
            lease = self._read()
            if lease.is_held and lease.run_id != run_id:
                raise Refused(_held_text(lease, self.path), _held_todo(lease))
            again = lease.run_id == run_id
            me = _this_process()
            same = again and {key: lease.holder.get(key) for key in me} == me
            taken = Lease(
                token=lease.token if same else lease.token + 1,
                run_id=run_id,
                since=lease.since if again else now,
                expires=now + timedelta(seconds=ttl_seconds) if ttl_seconds is not None else None,
                holder={**me, **(holder or {})},
            )
            self._write(taken)
            return taken.token

    def current(self) -> Lease:
        """The lease as it is now. Raises InfrastructureError when the file is damaged."""
        return self._read()

    def release(self, run_id: str) -> bool:
        """Give the lease back; False when `run_id` does not hold it (nothing is changed then).

        Raises InfrastructureError.
        """
        with self._locked():
            lease = self._read()
            if lease.run_id != run_id:
                return False
            self._write(Lease(token=lease.token, run_id="", since=None, expires=None))
            return True

    def check(self, token: int) -> None:
        """Return if `token` is the one of the run that holds the lease now; else raise Refused."""
        lease = self._read()
        if lease.is_held and lease.token == token:
            return
        state = (
            f"it is held by run {lease.run_id} with token {lease.token}"
            if lease.is_held
            else "no run holds it"
        )
        raise Refused(
            f"fencing token {token} is not valid for the lease {self.path}: {state}",
            "this run was overtaken or released: start a new run, do not force this one",
        )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.with_name(self.path.name + ".lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise InfrastructureError(
                f"cannot use the lease {self.path}: {error}", "make its folder writable"
            ) from error

    def _read(self) -> Lease:
        try:
            return _parse(json.loads(self.path.read_text()))
        except FileNotFoundError:
            return _FREE
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InfrastructureError(
                f"the lease {self.path} cannot be read: {error}",
                "see that no run is alive, then restore the file or remove it",
            ) from error

    def _write(self, lease: Lease) -> None:
        data = {
            "token": lease.token,
            "run_id": lease.run_id,
            "since": lease.since.isoformat() if lease.since else None,
            "expires": lease.expires.isoformat() if lease.expires else None,
            "holder": dict(lease.holder),
        }
        write_atomically(self.path, json.dumps(data, indent=1) + "\n")


def _this_process() -> dict[str, str]:
    entry = process_entry(os.getpid())
    started = str(entry.started) if entry else ""
    return {"host": socket.gethostname(), "pid": str(os.getpid()), "started": started}


def _parse(data: dict[str, Any]) -> Lease:
    def when(text: str | None) -> datetime | None:
        return datetime.fromisoformat(text) if text else None

    return Lease(
        token=int(data["token"]),
        run_id=str(data["run_id"]),
        since=when(data["since"]),
        expires=when(data["expires"]),
        holder={str(key): str(value) for key, value in data["holder"].items()},
    )


def _held_text(lease: Lease, path: Path) -> str:
    since = f"{lease.since:%Y-%m-%dT%H:%M:%SZ}" if lease.since else "an unknown time"
    who = ", ".join(f"{key} {value}" for key, value in sorted(lease.holder.items()))
    return f"the environment is held by run {lease.run_id} since {since} ({who}; {path})"


def _held_todo(lease: Lease) -> str:
    return (
        f"wait for it, resume it (`anlan drill resume {lease.run_id}`) "
        f"or abort it (`anlan drill abort {lease.run_id}`)"
    )
