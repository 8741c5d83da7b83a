"""Probes as processes of their own: they outlive the orchestrator and end by themselves.

A probe ends when its stop file appears, its directory vanishes or its time is over. Its settings,
secrets among them, reach it by standard input.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.drivers.files import write_atomically
from orchestrator.drivers.process import spawn
from orchestrator.drivers.processes import ProcessEntry, process_entry, send
from orchestrator.model.errors import InfrastructureError
from orchestrator.probes.journal import JournalWriter
from orchestrator.verdict.journal import FILE

MARKER = "ANLAN_PROBE"
_START_TIMEOUT_SECONDS = 15.0
_END_GRACE_SECONDS = 6.0


@dataclass(frozen=True)
class Probe:
    """The probe that `module` runs with `directory` for its journal, pid file and stop file."""

    module: str
    directory: Path

    @property
    def journal_file(self) -> Path:
        """The journal it writes."""
        return self.directory / FILE

    def start(self, settings: Mapping[str, Any]) -> None:
        """Start it, unless it runs. Returns once its journal has begun.

        Raises InfrastructureError.
        """
        if self.is_running():
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "stop").unlink(missing_ok=True)
        before = self.journal_file.stat().st_size if self.journal_file.exists() else 0
        log = self.directory / "probe.log"
        entry = spawn(
            [sys.executable, "-m", self.module, self.directory],
            log_file=log,
            environment={MARKER: str(self.directory)},
            stdin=json.dumps(dict(settings)),
        )
        deadline = time.monotonic() + _START_TIMEOUT_SECONDS
        while not self.journal_file.exists() or self.journal_file.stat().st_size <= before:
            if not entry.is_alive() or time.monotonic() > deadline:
                raise InfrastructureError(f"the probe {self.module} did not start", f"read {log}")
            time.sleep(0.01)

    def stop(self, *, timeout_seconds: float = 15.0) -> None:
        """Ask it to end and wait; it is killed if it takes too long. A stopped one is fine."""
        entry = self._process()
        if self.directory.is_dir():
            (self.directory / "stop").touch()
        deadline = time.monotonic() + timeout_seconds
        while entry and entry.is_alive():
            if time.monotonic() > deadline:
                send(entry.pid, signal.SIGKILL)
            time.sleep(0.02)

    def is_running(self) -> bool:
        """Whether it lives."""
        return self._process() is not None

    def _process(self) -> ProcessEntry | None:
        try:
            pid, started = map(int, (self.directory / "pid").read_text().split())
        except (OSError, ValueError):
            return None
        entry = process_entry(pid)
        return entry if entry and entry.started == started else None


class Stopper:
    """Says, inside the probe, when to end; `wait` pauses and returns True when it is time."""

    def __init__(self, directory: Path, max_seconds: float) -> None:
        self._directory = directory
        self._deadline = time.monotonic() + max_seconds
        self._event = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def is_set(self) -> bool:
        """Whether it is time to end."""
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Pause for at most `seconds`."""
        return self._event.wait(max(0.0, seconds))

    def _watch(self) -> None:
        stop = self._directory / "stop"
        while not stop.exists() and self._directory.is_dir() and time.monotonic() < self._deadline:
            time.sleep(0.05)
        self._event.set()


def run_threads(
    probe: str, work: Callable[[dict[str, Any], JournalWriter, Stopper, int], None]
) -> None:
    """The main function of a probe: read the settings, run `work` in threads, write the end.

    Settings that every probe has: run, threads, max_seconds, public (what the header shows).
    """
    directory = Path(sys.argv[1])
    settings: dict[str, Any] = json.load(sys.stdin)
    me = process_entry(os.getpid())
    if me is None:
        raise InfrastructureError("this process is not in /proc", "mount /proc")
    write_atomically(directory / "pid", f"{me.pid} {me.started}\n")
    stopper = Stopper(directory, float(settings["max_seconds"]))
    journal = JournalWriter(directory / FILE, probe, settings["run"], settings["public"])
    threads = [
        threading.Thread(target=work, args=(settings, journal, stopper, number), daemon=True)
        for number in range(int(settings["threads"]))
    ]
    for thread in threads:
        thread.start()
    while not stopper.wait(1.0):
        pass
    deadline = time.monotonic() + _END_GRACE_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    if directory.is_dir():
        journal.write("end", hanging=sum(thread.is_alive() for thread in threads))
    # A thread may hang in a commit that nobody will answer: do not wait for it.
    os._exit(0)
