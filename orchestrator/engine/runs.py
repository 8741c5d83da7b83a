"""Run directories: `<state>/runs/<run_id>/`, made whole at once, locked while a process works.

Who works on a run holds its lock and touches it every second. A process that was stopped, or hangs
as a whole, keeps the lock but no longer touches it: the run is stalled. It is ended before another
takes the run over, so there are never two at work, whatever wakes up later.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import select
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from orchestrator.drivers.files import sync_directory
from orchestrator.drivers.processes import process_entry
from orchestrator.evidence import layout, redaction
from orchestrator.model.errors import InfrastructureError, InputError, Refused
from orchestrator.probes.journal import boot_id
from orchestrator.steps.journal import StepJournal

JOURNAL = "raw/steps.jsonl"
STALLED_SECONDS = 15.0
"""Who has not touched its run's lock for so long is taken for stopped."""

_ROOM_BYTES = 32 * 2**20
_BEAT_SECONDS = 1.0
_KILL_SECONDS = 10.0


@dataclass(frozen=True)
class Run:
    """A run on disk. `result` is run.json, None while it is not finished."""

    directory: Path
    plan: Mapping[str, Any]
    result: Mapping[str, Any] | None

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.directory.name

    @property
    def journal(self) -> StepJournal:
        """The journal of its steps."""
        return StepJournal(self.directory / JOURNAL, self.run_id)

    def reload(self) -> Run:
        """The run as it is on disk now."""
        return _read(self.directory)

    @property
    def is_alive(self) -> bool:
        """Whether a process holds it now."""
        with _lock_file(self.directory) as stream:
            return not _locks(stream)

    @property
    def state(self) -> str:
        """finished, running, interrupted (resume it), planned (nothing was begun), or stalled.

        Stalled: its process is there and has not moved for STALLED_SECONDS.
        """
        if (self.directory / layout.PROOFS["run"]).exists() and self.result is not None:
            return "finished"
        if self.is_alive:
            return "stalled" if _still_seconds(self.directory) > STALLED_SECONDS else "running"
        return "interrupted" if (self.directory / JOURNAL).exists() else "planned"


def ask_to_end(run: Run, reason: str) -> None:
    """Ask a run to end after its present step; its undo runs as always. The first reason stays."""
    with contextlib.suppress(FileExistsError), (run.directory / "abort").open("x") as stream:
        stream.write(reason)


def asked_to_end(run: Run) -> str | None:
    """Why the run was asked to end; None if it was not."""
    file = run.directory / "abort"
    return file.read_text() if file.exists() else None


def require_room(state: Path, todo: str) -> None:
    """Raise InfrastructureError on a full disk: DBOS would try again for ever, silently."""
    state.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(state).free
    if free < _ROOM_BYTES:
        needed = f"{_ROOM_BYTES / 2**20:.0f}"
        raise InfrastructureError(
            f"{free / 2**20:.0f} MiB are free in {state}, a run needs {needed}", todo
        )


def new_run_id(drill: str, now: datetime) -> str:
    """Return an id that sorts by time: drill, UTC time, four random hex digits."""
    return f"{drill}-{now.astimezone(UTC):%Y%m%dt%H%M%S}-{secrets.token_hex(2)}"


def create(
    state: Path,
    plan: Mapping[str, Any],
    drill_text: str,
    environment: bytes,
    policies: Mapping[str, bytes],
) -> Run:
    """Make the directory of a run, with all that its plan is about.

    Raises InputError when a secret is in it, InfrastructureError when it cannot be made, also when
    there is one of this id.
    """
    runs = state / "runs"
    final = runs / str(plan["run_id"])
    fresh = runs / f".{plan['run_id']}"
    files = {
        "plan.json": json.dumps(plan, indent=1, ensure_ascii=False).encode(),
        "drill.yaml": drill_text.encode(),
        "environment.json": environment,
        **{f"policies/{name}": content for name, content in policies.items()},
    }
    redaction.require_none(files)
    try:
        runs.mkdir(parents=True, exist_ok=True)
        with (runs / ".making").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            shutil.rmtree(fresh, ignore_errors=True)
            for name, content in files.items():
                (fresh / name).parent.mkdir(parents=True, exist_ok=True)
                with (fresh / name).open("wb") as stream:
                    stream.write(content)
                    stream.flush()
                    os.fsync(stream.fileno())
            fresh.rename(final)
            sync_directory(runs)
    except OSError as error:
        shutil.rmtree(fresh, ignore_errors=True)
        raise InfrastructureError(
            f"cannot make the run directory {final}: {error}", "make room, or its folder writable"
        ) from error
    return load(state, final.name)


