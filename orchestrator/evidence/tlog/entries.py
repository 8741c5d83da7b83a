"""The entries of an evidence log: what was stated, about which run, and when.

An entry is canonical JSON `{"kind", "run_id", "statement", "time"}`: the leaf of a Merkle tree.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from datetime import datetime

from orchestrator.evidence.tlog import merkle
from orchestrator.model.canonical import canonical
from orchestrator.model.fact import parse_timestamp

RUN_KINDS = ("plan", "controls", "run", "tombstone")
"""Each is logged at most once for a run."""
KINDS = (*RUN_KINDS, "hold", "schedule", "waiver", "review")
# One spelling of every entry, so that parsing is checking: RFC 8785 sorts the keys like this.
_ENTRY = re.compile(
    rb'\{"kind":"(?P<kind>[a-z]+)","run_id":"(?P<run_id>[A-Za-z0-9][A-Za-z0-9._-]{0,199})",'
    rb'"statement":"(?P<statement>[0-9a-f]{64})",'
    rb'"time":"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)"\}'
)
_STATEMENT, _TIME = slice(-100, -36), slice(-26, -2)


class LogError(ValueError):
    """A log that was changed; `code` names how."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry. It keeps little beside its leaf: there may be a million."""

    index: int
    kind: str
    run_id: str
    leaf: bytes

    @property
    def statement(self) -> str:
        """The sha256 of the signed statement (64 hex digits)."""
        return self.leaf[_STATEMENT].decode()

    @property
    def time(self) -> datetime:
        """When it was logged (UTC); never before the entry above."""
        return parse_timestamp(self.time_text)

    @property
    def time_text(self) -> str:
        """The same as text; of two the later is the greater."""
        return self.leaf[_TIME].decode()

    @property
    def digest(self) -> str:
        """The leaf hash (64 hex digits), by which other statements name the entry."""
        return merkle.leaf_hash(self.leaf).hex()


def parse_entry(leaf: bytes, index: int) -> Entry:
    """Return the entry of a leaf. Raises LogError when it is not one in its one spelling."""
    match = _ENTRY.fullmatch(leaf)
    if match is None:
        raise LogError("log-entry", f"entry {index} is none")
    kind, run_id = sys.intern(match["kind"].decode()), match["run_id"].decode()
    if kind not in KINDS:
        raise LogError("log-entry", f"entry {index} is of no known kind ({kind})")
    try:
        parse_timestamp(match["time"].decode())
    except ValueError as error:
        raise LogError("log-entry", f"entry {index}: {error}") from error
    return Entry(index, kind, run_id, leaf)


def leaf_of(kind: str, run_id: str, statement: str, time: str) -> bytes:
    """Return the leaf of an entry, unchecked (`parse_entry` checks it)."""
    return canonical({"kind": kind, "run_id": run_id, "statement": statement, "time": time})
