"""The whole log against what is on disk: a run cannot vanish, an unfinished one cannot hide.

Nor can one that was due by a schedule of the log and never ran.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.evidence import dsse, log, schedules, statement
from orchestrator.evidence.bindings import Problem
from orchestrator.evidence.keys import PublicKey
from orchestrator.evidence.log import Entry
from orchestrator.model.canonical import sha256
from orchestrator.model.errors import InputError
from orchestrator.model.fact import timestamp

LOG_FILE = "evidence/log.jsonl"
PLAN_FILE = "statements/plan.dsse.json"


@dataclass(frozen=True)
class Audit:
    """What was found.

    `unfinished` are plans in the log without a result. `unlogged` are ids of runs with a signed
    plan that the log does not hold: killed before they touched anything, or cut off the log.
    """

    problems: tuple[Problem, ...]
    entries: tuple[Entry, ...] = ()
    unfinished: tuple[Entry, ...] = ()
    unlogged: tuple[str, ...] = ()

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
            "status": self.status,
            "problems": [problem.to_json() for problem in self.problems],
            "entries": len(self.entries),
            "runs": len({e.run_id for e in self.entries if e.kind != schedules.KIND}),
            "last_digest": self.entries[-1].digest if self.entries else None,
            "unfinished": [
                {"run_id": entry.run_id, "planned_at": timestamp(entry.time), "index": entry.index}
                for entry in self.unfinished
            ],
            "unlogged": list(self.unlogged),
        }


def audit(state_dir: Path, keys: Sequence[PublicKey]) -> Audit:
    """Verify the log of a state directory, and the statements of its runs against it.

    The log alone shows every change but a cut tail; the statements and log parts that the runs
    keep show that too. Raises InputError when there is no log.
    """
    path = state_dir / LOG_FILE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read the evidence log: {error.strerror}",
            "name the state directory (--state-dir); the first drill begins the log",
            file=str(path),
        ) from error
    try:
        entries = log.verify(content, keys, whole=True)
    except log.LogError as error:
        return Audit((Problem(error.code, LOG_FILE, str(error)),))
    except dsse.UntrustedError as error:
        return Audit((Problem("untrusted-signer", LOG_FILE, str(error)),))
    run_dirs = sorted(
        path for path in (state_dir / "runs").glob("*") if not path.name.startswith(".")
    )
    problems = [problem for run_dir in run_dirs for problem in _check_run(run_dir, entries)]
    for entry in entries:
        if entry.kind == "plan" and not (state_dir / "runs" / entry.run_id).is_dir():
            message = f"was logged (entry {entry.index}) and its directory is gone"
            problems.append(Problem("missing-run", f"runs/{entry.run_id}", message))
    problems += schedules.check_schedules(state_dir, entries, keys, log.utc_now())
    finished = {entry.run_id for entry in entries if entry.kind == "run"}
    unfinished = [e for e in entries if e.kind == "plan" and e.run_id not in finished]
    planned = {entry.run_id for entry in entries if entry.kind == "plan"}
    unlogged = [
        run_dir.name
        for run_dir in run_dirs
        if (run_dir / PLAN_FILE).is_file() and run_dir.name not in planned
    ]
    return Audit(tuple(problems), tuple(entries), tuple(unfinished), tuple(unlogged))


def _check_run(run_dir: Path, entries: Sequence[Entry]) -> Iterator[Problem]:
    """A recorded run's part of the log is in the log, line by line, and so are its statements."""
    part = run_dir / "log.jsonl"
    if not part.is_file():
        return  # not recorded whole: it is among the unfinished or the unlogged
    logged = {(entry.kind, entry.statement) for entry in entries}
    for kind in statement.FILES:
        file = run_dir / "statements" / f"{kind}.dsse.json"
        name = f"runs/{run_dir.name}/statements/{file.name}"
        if not file.is_file():
            continue
        try:
            digest = sha256(dsse.parse(file.read_bytes()).payload)
        except dsse.SignatureError as error:
            yield Problem("bad-signature", name, str(error))
            continue
        if (kind, digest) not in logged:
            yield Problem("missing-log-entry", name, "the log does not hold it: was it cut?")
    lines = part.read_bytes().split(b"\n")[:-1]
    known = {entry.line for entry in entries}
    if any(line not in known for line in lines):
        message = "holds lines that the log does not: the log was cut, or begun anew"
        yield Problem("log-forked", f"runs/{run_dir.name}/log.jsonl", message)
