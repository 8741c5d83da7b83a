"""The journal of a probe: JSON lines, only ever appended, each flushed when it is written.

A journal begins with a header that ties the monotonic clock (nanoseconds, one clock for all
processes of a boot) to UTC and names the boot. A probe that is started again appends a new header.
The reader drops a last line that a kill tore. Lines reach the kernel at once, so the death of the
probe loses none; the death of the host may.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from orchestrator.model.errors import InfrastructureError

FILE = "journal.jsonl"
_SCHEMA = "anlan.journal/v1"


def boot_id() -> str:
    """The identity of this boot of the kernel: monotonic times of two boots do not compare."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


class JournalWriter:
    """Appends to the journal of one probe; several threads may write. Raises OSError."""

    def __init__(self, path: Path, probe: str, run_id: str, settings: Mapping[str, Any]) -> None:
        torn = path.exists() and path.stat().st_size > 0 and path.read_bytes()[-1:] != b"\n"
        self._stream = path.open("a", buffering=1)
        self._lock = threading.Lock()
        if torn:
            self._stream.write("\n")
        header = {
            "kind": "header",
            "schema": _SCHEMA,
            "probe": probe,
            "run": run_id,
            "boot_id": boot_id(),
            "t": time.monotonic_ns(),
            "utc": datetime.now(UTC).isoformat(),
            "settings": dict(settings),
        }
        self._append(header)

    def write(self, kind: str, **fields: Any) -> int:
        """Append one entry and return its monotonic time in nanoseconds."""
        now = time.monotonic_ns()
        self._append({"kind": kind, "t": now, **fields})
        return now

    def _append(self, entry: Mapping[str, Any]) -> None:
        line = json.dumps(entry, separators=(",", ":")) + "\n"
        with self._lock:
            self._stream.write(line)
            self._stream.flush()


@dataclass(frozen=True)
class Journal:
    """A journal as read: its first header, and the entries after it in the order written."""

    header: Mapping[str, Any]
    entries: tuple[Mapping[str, Any], ...]

    def utc(self, t_ns: int) -> datetime:
        """The UTC time of a monotonic time of this journal's boot."""
        start = datetime.fromisoformat(self.header["utc"])
        return start + timedelta(microseconds=(t_ns - int(self.header["t"])) / 1000)


def read_journal(path: Path) -> Journal:
    """Read the journal at `path` (a file, or the directory of its probe).

    Raises InfrastructureError when there is none, it has no header or spans two boots.
    """
    file = path / FILE if path.is_dir() else path
    try:
        lines = file.read_text(errors="replace").splitlines()
    except OSError as error:
        raise InfrastructureError(
            f"no journal at {file}: {error.strerror}", "was the probe started? read its log"
        ) from error
    return journal_of([entry for line in lines if (entry := _parsed(line)) is not None], str(file))


def journal_of(entries: Sequence[Mapping[str, Any]], file: str) -> Journal:
    """The journal of these parsed lines. Raises InfrastructureError as `read_journal` does."""
    headers = [entry for entry in entries if entry["kind"] == "header"]
    if not entries or entries[0]["kind"] != "header" or entries[0].get("schema") != _SCHEMA:
        raise InfrastructureError(f"{file} is no journal: it has no header", "run the drill again")
    if len({header["boot_id"] for header in headers}) != 1:
        raise InfrastructureError(
            f"{file} spans a reboot: its times do not compare", "run the drill again"
        )
    return Journal(headers[0], tuple(entry for entry in entries if entry["kind"] != "header"))


def _parsed(line: str) -> Mapping[str, Any] | None:
    """An entry; None for a line that a kill tore."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and "kind" in entry and "t" in entry else None
