"""The whole log against what is on disk: a run cannot vanish, an unfinished one cannot hide.

Nor can one that was due by a schedule of the log and never ran.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.evidence import dsse, layout, schedules, statement
from orchestrator.evidence.bindings import Problem
from orchestrator.evidence.keys import PublicKey
from orchestrator.evidence.persons import attestations
from orchestrator.evidence.retained import holds, tombstones
from orchestrator.evidence.retained.tombstones import Tombstone
from orchestrator.evidence.tlog import log, merkle, note, proofs
from orchestrator.evidence.tlog.entries import RUN_KINDS, Entry, LogError
from orchestrator.evidence.tlog.note import Checkpoint
from orchestrator.evidence.trust import signatures
from orchestrator.evidence.trust import time as trusted_time
from orchestrator.evidence.trust.values import Trust
from orchestrator.evidence.witness import vouching
from orchestrator.evidence.witness.vouching import Outcome
from orchestrator.model.canonical import StrictJsonError, sha256, strict_loads
from orchestrator.model.errors import InfrastructureError
from orchestrator.model.fact import timestamp

_PLAN = "statements/plan.dsse.json"
RunDirectories = Sequence[tuple[Path, str | None]]


@dataclass(frozen=True)
class Audit:
    """What was found of one environment.

    `unfinished` are plans in the log without a result. `unlogged` are ids of runs with a signed
    plan that the log does not hold: killed before they touched anything, or cut off the log.
    `vouching` is how witnesses and timestamp authorities answered when they were asked last.
    `removed` are runs whose retention was over, with a tombstone in the log.
    """

    environment: str
    problems: tuple[Problem, ...]
    entries: tuple[Entry, ...] = ()
    checkpoint: Checkpoint | None = None
    unfinished: tuple[Entry, ...] = ()
    unlogged: tuple[str, ...] = ()
    vouching: tuple[Outcome, ...] = ()
    removed: tuple[Tombstone, ...] = ()

    @property
    def status(self) -> str:
        """VALID, INVALID, or INCOMPLETE when only runs that were due are missing."""
        codes = {problem.code for problem in self.problems}
        if codes - {schedules.MISSING}:
            return "INVALID"
        return "INCOMPLETE" if codes else "VALID"

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "environment": self.environment,
            "status": self.status,
            "problems": [problem.to_json() for problem in self.problems],
            "entries": len(self.entries),
            "runs": len({e.run_id for e in self.entries if e.kind in RUN_KINDS}),
            "origin": self.checkpoint.origin if self.checkpoint else None,
            "root": self.checkpoint.root.hex() if self.checkpoint else None,
            "unfinished": [
                {"run_id": entry.run_id, "planned_at": timestamp(entry.time), "index": entry.index}
                for entry in self.unfinished
            ],
            "unlogged": list(self.unlogged),
            "vouching": [one.to_json() for one in self.vouching],
            "removed": [one.to_json() for one in self.removed],
        }


def has_evidence(state: Path, environment: str) -> bool:
    """Whether a state directory has a log of an environment, or a run with a signed plan."""
    return environment in log.environments(state) or any(
        (run / _PLAN).is_file() for run in _runs(run_directories(state), environment)
    )


def audit(
    state: Path,
    environment: str,
    keys: Sequence[PublicKey],
    known: Checkpoint | None = None,
    directories: RunDirectories | None = None,
) -> Audit:
    """Verify the log of an environment, and the statements of its runs against it.

    `known` is a checkpoint that the auditor kept from the last time. Without it, the log alone
    shows every change but a cut tail; the proofs that the runs keep show that too. `directories`
    is what `run_directories` gives: who audits several environments reads the plans once.
    """
    name = f"{log.FOLDER}/{environment}"
    try:
        entries, checkpoint = log.log_of(state, environment).steadily(
            partial(log.verify, keys=keys, known=known)
        )
    except LogError as error:
        return Audit(environment, (Problem(error.code, name, str(error)),))
    except dsse.UntrustedError as error:
        return Audit(environment, (Problem("untrusted-signer", name, str(error)),))
    runs = _runs(directories or run_directories(state), environment)
    subtree = merkle.subtrees_of([merkle.leaf_hash(entry.leaf) for entry in entries])
    root_at = partial(merkle.root, subtree=subtree)
    logged = {(entry.kind, entry.statement) for entry in entries}
    problems = [problem for run in runs for problem in _check_run(run, logged, checkpoint, root_at)]
    times = Counter((entry.kind, entry.run_id) for entry in entries if entry.kind in RUN_KINDS)
    for (kind, run_id), count in times.items():
        if count > 1:
            message = f"the {kind} of {run_id} was logged {count} times"
            problems.append(Problem("duplicate-log-entry", name, message))
    removed, more = tombstones.removed(state, environment, entries, keys)
    problems += more
    problems += holds.problems_of(state, entries, keys)
    problems += attestations.problems_of(state, entries)
    problems += attestations.uncounted(state, runs, entries)
    for entry in entries:
        if entry.run_id in removed:
            continue
        if entry.kind == "plan" and not (state / "runs" / entry.run_id).is_dir():
            message = f"was logged (entry {entry.index}) and its directory is gone"
            problems.append(Problem("missing-run", f"runs/{entry.run_id}", message))
    try:
        applied = schedules.applied_to(state, environment, entries, keys)
        problems += schedules.missing(environment, applied, entries, log.utc_now())
    except InfrastructureError as error:
        problems.append(Problem("bad-schedule", name, error.what))
    vouched: list[Outcome] = []
    try:
        vouched = vouching.outcomes_of(log.log_of(state, environment).folder)
        problems += vouching.contradictions(vouched, name)
    except InfrastructureError as error:
        problems.append(Problem("malformed", name, error.what))
    finished = {entry.run_id for entry in entries if entry.kind == "run"}
    planned = {entry.run_id for entry in entries if entry.kind == "plan"}
    return Audit(
        environment,
        tuple(problems),
        tuple(entries),
        checkpoint,
        tuple(e for e in entries if e.kind == "plan" and e.run_id not in finished),
        tuple(run.name for run in runs if (run / _PLAN).is_file() and run.name not in planned),
        tuple(vouched),
        tuple(removed.values()),
    )


def trusted(found: Audit, trust: Trust) -> Audit:
    """Return what was found, and whether the log's head is signed and vouched for as is trusted.

    That is: the origin of the log, the role of the key that signed it and when that is valid, and
    the quorum of witnesses.
    """
    if found.checkpoint is None:
        return found
    head, path = found.checkpoint, f"{log.FOLDER}/{found.environment}"
    witnesses, problems = trusted_time.witnesses_of(head, trust, path)
    seen = trusted_time.Vouched(witnesses).witnessed(trust.thresholds)
    logged = found.entries[-1].time if found.entries else None
    moment = trusted_time.Moment(logged, seen, seen)
    _, more = signatures.check_checkpoint(head, trust, moment, path)
    if trust.environment and trust.environment != found.environment:
        message = f"is of {found.environment!r}, the trust is for {trust.environment!r}"
        problems.append(Problem("other-environment", path, message))
    return replace(found, problems=(*found.problems, *problems, *more))


def run_directories(state: Path) -> RunDirectories:
    """Return every run's directory and the environment that its plan is about.

    None for one that does not say. Each plan is read.
    """
    paths = (path for path in sorted((state / "runs").glob("[!.]*")) if path.is_dir())
    return [(path, _environment_of(path)) for path in paths]


def _runs(directories: RunDirectories, environment: str) -> list[Path]:
    """The directories of an environment's runs, and of those that do not say whose they are."""
    return [path for path, name in directories if name in {environment, None}]


