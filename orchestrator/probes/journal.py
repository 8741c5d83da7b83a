"""The journal of a probe: JSON lines, only ever appended, each flushed when it is written.

A journal begins with a header that ties the monotonic clock (nanoseconds, one clock for all
processes of a boot) to UTC and names the boot. A probe that is started again appends a new header.
Lines reach the kernel at once, so the death of the probe loses none; the death of the host may.
`orchestrator.verdict.journal` reads them.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestrator.verdict.journal import SCHEMA


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
            "schema": SCHEMA,
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
