"""The journal of a probe as it is read: its header, and its entries in the order written.

Times of entries are monotonic nanoseconds of one boot; the header ties them to UTC. A last line
that a kill tore is dropped. `orchestrator.probes.journal` writes it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from orchestrator.model.errors import InfrastructureError

FILE = "journal.jsonl"
SCHEMA = "anlan.journal/v1"


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
    if not entries or entries[0]["kind"] != "header" or entries[0].get("schema") != SCHEMA:
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