def _environment_of(run: Path) -> str | None:
    try:
        return str(strict_loads((run / "plan.json").read_bytes())["environment"]["name"])
    except (OSError, StrictJsonError, KeyError, TypeError):
        return None


def _check_run(
    run: Path,
    logged: Set[tuple[str, str]],
    checkpoint: Checkpoint,
    root_at: Callable[[int], bytes],
) -> Iterator[Problem]:
    """A recorded run's statements are in the log, and the log continues what its proofs saw."""
    if not (run / layout.PROOFS["run"]).is_file():
        return  # not recorded whole: it is among the unfinished or the unlogged
    for kind in statement.FILES:
        file = run / "statements" / f"{kind}.dsse.json"
        name = f"runs/{run.name}/statements/{file.name}"
        if not file.is_file():
            continue
        try:
            digest = sha256(dsse.parse(file.read_bytes()).payload)
        except dsse.SignatureError as error:
            yield Problem("bad-signature", name, str(error))
            continue
        if (kind, digest) not in logged:
            yield Problem("missing-log-entry", name, "the log does not hold it: was it cut?")
    for path in layout.PROOFS.values():
        if not (run / path).is_file():
            continue
        try:
            seen = note.parse(proofs.parse_proof((run / path).read_bytes()).checkpoint)
            log.check_continues(seen, checkpoint, root_at)
        except (LogError, dsse.SignatureError) as error:
            code = getattr(error, "code", "log-proof")
            yield Problem(code, f"runs/{run.name}/{path}", f"its log and this one: {error}")