def load(state: Path, run_id: str) -> Run:
    """Read a run; `run_id` may be cut short if it stays unique. Raises InputError."""
    runs = state / "runs"
    found = [path for path in _directories(runs) if path.name == run_id]
    found = found or [path for path in _directories(runs) if path.name.startswith(run_id)]
    if len(found) != 1:
        known = ", ".join(path.name for path in found) or "see `anlan drill history`"
        what = "is ambiguous" if found else "does not exist"
        raise InputError(f"run {run_id!r} {what}", known, file=str(runs))
    return _read(found[0])


def history(state: Path) -> list[Run]:
    """Every run of a state directory, the oldest first."""
    return [_read(path) for path in _directories(state / "runs")]


@contextmanager
def locked(directory: Path, *, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold a run while working on it; the kernel lets go when the process dies.

    Raises Refused while another process holds it, after waiting for it.
    """
    deadline = time.monotonic() + wait_seconds
    with _lock_file(directory) as stream:
        while not _locks(stream):
            if time.monotonic() < deadline:
                time.sleep(0.05)
                continue
            raise _held(directory)
        stream.truncate(0)
        me = process_entry(os.getpid())
        holder = {"boot": boot_id(), "pid": os.getpid(), "started": me.started if me else 0}
        stream.write(json.dumps(holder))
        stream.flush()
        over = threading.Event()
        beat = threading.Thread(target=_beat, args=(stream.fileno(), over), daemon=True)
        beat.start()
        try:
            yield
        finally:
            over.set()
            beat.join()


def end_stalled(run: Run) -> bool:
    """SIGKILL the process that holds a stalled run; whether there was one.

    Then the run is interrupted like any whose process died. Raises Refused when that process
    cannot be ended from here.
    """
    if run.state != "stalled":
        return False
    holder = _holder(run.directory)
    if not holder:
        return False  # it took the lock a moment ago
    if holder["boot"] != boot_id():
        raise _held(run.directory)
    try:
        descriptor = os.pidfd_open(holder["pid"])
    except ProcessLookupError:
        return False
    try:
        entry = process_entry(holder["pid"])
        if entry is None or entry.started != holder["started"]:
            return False
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        select.select([descriptor], [], [], _KILL_SECONDS)
    except PermissionError as error:
        raise _held(run.directory) from error
    finally:
        os.close(descriptor)
    return not run.is_alive


def _lock_file(directory: Path) -> TextIO:
    return (directory / ".lock").open("a+")


def _beat(descriptor: int, over: threading.Event) -> None:
    while not over.wait(_BEAT_SECONDS):
        os.utime(descriptor)


def _still_seconds(directory: Path) -> float:
    """For how long the holder of a run's lock has not touched it."""
    return max(0.0, time.time() - (directory / ".lock").stat().st_mtime)


def _holder(directory: Path) -> dict[str, Any]:
    """Who wrote itself into a run's lock last; empty when that cannot be read."""
    try:
        found = json.loads((directory / ".lock").read_text())
        return {"boot": str(found["boot"]), "pid": int(found["pid"]), "started": found["started"]}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def _held(directory: Path) -> Refused:
    holder, still = _holder(directory), _still_seconds(directory)
    what = f"run {directory.name} is worked on by process {holder.get('pid', '(unknown)')}"
    if still <= STALLED_SECONDS:
        return Refused(what, f"watch it: `anlan drill status {directory.name}`")
    where = "" if holder.get("boot") == boot_id() else " of another host"
    return Refused(
        f"{what}{where}, which has not moved for {still:.0f} s",
        f"`anlan worker` ends it and takes the run over; by hand: kill -9 it, then "
        f"`anlan drill resume {directory.name}`",
    )


def _locks(stream: TextIO) -> bool:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _directories(runs: Path) -> list[Path]:
    """The run directories; one is whole as soon as it has its name."""
    if not runs.is_dir():
        return []
    found = [path for path in runs.iterdir() if not path.name.startswith(".")]
    return sorted(found, key=lambda path: (path.name.split("-")[-2:], path.name))


def _read(directory: Path) -> Run:
    try:
        plan = json.loads((directory / "plan.json").read_text())
        result_file = directory / "run.json"
        result = json.loads(result_file.read_text()) if result_file.exists() else None
    except (OSError, ValueError) as error:
        raise InfrastructureError(
            f"run {directory.name} cannot be read: {error}", f"look at {directory}"
        ) from error
    return Run(directory, plan, result)
