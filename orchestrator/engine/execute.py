"""Durable execution of a run by DBOS: steps in their order, then undo, then evidence.

DBOS keeps which steps are done in its database (`engine.database`); after kill -9 the same run,
resumed, goes on with the step that was cut short. The executor is named after the run, so that a
process takes up its own run and no other. Every verb is idempotent: the one that was cut short
runs again.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from dbos import DBOS, DBOSConfig, SetWorkflowID

from orchestrator.drivers.lease import LeaseFile
from orchestrator.engine import budget, finish, permit, runs
from orchestrator.engine.database import engine_database
from orchestrator.engine.order import groups, run_group
from orchestrator.engine.runs import Run, require_room
from orchestrator.model.environment import load_environment
from orchestrator.model.errors import AnlanError, InfrastructureError, Refused
from orchestrator.model.fact import timestamp
from orchestrator.steps import VERBS
from orchestrator.steps.context import Context
from orchestrator.steps.journal import StepJournal
from orchestrator.verdict.permission import PERMITTED

# Workflows of another version are not taken up: raise it when the order of steps below changes.
_VERSION = "2"
_POLL_SECONDS = 0.1
_BACKOFF_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0)
Listener = Callable[[Mapping[str, Any]], None]


class _Work:
    """The run that this process works on; DBOS calls back by name, so it is kept here."""

    context: Context
    run: Run


_work = _Work()


def execute(run: Run, state: Path, listener: Listener | None = None) -> list[str]:
    """Work on a run until it is finished: new, or cut short before. The caller holds its lock.

    Returns what went wrong without harm (a site that could not keep log or bundle, a witness that
    did not answer).
    Raises Refused when another run took the environment or this one may not begin (approvals,
    change window), InfrastructureError when its evidence
    cannot be made now (resume it later); what the drill finds is in run.json, not raised.
    """
    environment = load_environment(run.directory / "environment.json")
    lease = LeaseFile(environment.lease_file)
    now, fresh = datetime.now(UTC), not run.journal.entries
    why_never = _why_never(run)
    if why_never is not None:
        finish.miss(run, state, why_never)
        lease.release(run.run_id)
        return []
    if fresh:
        try:
            permit.require(run, state, now)
        except Refused:
            lease.release(run.run_id)  # nothing was touched
            raise
    require_room(state, f"make room, then `anlan drill resume {run.run_id}`")
    database = engine_database(state, environment)
    token = lease.acquire(run.run_id, {"operator": str(run.plan["operator"])})
    journal = run.journal
    journal.listener = listener
    context = Context(environment, run.plan, run.directory, journal, token)
    problems = finish.record_plan(run, state, context)
    if not finish.is_ended(journal):
        journal.open_attempt()
    if fresh and "approvals" in run.plan:
        journal.note(PERMITTED, {"utc": timestamp(now)})
    _work.context, _work.run = context, run
    if not finish.is_ended(journal):  # its journal is closed: nothing may be written there
        with budget.watched(run, context):
            _run_durably(run, database)
    finish.conclude(run, context)
    problems += finish.publish(run, state, context)
    lease.release(run.run_id)
    return problems


def _why_never(run: Run) -> str | None:
    """Why a run that has not begun is recorded as missed instead; None if it is not."""
    if finish.is_missed(run.journal):
        return ""
    if run.journal.entries:
        return None
    if (why := runs.asked_to_end(run)) is not None:
        return f"aborted before it began: {why}"
    return permit.rejection(run) or None


def _run_durably(run: Run, database: tuple[str, str]) -> None:
    url, name = database
    config: DBOSConfig = {
        "name": "anlan",
        "system_database_url": url,
        "executor_id": run.run_id,
        "application_version": _VERSION,
        "log_level": "CRITICAL",
    }
    try:
        DBOS(config=config)
        DBOS.launch()  # takes up what this executor left
        with SetWorkflowID(_workflow_id(run.run_id)):
            handle = DBOS.start_workflow(_drill, run.run_id)
        handle.get_result(polling_interval_sec=_POLL_SECONDS)
    except Exception as error:  # whatever DBOS and its database raise; steps raise nothing
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InfrastructureError(
            f"the engine's database {name} failed: {reason}",
            f"make room or repair it, then `anlan drill resume {run.run_id}`",
        ) from error
    finally:
        DBOS.destroy(workflow_completion_timeout_sec=0)


def _workflow_id(run_id: str) -> str:
    """The run's id, or the next one when a workflow of it ended in an error of its database.

    A new workflow walks through what is done without doing it again: the journal says what is.
    """
    ids = itertools.chain([run_id], (f"{run_id}.{number}" for number in itertools.count(1)))
    return next(id_ for id_ in ids if not _ended_in_error(id_))


def _ended_in_error(id_: str) -> bool:
    status = DBOS.get_workflow_status(id_)
    return status is not None and status.status == "ERROR"


@DBOS.workflow(name="drill")
def _drill(run_id: str) -> None:
    """The order of things: steps until one fails, then undo of all that began.

    Steps that run side by side are one step to DBOS; the journal knows each of them.
    """
    steps = _work.run.plan["steps"]
    began: list[int] = []
    for group in groups(steps):
        began += group
        name = ", ".join(steps[index]["id"] for index in group)
        if not DBOS.run_step({"name": f"step {name}"}, _do_group, group):
            break
    for index in reversed(began):
        DBOS.run_step({"name": f"undo {steps[index]['id']}"}, _crash_only, _undo, index)


def _do_group(group: list[int]) -> bool:
    return run_group(_work.run.plan["steps"], group, partial(_crash_only, _do))


def _crash_only(action: Callable[[int], bool], index: int) -> bool:
    """What escapes an outcome (the journal cannot be written) ends the process, like kill -9.

    An exception would end the workflow for good; a dead process is resumed.
    """
    try:
        return action(index)
    except BaseException as error:  # noqa: BLE001
        sys.stderr.write(f"\n{error}\n")
        sys.stderr.flush()
        os._exit(InfrastructureError.exit_code)


def _do(index: int) -> bool:
    """Do a step; whether the run goes on. What goes wrong in it is an outcome, never raised."""
    context, step = _work.context, _work.run.plan["steps"][index]
    journal = context.journal
    if (done := _last(journal, "end", step["id"])) is not None:
        return bool(done["status"] == "done")
    if (why := runs.asked_to_end(_work.run)) is not None:
        journal.write("aborted", before=step["id"], reason=why)
        return False
    journal.write("begin", step=step["id"])
    error = _attempt(context, step, VERBS[step["do"]].run)
    journal.write("end", step=step["id"], status="failed" if error else "done", error=error)
    return not error


def _undo(index: int) -> bool:
    """Undo a step, if its verb has an undo; a failure is an outcome, the next undo runs."""
    context, step = _work.context, _work.run.plan["steps"][index]
    undo, journal = VERBS[step["do"]].undo, context.journal
    began = _last(journal, "begin", step["id"]) is not None
    if undo is None or not began or _last(journal, "undo_end", step["id"]) is not None:
        return True
    journal.write("undo_begin", step=step["id"])
    error = _attempt(context, step, undo)
    journal.write("undo_end", step=step["id"], status="failed" if error else "done", error=error)
    return not error


def _attempt(context: Context, step: Mapping[str, Any], action: Callable[[Context], object]) -> str:
    """Call a verb or its undo; returns what went wrong, empty if nothing."""
    try:
        _call(context, step, action)
    except AnlanError as error:
        return error.what
    except Exception as error:  # noqa: BLE001  (a fault of ours must not keep undo from running)
        context.journal.write("bug", step=step["id"], type=type(error).__name__, error=str(error))
        return f"unexpected {type(error).__name__}: {error}"
    return ""


def _call(context: Context, step: Mapping[str, Any], action: Callable[[Context], object]) -> None:
    """Call, and where the plan says so call again when a server did not answer.

    That is for the step's time at most. What was found wrong (StepFailed) is not asked for again.
    """
    mine = context.for_step(step)
    for wait_seconds in _BACKOFF_SECONDS[: step.get("retries", 0)]:
        try:
            action(mine)
        except InfrastructureError as error:
            if time.monotonic() + wait_seconds > mine.deadline:
                raise
            context.journal.write(
                "retry", step=step["id"], error=error.what, wait_seconds=wait_seconds
            )
            time.sleep(wait_seconds)
        else:
            return
    action(mine)


def _last(journal: StepJournal, kind: str, step: str) -> Mapping[str, Any] | None:
    found = [e for e in journal.entries if e["kind"] == kind and e["step"] == step]
    return found[-1] if found else None
