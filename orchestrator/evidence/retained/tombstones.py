"""Tombstones: what stays of a run whose evidence was removed when its retention was over.

A tombstone is signed by the environment's signer and logged (kind `tombstone`) before anything of
the run is removed. It says what the run was, by the digests of its logged statements, and by which
retention it went. A directory that is gone without one is a run that vanished.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from orchestrator.evidence import predicates
from orchestrator.evidence.bindings import Problem
from orchestrator.evidence.keys import PublicKey
from orchestrator.evidence.retained import holds, kept
from orchestrator.evidence.retained.retention import Candidate
from orchestrator.evidence.tlog import log
from orchestrator.evidence.tlog.entries import Entry
from orchestrator.model.canonical import canonical_loads
from orchestrator.model.fact import parse_timestamp, timestamp

KIND = "tombstone"
FOLDER = "evidence/tombstones"
REASON = "the retention is over"
STATEMENTS = ("plan", "controls", "run")
_OF_WHEN = ("by", "at")
"""What another attempt may say otherwise."""


@dataclass(frozen=True)
class Tombstone:
    """What was removed: a run of a drill, by which retention (days after its end), when."""

    run_id: str
    drill: str
    verdict: str
    started_at: datetime
    ended_at: datetime
    evidence_days: int
    bundle: str | None
    by: str
    at: datetime
    index: int

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form; `entry` is the index in the log."""
        return {
            "run_id": self.run_id,
            "drill": self.drill,
            "verdict": self.verdict,
            "started_at": timestamp(self.started_at),
            "ended_at": timestamp(self.ended_at),
            "evidence_days": self.evidence_days,
            "bundle": self.bundle,
            "removed_by": self.by,
            "removed_at": timestamp(self.at),
            "entry": self.index,
        }


def payload_of(
    environment: str,
    run: Candidate,
    sites: Mapping[str, datetime | None],
    *,
    by: str,
    at: datetime,
) -> bytes:
    """Return the statement about a run that is removed. Raises InputError.

    `sites` maps each site to the end of the last lock of the bundle there, None without a bundle.
    """
    predicate = {
        "runId": run.run_id,
        "environment": environment,
        "drill": run.drill,
        "verdict": run.verdict,
        "startedAt": timestamp(run.started_at),
        "endedAt": timestamp(run.ended_at),
        "statements": dict(run.statements),
        "bundle": run.bundle,
        "evidenceDays": run.evidence_days,
        "sites": {name: timestamp(until) if until else None for name, until in sites.items()},
        "reason": REASON,
        "by": by,
        "at": timestamp(at),
    }
    subject = ("run", run.statements["run"])
    return kept.payload_of(predicates.TOMBSTONE, subject, predicate)


def begun(state: Path, payload: bytes, entries: Sequence[Entry]) -> kept.Kept | None:
    """Return the same tombstone of an attempt that died before it was logged, if there is one."""
    in_log = frozenset(entry.statement for entry in entries if entry.kind == KIND)
    wanted = _lasting(canonical_loads(payload)["predicate"])
    for one in kept.every(state, FOLDER, in_log):
        if _lasting(one.predicate) == wanted:
            return one
    return None


def _lasting(predicate: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in predicate.items() if key not in _OF_WHEN}


def removed(
    state: Path, environment: str, entries: Sequence[Entry], keys: Sequence[PublicKey]
) -> tuple[dict[str, Tombstone], list[Problem]]:
    """Return run id → tombstone of a log, and what is wrong with its tombstones.

    One that is gone, forged, or about other statements than the log's, is none: its run vanished.
    """
    found: dict[str, Tombstone] = {}
    problems: list[Problem] = []
    before: dict[str, dict[str, Entry]] = {}
    for entry in entries:
        of_run = before.setdefault(entry.run_id, {})
        if entry.kind == KIND:
            try:
                stone = _read(state, environment, entry, of_run, keys)
            except kept.KeptError as error:
                path = kept.file_of(entry.statement, FOLDER)
                problems.append(Problem("bad-tombstone", path, str(error)))
            else:
                found[stone.run_id] = stone
                hold = of_run.get(holds.KIND)
                held = holds.read_or_held(state, hold, keys) if hold else None
                problems += early(stone, entry, of_run, held, f"runs/{stone.run_id}")
        of_run[entry.kind] = entry
    return found, problems


def runs_of(state: Path) -> frozenset[str]:
    """Return the runs of a state directory that have a tombstone in a log, sound or not."""
    entries = (e for name in log.environments(state) for e in log.log_of(state, name).entries())
    return frozenset(entry.run_id for entry in entries if entry.kind == KIND)


def read_or_none(state: Path, entry: Entry) -> Tombstone | None:
    """Return the tombstone of an entry for who trusts the state directory, None if it is none."""
    try:
        found = kept.read(state, entry, None, FOLDER)
    except kept.KeptError:
        return None
    is_one = found.predicate_type == predicates.TOMBSTONE
    return _tombstone(found.predicate, entry.index) if is_one else None


def _read(
    state: Path,
    environment: str,
    entry: Entry,
    before: Mapping[str, Entry],
    keys: Sequence[PublicKey],
) -> Tombstone:
    """Raises KeptError when it is none about this run of this log."""
    return of_run(kept.read(state, entry, keys, FOLDER), environment, entry, before)


def of_run(
    found: kept.Kept, environment: str, entry: Entry, before: Mapping[str, Entry]
) -> Tombstone:
    """Return the tombstone that a statement is, of the run that an entry of the log is about.

    `before` is what the log had of the run: kind → entry. Raises KeptError when it is none.
    """
    said = found.predicate
    if "plan" not in before:
        raise kept.KeptError(f"entry {entry.index} is older than the plan of {entry.run_id}")
    if found.digest != entry.statement:
        raise kept.KeptError(f"entry {entry.index} is another statement")
    if found.predicate_type != predicates.TOMBSTONE or said["runId"] != entry.run_id:
        raise kept.KeptError(f"entry {entry.index} is no tombstone of {entry.run_id}")
    if said["environment"] != environment:
        raise kept.KeptError(f"entry {entry.index} is of environment {said['environment']!r}")
    if said["statements"] != {k: before[k].statement for k in STATEMENTS if k in before}:
        raise kept.KeptError(
            f"entry {entry.index} is about other statements of {entry.run_id} than were logged"
        )
    return _tombstone(said, entry.index)


def early(
    stone: Tombstone, entry: Entry, before: Mapping[str, Entry], hold: holds.Hold | None, path: str
) -> Iterator[Problem]:
    """What says that the run had to be kept when its tombstone was logged.

    Its retention, by the days that the tombstone names: a run did not end before its plan was
    logged, whatever the tombstone says. And `hold`, what was said last about holding it.
    """
    over = max(stone.ended_at, before["plan"].time) + timedelta(days=stone.evidence_days)
    if over > entry.time:
        message = f"was removed {entry.time_text}, its retention ends {timestamp(over)}"
        yield Problem("pruned-early", path, message)
    if hold is not None and hold.held:
        message = f"was removed under the legal hold of {hold.by}: {hold.reason}"
        yield Problem("pruned-held", path, message)


def _tombstone(said: Mapping[str, Any], index: int) -> Tombstone:
    return Tombstone(
        run_id=said["runId"],
        drill=said["drill"],
        verdict=said["verdict"],
        started_at=parse_timestamp(said["startedAt"]),
        ended_at=parse_timestamp(said["endedAt"]),
        evidence_days=said["evidenceDays"],
        bundle=said["bundle"],
        by=said["by"],
        at=parse_timestamp(said["at"]),
        index=index,
    )
