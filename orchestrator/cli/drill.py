"""`anlan drill`: list, show, plan, run, resume, abort, status, history, approve, reject."""

from __future__ import annotations

import contextlib
import getpass
import json
import signal
import statistics
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import common
from orchestrator.cli.drill_approve import approve, reject
from orchestrator.model.errors import InfrastructureError, InputError, Refused
from orchestrator.model.folders import data_folder

if TYPE_CHECKING:
    from orchestrator.engine.runs import Run
    from orchestrator.model.drill import Drill
    from orchestrator.model.environment import Environment


def _complete_drill(_ctx: click.Context, _param: click.Parameter, text: str) -> list[str]:
    return [p.stem for p in sorted(data_folder("drills").glob(f"{text}*.yaml"))]


PLANNING = "planning"
_EXIT_INTERRUPTED = 5
_ESTIMATED_FROM = 5

_DRILL = click.argument("name", metavar="DRILL", shell_complete=_complete_drill)
_ENVIRONMENT = click.argument(
    "environment", metavar="ENV", shell_complete=common.complete_environment
)
_RUN = click.argument("run_id", metavar="RUN", shell_complete=common.complete_run)
_DRILLS = click.option(
    "--drills",
    "folder",
    type=click.Path(path_type=Path),
    help="Folder of drills.  [default: drills]",
)
_SET = click.option(
    "-p",
    "--parameter",
    "parameters",
    multiple=True,
    metavar="NAME=VALUE",
    help="Choose a parameter of the drill; may be repeated.",
)
_POLICIES = click.option(
    "--policies",
    "policy_folder",
    type=click.Path(path_type=Path),
    help="Folder of policies.  [default: policies]",
)


@click.group()
def drill() -> None:
    """Plan, run and follow drills.

    \b
    Examples:
      anlan drill plan failover local
      anlan drill run restore local -p target=random -p repository=1
      anlan drill resume failover-20261124t201500-ab12
    """


drill.add_command(approve)
drill.add_command(reject)


@drill.command("list")
@_DRILLS
@common.json_option
def list_(folder: Path | None, as_json: bool) -> None:
    """List the drills."""
    found = [_load(path) for path in sorted(_folder(folder).glob("*.yaml"))]
    if as_json:
        common.emit([_summary(one) for one in found])
        return
    from rich.table import Table  # noqa: PLC0415

    table = Table("drill", "impact", "steps", "purpose", box=None, pad_edge=False)
    for one in found:
        table.add_row(one.name, one.impact, str(len(one.steps)), one.purpose["en"])
    common.console().print(table, soft_wrap=False)


@drill.command()
@_DRILL
@_DRILLS
@common.json_option
def show(name: str, folder: Path | None, as_json: bool) -> None:
    """Show a drill: purpose, parameters, targets and steps."""
    found = find_drill(name, folder)
    if as_json:
        common.emit({**_summary(found), "steps": [vars(step) for step in found.steps]})
        return
    out = common.console()
    out.print(f"[bold]{found.title['en']}[/] · {found.title['zh']}")
    out.print(f"{found.purpose['en']}\n{found.purpose['zh']}\n")
    out.print(f"scenario   {found.scenario['en']}\nimpact     {found.impact}")
    out.print("targets    " + (", ".join(found.targets) or "none"))
    for parameter in found.parameters:
        out.print(f"parameter  {parameter.name} = {parameter.default}: {parameter.help}")
    for number, step in enumerate(found.steps, start=1):
        after = _after(step.needs, [one.id for one in found.steps[: number - 1]])
        out.print(f"{number:3}. {step.phase:9} {step.id:22} {step.title['en']}{after}")


def _budget_lines(made: Mapping[str, Any]) -> Iterator[str]:
    """When a plan's run would end itself, as a line."""
    if (budget := made.get("abort")) is None:
        return
    limits = []
    if "error_rate" in budget:
        limits.append(f"more than {budget['error_rate']:.0%} of the writes fail")
    if "lag_bytes" in budget:
        limits.append(f"the standby lags by more than {budget['lag_bytes']} bytes")
    until = ", until its fault" if made["impact"] == "production" else ""
    yield f"abort      if {' or '.join(limits)}, for {budget['over_seconds']:g} s{until}"


