"""`anlan drill`: list, show, plan, run, resume, abort, status, history, approve, reject."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import common
from orchestrator.cli.drill_approve import approve, reject
from orchestrator.cli.drill_plan import (
    Planned,
    after,
    drill_summary,
    drills_folder,
    find_drill,
    load_drill,
    make_plan,
    show_plan,
    usual_seconds,
)
from orchestrator.cli.drill_work import free_unborn, require_ready, run_drill, work
from orchestrator.model.errors import InfrastructureError, InputError, Refused
from orchestrator.model.folders import data_folder

if TYPE_CHECKING:
    from orchestrator.engine.runs import Run


def _complete_drill(_ctx: click.Context, _param: click.Parameter, text: str) -> list[str]:
    return [p.stem for p in sorted(data_folder("drills").glob(f"{text}*.yaml"))]


_EXIT_INTERRUPTED = 5

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
    """List the drills.

    \b
    Example:
      anlan drill list
    """
    found = [load_drill(path) for path in sorted(drills_folder(folder).glob("*.yaml"))]
    if as_json:
        common.emit([drill_summary(one) for one in found])
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
    """Show a drill: purpose, parameters, targets and steps.

    \b
    Example:
      anlan drill show failover
    """
    found = find_drill(name, folder)
    if as_json:
        common.emit({**drill_summary(found), "steps": [vars(step) for step in found.steps]})
        return
    out = common.console()
    out.print(f"[bold]{found.title['en']}[/] · {found.title['zh']}")
    out.print(f"{found.purpose['en']}\n{found.purpose['zh']}\n")
    out.print(f"scenario   {found.scenario['en']}\nimpact     {found.impact}")
    out.print("targets    " + (", ".join(found.targets) or "none"))
    for parameter in found.parameters:
        out.print(f"parameter  {parameter.name} = {parameter.default}: {parameter.help}")
    for number, step in enumerate(found.steps, start=1):
        waits = after(step.needs, [one.id for one in found.steps[: number - 1]])
        out.print(f"{number:3}. {step.phase:9} {step.id:22} {step.title['en']}{waits}")


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
    """Print what a run would do: steps, targets, impact. Nothing is touched or written.

    \b
    Example:
      anlan drill plan failover local
    """
    made = make_plan(name, environment, parameters, folder, policy_folder).document
    usual = usual_seconds(made)
    if as_json:
        common.emit({**made, "estimate": usual})
    else:
        show_plan(made, usual)


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
    """Begin a planned run, or finish one that was cut short: its steps, undo and evidence.

    \b
    Example:
      anlan drill resume failover-20261128t202116-7b2c
    """
    from orchestrator.engine import runs  # noqa: PLC0415
    from orchestrator.model.environment import load_environment  # noqa: PLC0415

    try:
        found = runs.load(common.state_directory(), run_id)
    except InputError:
        if free_unborn(run_id):
            click.echo(f"run {run_id} had not begun, nothing was touched; its lease is released")
            return 0
        raise
    if found.state == "planned":
        require_ready(found.plan, load_environment(found.directory / "environment.json"))
    return work(found, as_json)


@drill.command()
@_RUN
@common.json_option
def abort(run_id: str, as_json: bool) -> None:
    """End a run after its present step; its undo runs, its evidence is made.

    \b
    Example:
      anlan drill abort failover-20261128t202116-7b2c
    """
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
    """Show where a run is: finished, running or interrupted, and its steps.

    \b
    Example:
      anlan drill status failover-20261128t202116-7b2c
    """
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
    """List the runs, the newest first: also those that failed or never ended.

    \b
    Example:
      anlan drill history
    """
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
