"""Legal holds: the evidence of a run that must stay, however old it is.

A hold is nothing but its entries in the log (kind `hold`): each names the run, and its statement
says whether it is held from now on, who said so and why. The last one counts. A hold whose
statement cannot be read holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestrator.evidence import predicates
from orchestrator.evidence.bindings import Problem
from orchestrator.evidence.keys import PublicKey
from orchestrator.evidence.retained import kept
from orchestrator.evidence.tlog.entries import Entry
from orchestrator.model.fact import timestamp

KIND = "hold"


@dataclass(frozen=True)
class Hold:
    """What is said last about holding a run: `by` whom and why; `held` is false once released."""

    run_id: str
    held: bool
    by: str
    reason: str
    at: str

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "run_id": self.run_id,
            "held": self.held,
            "by": self.by,
            "reason": self.reason,
            "at": self.at,
        }


def payload_of(
    environment: str, plan: Entry, *, held: bool, by: str, reason: str, at: datetime
) -> bytes:
    """Return the statement that holds or releases the run of this plan. Raises InputError."""
    predicate = {
        "runId": plan.run_id,
        "environment": environment,
        "held": held,
        "by": by,
        "reason": reason,
        "at": timestamp(at),
    }
    return kept.payload_of(predicates.LEGAL_HOLD, ("plan", plan.statement), predicate)


def last_of(
    state: Path, entries: Sequence[Entry], keys: Sequence[PublicKey] | None = None
) -> dict[str, Hold]:
    """Return run id → what its last entry says; an unreadable one holds and says so."""
    last = {entry.run_id: entry for entry in entries if entry.kind == KIND}
    return {run_id: read_or_held(state, entry, keys) for run_id, entry in last.items()}


def read_or_held(state: Path, entry: Entry, keys: Sequence[PublicKey] | None) -> Hold:
    """Return what an entry says of its run; one that cannot be read holds it, and says why."""
    try:
        return _read(state, entry, keys)
    except kept.KeptError as error:
        return Hold(entry.run_id, True, "(unknown)", str(error), entry.time_text)


def _read(state: Path, entry: Entry, keys: Sequence[PublicKey] | None) -> Hold:
    return of_run(kept.read(state, entry, keys), entry)


def of_run(found: kept.Kept, entry: Entry) -> Hold:
    """Return what a statement says of the run of an entry. Raises KeptError when it is no hold."""
    said = found.predicate
    if found.digest != entry.statement:
        raise kept.KeptError(f"entry {entry.index} is another statement")
    if found.predicate_type != predicates.LEGAL_HOLD or said["runId"] != entry.run_id:
        raise kept.KeptError(f"entry {entry.index} is no hold of {entry.run_id}")
    return Hold(said["runId"], said["held"], said["by"], said["reason"], said["at"])


def problems_of(state: Path, entries: Sequence[Entry], keys: Sequence[PublicKey]) -> list[Problem]:
    """Return what is wrong with the holds of a log: statements that are gone, changed or forged."""
    found = []
    for entry in entries:
        if entry.kind == KIND:
            try:
                _read(state, entry, keys)
            except kept.KeptError as error:
                path = kept.file_of(entry.statement)
                found.append(Problem("bad-statement", path, str(error)))
    return found
