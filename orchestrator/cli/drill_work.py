"""Working on a run in this process: what must be so first, its lock, its end, its exit code."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from orchestrator.cli import common
from orchestrator.cli.drill_plan import Planned
from orchestrator.model.errors import InfrastructureError, InputError, Refused

if TYPE_CHECKING:
    from orchestrator.engine.runs import Run
    from orchestrator.model.environment import Environment

PLANNING = "planning"


def run_drill(
    planned: Planned, *, as_json: bool = False, quiet: bool = False, summary: bool = True
) -> int:
    """Run a planned drill; prints its progress (unless `quiet`) and summary; the exit code.

    Raises Refused while another run holds the environment, InfrastructureError when a server does
    not answer: then no run is made. Raises Refused when it may not begin yet (approvals, change
    window): then it is made, to be approved.
    """
    from orchestrator.drivers.lease import LeaseFile  # noqa: PLC0415
    from orchestrator.engine import permit  # noqa: PLC0415
    from orchestrator.engine.database import engine_database  # noqa: PLC0415
    from orchestrator.model.environment import parse_environment  # noqa: PLC0415

    environment = parse_environment(planned.environment.decode())
    require_ready(planned.document, environment)
    engine_database(common.state_directory(), environment)
    run_id = str(planned.document["run_id"])
    if why := _not_permitted(planned.document):
        made = planned.make_run()
        if as_json:
            plan_file = str(made.directory / "plan.json")
            common.emit({"run": run_id, "state": made.state, "plan": plan_file, "why": why})
        raise Refused(f"run {run_id} is planned, and may not begin: {why}", permit.todo(run_id))
    # Before the directory is made: a run that is refused has not begun.
    holder = {"operator": planned.document["operator"], "phase": PLANNING}
    LeaseFile(environment.lease_file).acquire(run_id, holder)
    return work(planned.make_run(), as_json, quiet=quiet, summary=summary)


def _not_permitted(plan: Mapping[str, Any]) -> str:
    """Why a plan that nobody has approved yet may not be run now; empty if it may."""
    from orchestrator.evidence.persons.approvals import judge  # noqa: PLC0415
    from orchestrator.verdict.permission import why_not  # noqa: PLC0415

    return why_not(plan, judge(plan, {}), datetime.now(UTC)) if "approvals" in plan else ""


def require_ready(plan: Mapping[str, Any], environment: Environment) -> None:
    """Raises InfrastructureError, or InputError, when the run could not begin or be signed."""
    from orchestrator.engine import runs  # noqa: PLC0415

    phases = {step["phase"] for step in plan["steps"]}
    # What only looks reports a server that is down; without the secret manager nothing is signed.
    _require_answers(environment, ["secrets"] if phases == {"verify"} else None)
    _require_signer(environment)
    runs.require_room(common.state_directory(), "make room, then run the drill again")


def _require_signer(environment: Environment) -> None:
    """Raises InfrastructureError or InputError when nothing could be signed.

    Transit is not asked: the secret manager answers, or a run that holds the environment has it.
    """
    from orchestrator.drivers.secrets import Secrets  # noqa: PLC0415
    from orchestrator.drivers.signers import TRANSIT, signer_of, signer_settings  # noqa: PLC0415

    if signer_settings(environment)["driver"] != TRANSIT:
        signer_of(environment, Secrets(environment)).public_key_pem()


def _require_answers(environment: Environment, names: Sequence[str] | None) -> None:
    """Raises InfrastructureError for a server (of these names) that does not answer."""
    from orchestrator.drivers.lease import LeaseFile  # noqa: PLC0415
    from orchestrator.drivers.twin_egress import is_reached, production_endpoints  # noqa: PLC0415

    if LeaseFile(environment.lease_file).current().is_held:
        return  # the lease says who; its run may have taken the servers down
    for name, (address, port) in production_endpoints(environment).items():
        if (names is None or name in names) and not is_reached(address, port):
            raise InfrastructureError(
                f"{name} does not answer at {address}:{port}: no run was begun",
                f"see `anlan env check {environment.name}`; bring it back by "
                f"`anlan env restore {environment.name}` or `anlan up {environment.name} "
                "--refresh`",
            )


def work(run: Run, as_json: bool, *, quiet: bool = False, summary: bool = True) -> int:
    """Work on a run until it is finished; the exit code. Raises as `execute` does."""
    from orchestrator.cli.drill_progress import Progress, print_summary  # noqa: PLC0415
    from orchestrator.engine import runs  # noqa: PLC0415
    from orchestrator.engine.execute import execute  # noqa: PLC0415

    state = common.state_directory()
    with (
        runs.locked(run.directory),
        Progress(run, quiet=as_json or quiet) as progress,
        _abort_on_interrupt(lambda: runs.ask_to_end(run, "interrupted"), progress.say),
    ):
        try:
            problems = execute(run, state, progress)
        except (InfrastructureError, InputError) as error:
            # The run has begun and holds the environment: it must be finished, whatever the cause.
            resume = f"`anlan drill resume {run.run_id}`"
            if resume not in error.todo:
                error.todo = ", then ".join(filter(None, (error.todo, resume)))
            raise
        for problem in problems:
            progress.say(problem)
    finished = runs.load(state, run.run_id)
    result: Mapping[str, Any] = finished.result or {}
    if as_json:
        from orchestrator.engine.finish import bundle_path  # noqa: PLC0415

        bundle, report = bundle_path(state, run.run_id), run.directory / "report.html"
        common.emit({**result, "bundle": str(bundle), "report": str(report)})
    elif summary:
        print_summary(finished, state)
    return int(result["exit_code"])


@contextlib.contextmanager
def _abort_on_interrupt(abort_run: Any, say: Any) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM asks the run to end; the second is the usual one."""

    def ask(number: int, _frame: Any) -> None:
        abort_run()
        say("ending after the present step, with undo (again: leave now, resume later)")
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def free_unborn(run_id: str) -> bool:
    """Release the lease of a run that died before it had a directory; whether there was one.

    Raises Refused for a run that had begun and whose directory is gone.
    """
    from orchestrator.drivers.lease import LeaseFile  # noqa: PLC0415

    for name in common.environment_names():
        lease = LeaseFile(common.find_environment(name).lease_file)
        current = lease.current()
        if current.run_id != run_id:
            continue
        if current.holder.get("phase") != PLANNING:
            raise Refused(
                f"run {run_id} holds {name}, had begun, and has no directory here",
                f"use the state directory it was started with, or bring the environment back "
                f"without it: anlan env restore {name} --take-over {run_id}",
            )
        return lease.release(run_id)
    return False
