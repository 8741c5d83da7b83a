"""Removing the evidence of runs whose retention is over: a tombstone first, the files after it.

Safe under kill -9 at any line: a tombstone is logged before anything is removed, a run directory
gets a hidden name before its files go, and every call first finishes what an earlier one began.
"""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from orchestrator.drivers.files import sync_directory
from orchestrator.engine import runs
from orchestrator.engine.finish import bundle_path
from orchestrator.engine.runs import Run
from orchestrator.evidence import EvidenceStore, dsse, layout
from orchestrator.evidence.bindings import Problem
from orchestrator.evidence.keys import PublicKey, load_public_keys
from orchestrator.evidence.outcomes import Outcome, outcomes
from orchestrator.evidence.retained import holds, kept, retention, tombstones
from orchestrator.evidence.retained.retention import AtSite, Candidate, Decision, Reason
from orchestrator.evidence.retained.tombstones import Tombstone
from orchestrator.evidence.tlog.entries import Entry
from orchestrator.evidence.tlog.log import log_of
from orchestrator.model.canonical import sha256
from orchestrator.model.environment import DEFAULT_EVIDENCE_DAYS, Retention
from orchestrator.model.errors import InfrastructureError, Refused
from orchestrator.model.fact import parse_timestamp

_STATEMENT = "statements/run.dsse.json"


class Sites(Protocol):
    """Asks the sites' stores about the bundle of a run."""

    def ask(self, run_id: str) -> Mapping[str, AtSite]:
        """Return the answer of each site; one that cannot be asked says so."""
        ...


@dataclass(frozen=True)
class Judged:
    """A decision; what will be removed comes with the run and its sites' answers."""

    decision: Decision
    candidate: Candidate | None = None
    sites: Mapping[str, AtSite] | None = None