def rule_lines(made: Mapping[str, Any]) -> Iterator[str]:
    """What a plan's approval rule asks for, as lines."""
    from orchestrator.model import change_window  # noqa: PLC0415

    if (rule := made.get("approvals")) is None:
        return
    names = ", ".join(one["name"] for one in rule["approvers"])
    yield f"approvals  {rule['required']} of {names}; not of {made['operator']}, who plans it"
    for window in rule.get("change_windows", []):
        yield f"window     {change_window.text(window)}"


def _after(needs: Sequence[str], before: Sequence[str]) -> str:
    """Which steps must be done first, where that is not just the one before."""
    if list(needs) == list(before[-1:]):
        return ""
    return f"  [dim]after {', '.join(str(before.index(one) + 1) for one in needs)}[/]"


@drill.command()
@_DRILL
@_ENVIRONMENT
@_SET
@_DRILLS
@_POLICIES
@common.json_option
def plan(
    *,
    name: str,
    environment: str,
    parameters: tuple[str, ...],
    folder: Path | None,
    policy_folder: Path | None,
    as_json: bool,
) -> None:
    """Print what a run would do: steps, targets, impact. Nothing is touched or written."""
    made = make_plan(name, environment, parameters, folder, policy_folder).document
    usual = usual_seconds(made)
    if as_json:
        common.emit({**made, "estimate": usual})
    else:
        show_plan(made, usual)


def usual_seconds(made: Mapping[str, Any]) -> dict[str, Any] | None:
    """How long the last passed runs of a plan's drill took: median seconds, and of how many."""
    from orchestrator.engine import runs  # noqa: PLC0415
    from orchestrator.model.fact import parse_timestamp  # noqa: PLC0415

    took, wanted = [], (made["drill"]["name"], made["environment"]["name"])
    for run in runs.history(common.state_directory()):
        about = run.plan["drill"]["name"], run.plan["environment"]["name"]
        if about == wanted and run.result and run.result["verdict"] == "pass":
            began, ended = (parse_timestamp(run.result[key]) for key in ("started_at", "ended_at"))
            took.append((ended - began).total_seconds())
    if not took:
        return None
    newest = took[-_ESTIMATED_FROM:]
    return {"seconds": round(statistics.median(newest), 1), "runs": len(newest)}


def show_plan(made: Mapping[str, Any], usual: Mapping[str, Any] | None) -> None:
    """Print a plan as a person reads it."""
    environment = made["environment"]["name"]
    out = common.console()
    out.print(
        f"[bold]{made['drill']['title']['en']}[/] on {environment} "
        f"(tier {made['environment']['tier']}), impact: {made['impact']}"
    )
    for key, value in made["targets"].items():
        out.print(f"target     {key} ≤ {value:g}")
    for key, value in made["parameters"].items():
        out.print(f"parameter  {key} = {value}")
    for number, step in enumerate(made["steps"], start=1):
        after = _after(step["needs"], [one["id"] for one in made["steps"][: number - 1]])
        out.print(
            f"{number:3}. {step['phase']:9} {step['title']['en']}"
            f"  [dim]{step['do']}, at most {step['timeout_seconds']:g} s[/]{after}"
        )
    for line in (*_budget_lines(made), *rule_lines(made)):
        out.print(line)
    out.print(f"policies   {len(made['policies'])} files, judged after the last step")
    if usual:
        runs = "its last passed run" if usual["runs"] == 1 else f"{usual['runs']} passed runs"
        out.print(f"estimate   {usual['seconds']:g} s, by {runs} here")
    else:
        out.print("estimate   none: it never passed here")


