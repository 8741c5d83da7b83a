"""The journal of a run's steps: JSON lines, each on the disk before the next thing happens.

It is the durable memory of a run (after kill -9 the next attempt reads it) and, as raw/steps.jsonl,
the evidence that its verdict is derived from. Its lines have the shape of a probe's journal.
A mark or note is written once: a repeated step finds the first one. Steps that run side by side
share it.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestrator.model.errors import InfrastructureError
from orchestrator.probes.journal import boot_id

SCHEMA = "anlan.journal/v1"


class StepJournal:
    """The journal file of one run; one process writes it at a time (the run's lock)."""

    def __init__(self, path: Path, run_id: str) -> None:
        self.path = path
        self.run_id = run_id
        self.entries = _read(path)
        self.listener: Callable[[Mapping[str, Any]], None] | None = None
        self._lock = threading.RLock()

    def open_attempt(self) -> int:
        """Begin an attempt at the run (its start, or a resume); returns its number from 1."""
        header = {
            "kind": "header",
            "schema": SCHEMA,
            "probe": "steps",
            "run": self.run_id,
            "boot_id": boot_id(),
            "utc": datetime.now(UTC).isoformat(),
        }
        self._append(header)
        return sum(entry["kind"] == "header" for entry in self.entries)

    def write(self, kind: str, **fields: Any) -> Mapping[str, Any]:
        """Append an entry; its `t` is monotonic nanoseconds unless given."""
        return self._append({"kind": kind, **fields})

    def mark(self, name: str, t_ns: int | None = None) -> int:
        """Set the named moment, unless it is set; returns it (monotonic nanoseconds)."""
        with self._lock:
            found = self.find("mark", name)
            if found is None:
                moment = {} if t_ns is None else {"t": t_ns}
                found = self._append({"kind": "mark", "name": name, **moment})
        return int(found["t"])

    def note(self, name: str, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Keep named data, unless it is kept already; returns what is kept."""
        with self._lock:
            found = self.find("note", name)
            if found is None:
                found = self._append({"kind": "note", "name": name, "data": dict(data)})
        kept: Mapping[str, Any] = found["data"]
        return kept

    def find(self, kind: str, name: str) -> Mapping[str, Any] | None:
        """The first entry of a kind with this name, or None."""
        for entry in self.entries:
            if entry["kind"] == kind and entry.get("name") == name:
                return entry
        return None

    def _append(self, entry: Mapping[str, Any]) -> Mapping[str, Any]:
        with self._lock:
            return self._append_locked({"t": time.monotonic_ns(), **entry})

    def _append_locked(self, timed: Mapping[str, Any]) -> Mapping[str, Any]:
        line = json.dumps(timed, separators=(",", ":"), ensure_ascii=False) + "\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            with os.fdopen(descriptor, "rb+") as stream:
                _drop_torn_line(stream)
                stream.write(line.encode())
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise InfrastructureError(
                f"cannot write the run's journal {self.path}: {error}",
                f"make room, then `anlan drill resume {self.run_id}`",
            ) from error
        self.entries.append(timed)
        if self.listener is not None:
            self.listener(timed)
        return timed


def _drop_torn_line(stream: Any) -> None:
    """Go to the end; a last line without its newline (a kill in the middle) is cut off first."""
    content = stream.read()
    whole = content.rfind(b"\n") + 1
    stream.truncate(whole)
    stream.seek(whole)


def _read(path: Path) -> list[Mapping[str, Any]]:
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]
    return [json.loads(line) for line in lines]