@contextmanager
def alone(state: Path) -> Iterator[None]:
    """Keep every other process from pruning, holding or releasing until the block ends."""
    folder = state / "evidence"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".retention").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def decide(
    state: Path,
    environment: str,
    rule: Retention,
    sites: Sites,
    now: datetime,
    *,
    before: datetime | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> list[Judged]:
    """Return what becomes of each run of an environment that has no tombstone yet.

    Sites are asked about those alone that nothing else keeps; `report` is told which one. Raises
    InfrastructureError when log or runs cannot be read.
    """
    entries = log_of(state, environment).entries()
    in_log = _statements_of(entries)
    gone = {entry.run_id for entry in entries if entry.kind == tombstones.KIND}
    known = {one.run_id: one for one in outcomes(state, environment)[0]}
    held = holds.last_of(state, entries)
    decided: list[Judged] = []
    candidates: list[Candidate] = []
    for run in runs.history(state):
        if run.plan["environment"]["name"] != environment or run.run_id in gone:
            continue
        if (outcome := known.get(run.run_id)) is None:
            decided.append(Judged(Decision(run.run_id, (_unrecorded(run),))))
        else:
            candidates.append(_candidate(state, run, outcome, in_log[run.run_id], rule))
    wanted = retention.required(candidates)
    for one in candidates:
        reasons = retention.reasons_here(one, wanted, held.get(one.run_id), now, before)
        if reasons:
            decided.append(Judged(Decision(one.run_id, reasons)))
            continue
        report(one.run_id)
        answers = sites.ask(one.run_id)
        reasons = retention.reasons_at_sites(answers, now)
        decided.append(Judged(Decision(one.run_id, reasons), one, answers))
    return decided


def bury(
    store: EvidenceStore, state: Path, environment: str, chosen: Judged, *, by: str, now: datetime
) -> None:
    """Sign and log the tombstone of a run that nothing keeps; remove nothing yet.

    Raises InfrastructureError when it cannot be signed.
    """
    if chosen.candidate is None or chosen.sites is None or chosen.decision.reasons:
        raise Refused(f"{chosen.decision.run_id} stays", "see why: `anlan evidence prune`")
    locks = {name: one.locked_until for name, one in chosen.sites.items()}
    payload = tombstones.payload_of(environment, chosen.candidate, locks, by=by, at=now)
    envelope = None
    begun = tombstones.begun(state, payload, log_of(state, environment).entries())
    if begun is not None:
        payload, envelope = dsse.parse(begun.content).payload, begun.content
    run_id = chosen.candidate.run_id
    one = kept.ToLog(tombstones.KIND, run_id, payload, envelope, tombstones.FOLDER)
    store.record_statement(environment, one)


def sweep(state: Path, environment: str, keys: Sequence[PublicKey]) -> list[Tombstone]:
    """Remove what is left of runs that have a sound tombstone in the log; return those.

    A tombstone that is damaged, or was logged too early or under a hold, removes nothing: raises
    InfrastructureError after the others.
    """
    sound, problems = _sound(state, environment, keys)
    left = [one for one in sound if any(path.exists() for path in _places(state, one.run_id))]
    for stone in left:
        _remove(state, stone.run_id)
    if problems:
        raise InfrastructureError(
            f"{len(problems)} tombstones of {environment} do not hold: {problems[0].path}: "
            f"{problems[0].message}",
            "see `anlan evidence log verify`; nothing of these runs was removed now",
        )
    return left


def buried(state: Path, environment: str) -> list[str]:
    """Return the runs of an environment that are gone from the state directory by a tombstone."""
    sound, _ = _sound(state, environment, kept_keys(state))
    return [stone.run_id for stone in sound if not _places(state, stone.run_id)[0].exists()]


def kept_keys(state: Path) -> list[PublicKey]:
    """Return the public keys that signed in this state directory. Raises InputError."""
    return load_public_keys(state / layout.KEYS)


def _sound(
    state: Path, environment: str, keys: Sequence[PublicKey]
) -> tuple[list[Tombstone], list[Problem]]:
    """The tombstones by which a run may be removed, and what is wrong with the others."""
    entries = log_of(state, environment).entries()
    found, problems = tombstones.removed(state, environment, entries, keys)
    named = {problem.path for problem in problems}
    return [one for one in found.values() if f"runs/{one.run_id}" not in named], problems


def _places(state: Path, run_id: str) -> tuple[Path, Path, Path]:
    """The directory of a run, its name while it is being removed, and its bundle."""
    folder = state / "runs"
    return folder / run_id, folder / f".removed-{run_id}", bundle_path(state, run_id)


def _remove(state: Path, run_id: str) -> None:
    directory, hidden, bundle = _places(state, run_id)
    try:
        if directory.is_dir():
            with runs.locked(directory):
                shutil.rmtree(hidden, ignore_errors=True)
                directory.rename(hidden)
                sync_directory(directory.parent)
        if hidden.is_dir():
            shutil.rmtree(hidden)
        bundle.unlink(missing_ok=True)
    except OSError as error:
        raise InfrastructureError(
            f"the evidence of {run_id} could not be removed: {error}",
            "make it writable; the same command goes on",
        ) from error


def _unrecorded(run: Run) -> Reason:
    if run.state != "finished":
        return Reason("unfinished", f"it is {run.state}")
    return Reason("not-recorded", "its signed result does not hold, or the log does not have it")


def _statements_of(entries: Sequence[Entry]) -> dict[str, dict[str, str]]:
    """Run id → kind → digest of the statements that a tombstone names."""
    found: dict[str, dict[str, str]] = {}
    for entry in entries:
        if entry.kind in tombstones.STATEMENTS:
            found.setdefault(entry.run_id, {})[entry.kind] = entry.statement
    return found


def _candidate(
    state: Path, run: Run, outcome: Outcome, statements: Mapping[str, str], rule: Retention
) -> Candidate:
    """What is known of a run by its signed result, which `outcomes` has verified."""
    said = kept.parse((run.directory / _STATEMENT).read_bytes()).predicate["run"]
    bundle = bundle_path(state, run.run_id)
    configured = (rule.evidence_days, _own_days(run))
    return Candidate(
        run_id=run.run_id,
        drill=outcome.drill,
        verdict=outcome.verdict,
        missed=any(reason.startswith("missed: ") for reason in said["derived"]["reasons"]),
        started_at=parse_timestamp(said["started_at"]),
        ended_at=outcome.ended_at,
        evidence_days=max((d for d in configured if d is not None), default=DEFAULT_EVIDENCE_DAYS),
        statements=statements,
        bundle=sha256(bundle.read_bytes()) if bundle.is_file() else None,
    )


def _own_days(run: Run) -> int | None:
    """The retention in the descriptor that the run was made with, if it was configured."""
    descriptor = json.loads((run.directory / "environment.json").read_text())
    days = descriptor.get("retention", {}).get("evidence_days")
    return None if days is None else int(days)