@drill.command()
@_DRILL
@_ENVIRONMENT
@_SET
@_DRILLS
@_POLICIES
@click.option("--dry-run", is_flag=True, help="Print the plan and check what must be; no more.")
@common.json_option
def run(
    *,
    name: str,
    environment: str,
    parameters: tuple[str, ...],
    folder: Path | None,
    policy_folder: Path | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Run a drill for real. Ctrl-C ends it after the present step, with its undo.

    \b
    Examples:
      anlan drill run backup local
      anlan drill run failover local -p baseline_seconds=10

    After kill -9 at any moment: anlan drill resume RUN

    Where its impact needs approval, or a change window, it is planned alone (exit code 3): approve
    it (anlan drill approve), then begin it (anlan drill resume).
    """
    planned = make_plan(name, environment, parameters, folder, policy_folder)
    if dry_run:
        return _rehearse(planned, as_json=as_json)
    return run_drill(planned, as_json=as_json)


def _rehearse(planned: Planned, *, as_json: bool) -> int:
    """Print the plan and what a run would need first; 4 when something is not, 3 when held."""
    from orchestrator.cli.env import asked, show_asked  # noqa: PLC0415
    from orchestrator.model.environment import parse_environment  # noqa: PLC0415

    made = planned.document
    state = asked(parse_environment(planned.environment.decode()))
    usual = usual_seconds(made)
    if as_json:
        common.emit({**made, "estimate": usual, "preconditions": state})
    else:
        show_plan(made, usual)
        show_asked(state)
    if state["held_by"]:
        return Refused.exit_code
    return 0 if state["ok"] else InfrastructureError.exit_code


@drill.command()
@_RUN
@common.json_option
def resume(run_id: str, as_json: bool) -> int:
    """Begin a planned run, or finish one that was cut short: its steps, undo and evidence."""
    from orchestrator.engine import runs  # noqa: PLC0415
    from orchestrator.model.environment import load_environment  # noqa: PLC0415

    try:
        found = runs.load(common.state_directory(), run_id)
    except InputError:
        if _free_unborn(run_id):
            click.echo(f"run {run_id} had not begun, nothing was touched; its lease is released")
            return 0
        raise
    if found.state == "planned":
        _require_ready(found.plan, load_environment(found.directory / "environment.json"))
    return work(found, as_json)


def _free_unborn(run_id: str) -> bool:
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


@drill.command()
@_RUN
@common.json_option
def abort(run_id: str, as_json: bool) -> None:
    """End a run after its present step; its undo runs, its evidence is made."""
    from orchestrator.engine import runs  # noqa: PLC0415

    found = runs.load(common.state_directory(), run_id)
    if found.state == "finished":
        raise Refused(f"run {found.run_id} is finished", "there is nothing to abort")
    runs.ask_to_end(found, f"by {getpass.getuser()}")
    if as_json:
        common.emit({"run": found.run_id, "state": found.state, "aborting": True})
        return
    more = (
        "" if found.state in {"running", "stalled"} else f"; now: anlan drill resume {found.run_id}"
    )
    click.echo(f"run {found.run_id} will end after its present step{more}")


@drill.command()
@_RUN
@common.json_option
def status(run_id: str, as_json: bool) -> None:
    """Show where a run is: finished, running or interrupted, and its steps."""
    from orchestrator.engine import permit, runs  # noqa: PLC0415

    found = runs.load(common.state_directory(), run_id)
    entries = found.journal.entries
    steps = []
    for step in found.plan["steps"]:
        ends = [e for e in entries if e["kind"] == "end" and e["step"] == step["id"]]
        began = any(e["kind"] == "begin" and e["step"] == step["id"] for e in entries)
        done = ends[-1]["status"] if ends else "begun" if began else "to do"
        steps.append({"id": step["id"], "status": done, "title": step["title"]["en"]})
    verdict = found.result["verdict"] if found.result else None
    if as_json:
        common.emit({"run": found.run_id, "state": found.state, "verdict": verdict, "steps": steps})
        return
    out = common.console()
    out.print(f"{found.run_id}: {found.state}, {common.verdict_text(verdict)}")
    for one in steps:
        out.print(f"  {one['status']:8} {one['title']}")
    if found.state == "interrupted":
        out.print(f"finish it: anlan drill resume {found.run_id}")
    elif found.state == "stalled":
        out.print("its process does not move; `anlan worker` ends it and takes the run over")
    elif found.state == "planned":
        why = permit.refusal(found, datetime.now(UTC))
        ready = f"begin it: anlan drill resume {found.run_id}"
        out.print(f"nothing was begun; {f'may not begin: {why}' if why else ready}")


@drill.command()
@click.argument("run_id", required=False, metavar="[RUN]", shell_complete=common.complete_run)
@click.option(
    "--json", "as_json", is_flag=True, help="Print each event as a CloudEvent, a line each."
)
@click.option(
    "--webhook", metavar="URL", help="POST each event there as well; token: ANLAN_WEBHOOK_TOKEN."
)
def watch(run_id: str | None, as_json: bool, webhook: str | None) -> int:
    """Follow a run (default: the newest) until it ends: steps, time since the fault, ledger rate.

    Works from another terminal, also for a run that has ended. The exit code is the run's, or 5
    when nobody works on it any more and it has not ended. A webhook gets every event from the
    run's beginning, at least once; one that does not take it ends the watching, not the run (4).

    \b
    Examples:
      anlan drill watch
      anlan drill watch failover-20261124t201500-ab12 --json | jq .data
      anlan drill watch --webhook https://events.example.org/anlan
    """
    from orchestrator.cli.drill_progress import Progress, print_summary  # noqa: PLC0415
    from orchestrator.cli.drill_watch import follow  # noqa: PLC0415
    from orchestrator.cli.webhook import Webhook  # noqa: PLC0415
    from orchestrator.engine import runs  # noqa: PLC0415

    state = common.state_directory()
    if run_id is None:
        known = runs.history(state)
        if not known:
            raise InputError(
                "there is no run to watch", "anlan drill run DRILL ENV", file=str(state)
            )
        found = known[-1]
    else:
        found = runs.load(state, run_id)
    there = Webhook(webhook) if webhook else None
    with Progress(found, quiet=as_json) as progress:
        follow(found, progress, as_json=as_json, webhook=there)
    found = found.reload()
    if found.result is None or found.state != "finished":
        click.echo(f"nobody works on it; finish it: anlan drill resume {found.run_id}", err=True)
        return _EXIT_INTERRUPTED
    if not as_json:
        print_summary(found, state)
    return int(found.result["exit_code"])


@drill.command()
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="How many.")
@common.json_option
def history(limit: int, as_json: bool) -> None:
    """List the runs, the newest first: also those that failed or never ended."""
    from orchestrator.engine import runs  # noqa: PLC0415

    rows = [_history_row(one) for one in reversed(runs.history(common.state_directory()))]
    if as_json:
        common.emit(rows[:limit])
        return
    from rich.table import Table  # noqa: PLC0415

    table = Table("run", "environment", "state", "verdict", "RTO s", "lost", box=None)
    for row in rows[:limit]:
        table.add_row(
            row["run"],
            row["environment"],
            row["state"],
            common.verdict_text(row["verdict"]),
            _number(row["rto_seconds"]),
            _number(row["rpo_transactions"]),
        )
    common.console().print(table, soft_wrap=False)


def _history_row(run: Run) -> dict[str, Any]:
    derived = (run.result or {}).get("derived", {})
    return {
        "run": run.run_id,
        "drill": run.plan["drill"]["name"],
        "environment": run.plan["environment"]["name"],
        "state": run.state,
        "verdict": derived.get("verdict"),
        "rto_seconds": derived.get("rto_seconds"),
        "rpo_seconds": derived.get("rpo_seconds"),
        "rpo_transactions": derived.get("rpo_transactions"),
        "policies": derived.get("policies"),
    }


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:g}" if isinstance(value, int) else f"{value:.2f}"


class Planned:
    """A plan and the bytes that it is about."""

    def __init__(
        self, drill: Drill, document: dict[str, Any], environment: bytes, policies: dict[str, bytes]
    ) -> None:
        self.drill = drill
        self.document = document
        self.environment = environment
        self.policies = policies

    def make_run(self) -> Run:
        """Make the directory of its run. Raises InfrastructureError, also when there is one."""
        from orchestrator.engine import runs  # noqa: PLC0415

        state, text = common.state_directory(), self.drill.text
        return runs.create(state, self.document, text, self.environment, self.policies)


def find_drill(name: str, folder: Path | None) -> Drill:
    """Return a drill by its name, or by the path of its file. Raises InputError."""
    path = Path(name)
    if path.suffix not in {".yaml", ".yml"}:
        path = _folder(folder) / f"{name}.yaml"
    return _load(path)


def make_plan(
    name: str,
    environment: str,
    parameters: tuple[str, ...] = (),
    folder: Path | None = None,
    policy_folder: Path | None = None,
    *,
    run_id: str | None = None,
    trigger: str = "manual",
    scheduled: Mapping[str, Any] | None = None,
) -> Planned:
    """Return the plan of a new run; `scheduled` is its slot. Raises InputError."""
    from orchestrator.engine.runs import new_run_id  # noqa: PLC0415
    from orchestrator.evidence.approvals import check_rule  # noqa: PLC0415
    from orchestrator.model.canonical import sha256  # noqa: PLC0415
    from orchestrator.model.drill import plan as plan_of  # noqa: PLC0415
    from orchestrator.model.environment import parse_environment  # noqa: PLC0415
    from orchestrator.policy import parse_rules  # noqa: PLC0415

    found = find_drill(name, folder)
    path = common.descriptor_path(environment)
    text = path.read_bytes()
    parse_environment(text.decode(), file=str(path))
    given = {}
    for parameter in parameters:
        key, equals, value = parameter.partition("=")
        if not equals:
            raise InputError(f"{parameter!r} is not NAME=VALUE", "write -p target=random")
        given[key] = value
    policies = common.read_folder(policy_folder or data_folder("policies"))
    parse_rules({key: content.decode() for key, content in policies.items()})
    if rule := json.loads(text).get("approvals"):
        check_rule(rule, file=str(path), path="$.approvals")
    now = datetime.now(UTC)
    document = plan_of(
        found,
        json.loads(text),
        sha256(text),
        found.choose(given),
        policies,
        run_id=run_id or new_run_id(found.name, now),
        operator=getpass.getuser(),
        tool={"name": "anlan", "version": version("anlan")},
        created_at=now,
        trigger=trigger,
        scheduled=scheduled,
    )
    return Planned(found, document, text, policies)


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
    _require_ready(planned.document, environment)
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
    from orchestrator.engine.permit import why_not  # noqa: PLC0415
    from orchestrator.evidence.approvals import judge  # noqa: PLC0415

    return why_not(plan, judge(plan, {}), datetime.now(UTC)) if "approvals" in plan else ""


def _require_ready(plan: Mapping[str, Any], environment: Environment) -> None:
    """Raises InfrastructureError when the run could not begin."""
    from orchestrator.engine import runs  # noqa: PLC0415

    phases = {step["phase"] for step in plan["steps"]}
    # What only looks reports a server that is down; without the secret manager nothing is signed.
    _require_answers(environment, ["secrets"] if phases == {"verify"} else None)
    runs.require_room(common.state_directory(), "make room, then run the drill again")


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
        except InfrastructureError as error:
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


def _folder(folder: Path | None) -> Path:
    return folder or data_folder("drills")


def _load(path: Path) -> Drill:
    from orchestrator.model.drill import parse_drill  # noqa: PLC0415
    from orchestrator.steps import VERBS  # noqa: PLC0415

    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        known = ", ".join(p.stem for p in sorted(path.parent.glob("*.yaml")))
        raise InputError(
            f"cannot read the drill: {error}", f"drills here: {known or 'none'}", file=str(path)
        ) from error
    return parse_drill(text, VERBS, file=str(path))


def _summary(drill: Drill) -> dict[str, Any]:
    return {
        "name": drill.name,
        "title": drill.title,
        "purpose": drill.purpose,
        "impact": drill.impact,
        "parameters": [vars(parameter) for parameter in drill.parameters],
        "targets": drill.targets,
        "digest": drill.digest,
    }
