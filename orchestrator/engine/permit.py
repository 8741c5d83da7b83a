"""Whether a run may begin: approved by enough persons, and in a change window.

Both are asked of a plan that carries the environment's rule (impact on production), before
anything is touched; a run that has begun is never stopped by them. Of a run that is over
`verdict.permission` says it again.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from orchestrator.drivers.files import sync_directory, write_atomically
from orchestrator.engine import runs
from orchestrator.engine.runs import Run
from orchestrator.evidence import dsse
from orchestrator.evidence.contents import raw_of
from orchestrator.evidence.layout import read_run_directory
from orchestrator.evidence.persons.approvals import Decisions, decisions_of, judge
from orchestrator.model.canonical import strict_loads
from orchestrator.model.environment import load_environment
from orchestrator.model.errors import InputError, Refused
from orchestrator.verdict.permission import why_not

_WAIT_SECONDS = 10.0


def decisions(run: Run) -> Decisions:
    """What was said about a run's plan so far. Raises InputError when its rule is none."""
    return judge(run.plan, decisions_of(raw_of(read_run_directory(run.directory))))


def rejection(run: Run) -> str:
    """Who rejected the run and why, in words; empty if nobody did."""
    if "approvals" not in run.plan:
        return ""
    found = decisions(run)
    return found.lack(run.plan) if found.rejected and not found.problems else ""


def refusal(run: Run, now: datetime) -> str:
    """Why a run that has not begun may not begin now, in words; empty if it may."""
    return why_not(run.plan, decisions(run), now) if "approvals" in run.plan else ""


def require(run: Run, state: Path, now: datetime) -> None:
    """Return if a run may begin now. Raises Refused; InputError when its environment is gone."""
    if run.plan["impact"] != "production":
        return
    name = run.plan["environment"]["name"]
    current = load_environment(state / "env" / name / "environment.json").approvals
    if current != run.plan.get("approvals"):
        raise Refused(
            f"the approval rule of {name} has changed since run {run.run_id} was planned",
            "plan it again: `anlan drill run`",
        )
    if why := refusal(run, now):
        raise Refused(f"run {run.run_id} may not begin: {why}", todo(run.run_id))


def add(run: Run, envelope: bytes) -> tuple[str, bool]:
    """Keep what an approver signed (`persons.approvals.decide`) with a run that has not begun.

    Returns the approver's name, and whether it was new: the same word again changes nothing. Safe
    under kill -9 and several approvers at once. Raises InputError for what is no approver's word
    on this plan, Refused when the run has begun or the approver has rejected it.
    """
    try:
        parsed = strict_loads(envelope)
        name = str(strict_loads(dsse.parse(envelope).payload)["predicate"]["approver"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"not a signed approval: {error}", "sign it again") from error
    with runs.locked(run.directory, wait_seconds=_WAIT_SECONDS):
        if run.journal.entries or (run.directory / "statements" / "plan.dsse.json").exists():
            raise Refused(f"run {run.run_id} has begun", "what comes now is too late to count")
        if "approvals" not in run.plan:
            raise Refused(f"run {run.run_id} needs no approval", todo_begin(run.run_id))
        now = judge(run.plan, {name: parsed})
        if now.problems:
            raise InputError(f"not an approval of run {run.run_id}: {now.problems[0].message}")
        before = decisions(run)
        if name in before.rejected and name not in now.rejected:
            raise Refused(
                f"{name} has rejected run {run.run_id}: {before.rejected[name]}",
                "plan it again: `anlan drill run`",
            )
        if name in {*before.rejected, *(() if now.rejected else _yes(before))}:
            return name, False
        folder = run.directory / "raw" / "approvals"
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / f"{name}.json", envelope.decode(), mode=0o644)
        for above in (folder.parent, run.directory):
            sync_directory(above)
    return name, True


def _yes(said: Decisions) -> tuple[str, ...]:
    return said.approved + said.initiator


def todo(run_id: str) -> str:
    """What to do about a run that may not begin."""
    return (
        f"approve it: `anlan drill approve {run_id} --key KEYFILE`; "
        f"then, in a change window, {todo_begin(run_id)}"
    )


def todo_begin(run_id: str) -> str:
    """How to begin a planned run."""
    return f"`anlan drill resume {run_id}`"
