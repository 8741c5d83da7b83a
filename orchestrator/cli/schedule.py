"""`anlan schedule`: apply, list, next, pause, resume; `anlan worker`: run what is due."""

from __future__ import annotations

import contextlib
import getpass
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import common
from orchestrator.cli.drill_plan import find_drill, make_plan
from orchestrator.model.errors import AnlanError, InputError
from orchestrator.model.fact import timestamp
from orchestrator.model.folders import data_folder

if TYPE_CHECKING:
    from orchestrator.engine.runs import Run
    from orchestrator.engine.worker import Worker
    from orchestrator.model.schedule import Slot

_ENVIRONMENT = click.argument(
    "environment", metavar="ENV", shell_complete=common.complete_environment
)
_AHEAD = timedelta(days=366)
_WATCH_SECONDS = 1.0


@click.group()
def schedule() -> None:
    """When which drill runs. A due drill that does not run is recorded as missed.

    \b
    Examples:
      anlan schedule apply standard local
      anlan schedule next local
      anlan schedule pause local failover --reason "year-end closing"
      anlan worker
    """


@schedule.command()
@click.argument("name", metavar="SCHEDULE")
@_ENVIRONMENT
@click.option("--dry-run", is_flag=True, help="Check it and show its next runs; apply nothing.")
@common.json_option
def apply(name: str, environment: str, dry_run: bool, as_json: bool) -> None:
    """Put a schedule (a name in drills/schedules, or a file) in force on an environment.

    It is signed and kept in the evidence log: from now on an auditor can say which drills there
    must be. It replaces the one before; applying the same again changes nothing.

    \b
    Examples:
      anlan schedule apply standard local
      anlan schedule apply mine.yaml local
    """
    from orchestrator.drivers.secrets import Secrets  # noqa: PLC0415
    from orchestrator.engine.evidence import evidence_store  # noqa: PLC0415
    from orchestrator.engine.worker import schedules_of  # noqa: PLC0415
    from orchestrator.model.schedule import applied, parse_schedule  # noqa: PLC0415

    path = Path(name)
    if path.suffix not in {".yaml", ".yml"}:
        path = data_folder("drills") / "schedules" / f"{name}.yaml"
    found = common.find_environment(environment)
    try:
        wished = parse_schedule(path.read_text(), file=str(path))
    except OSError as error:
        known = ", ".join(p.stem for p in sorted(path.parent.glob("*.yaml"))) or "none"
        raise InputError(
            f"cannot read the schedule: {error.strerror}", f"here are: {known}", file=str(path)
        ) from error
    for number, entry in enumerate(wished["entries"]):
        given = {key: str(value) for key, value in entry.get("parameters", {}).items()}
        try:
            find_drill(entry["drill"], None).choose(given)
        except InputError as error:
            where = f"$.entries[{number}]"
            raise InputError(str(error), error.todo, file=str(path), path=where) from error
    record = applied(wished, environment, found.tier, getpass.getuser(), datetime.now(UTC))
    records = schedules_of(common.state_directory()).get(environment, [])
    same = bool(records) and all(records[-1][key] == record[key] for key in ("schedule", "tier"))
    if not (dry_run or same):
        store = evidence_store(common.state_directory(), found, Secrets(found), common.warn)
        store.record_schedule(record)
    coming = _coming(record, 5)
    if as_json:
        common.emit({"applied": not (dry_run or same), "record": record, "next": coming})
        return
    word = "would be applied" if dry_run else "is in force already" if same else "applied"
    click.echo(f"{path.stem} on {environment} (tier {found.tier}): {word}")
    _show(coming)


@schedule.command("list")
@common.json_option
def list_(as_json: bool) -> None:
    """List the entries in force: cron line, last run and its verdict, next run, pause.

    \b
    Example:
      anlan schedule list
    """
    from orchestrator.engine import runs  # noqa: PLC0415
    from orchestrator.engine.worker import Pauses, schedules_of  # noqa: PLC0415
    from orchestrator.model.schedule import cron_of, slots  # noqa: PLC0415

    state, now = common.state_directory(), datetime.now(UTC)
    history = [run for run in runs.history(state) if "scheduled" in run.plan]
    rows: list[dict[str, Any]] = []
    for environment, records in sorted(schedules_of(state).items()):
        following: dict[str, Slot] = {}
        for one in slots(records[-1], now, now + _AHEAD):
            following.setdefault(one.entry, one)
        for entry in records[-1]["schedule"]["entries"]:
            mine = [
                run
                for run in history
                if run.plan["scheduled"]["entry"] == entry["id"]
                and run.plan["environment"]["name"] == environment
            ]
            upcoming = following.get(entry["id"])
            rows.append(
                {
                    "environment": environment,
                    "entry": entry["id"],
                    "drill": entry["drill"],
                    "cron": cron_of(entry, records[-1]["tier"]),
                    "last": mine[-1].run_id if mine else None,
                    "verdict": (mine[-1].result or {}).get("verdict") if mine else None,
                    "next": timestamp(upcoming.start) if upcoming else None,
                    "paused": Pauses(state, environment).reason(entry["id"], now),
                }
            )
    if as_json:
        common.emit(rows)
        return
    if not rows:
        click.echo("no schedule is in force: anlan schedule apply standard ENV")
        return
    from rich.table import Table  # noqa: PLC0415

    table = Table("environment", "entry", "cron", "last", "verdict", "next", box=None)
    for row in rows:
        when = row["paused"] or (row["next"] or "never")[:16]
        cells = (row["environment"], row["entry"], row["cron"], row["last"] or "–")
        table.add_row(*cells, common.verdict_text(row["verdict"]), when)
    common.console().print(table, soft_wrap=False)


@schedule.command("next")
@_ENVIRONMENT
@click.option("--count", type=click.IntRange(1, 1000), default=10, show_default=True)
@common.json_option
def next_(environment: str, count: int, as_json: bool) -> None:
    """Show the coming runs of an environment, in order of time.

    \b
    Example:
      anlan schedule next local
    """
    from orchestrator.engine.worker import schedules_of  # noqa: PLC0415

    records = schedules_of(common.state_directory()).get(environment)
    if not records:
        raise InputError(
            f"no schedule is in force on {environment!r}", "`anlan schedule apply standard ENV`"
        )
    coming = _coming(records[-1], count)
    if as_json:
        common.emit(coming)
    else:
        _show(coming)


def _coming(record: dict[str, Any], count: int) -> list[dict[str, Any]]:
    from orchestrator.model.schedule import slots  # noqa: PLC0415

    now, days = datetime.now(UTC), 1
    found: list[Slot] = []
    while len(found) < count and days <= _AHEAD.days:
        found = sorted(slots(record, now, now + timedelta(days=days)), key=lambda one: one.start)
        days *= 4
    return [{**one.to_json(), "drill": one.drill, "run": one.run_id} for one in found[:count]]


def _show(coming: list[dict[str, Any]]) -> None:
    for one in coming:
        click.echo(f"  {one['start'][:16]}Z  {one['entry']:16} {one['drill']:16} {one['run']}")


@schedule.command()
@_ENVIRONMENT
@click.argument("entry")
@click.option("--reason", required=True, help="Why; it is told by every run that is missed.")
@click.option("--until", help="When it goes on by itself: a time with its zone.")
def pause(environment: str, entry: str, reason: str, until: str | None) -> None:
    """Pause an entry: its runs are recorded as missed, with the reason.

    \b
    Example:
      anlan schedule pause local failover --reason "quarter end"
    """
    from orchestrator.engine.worker import Pauses  # noqa: PLC0415

    _require_entry(environment, entry)
    try:
        end = timestamp(datetime.fromisoformat(until)) if until else ""
    except ValueError as error:
        todo = "such as 2026-12-01T06:00:00+00:00"
        raise InputError(f"{until!r}: {error}", todo, path="--until") from error
    pauses = Pauses(common.state_directory(), environment)
    since, by = timestamp(datetime.now(UTC)), getpass.getuser()
    kept = pauses.read()
    kept[entry] = {"by": by, "reason": reason, "since": since, "until": end}
    pauses.write(kept)
    click.echo(f"{entry} of {environment} is paused" + (f" until {end}" if end else ""))


@schedule.command()
@_ENVIRONMENT
@click.argument("entry")
def resume(environment: str, entry: str) -> None:
    """Let a paused entry run again.

    \b
    Example:
      anlan schedule resume local failover
    """
    from orchestrator.engine.worker import Pauses  # noqa: PLC0415

    _require_entry(environment, entry)
    pauses = Pauses(common.state_directory(), environment)
    kept = pauses.read()
    was = kept.pop(entry, None)
    pauses.write(kept)
    click.echo(f"{entry} of {environment} " + ("runs again" if was else "was not paused"))


def _require_entry(environment: str, entry: str) -> None:
    from orchestrator.engine.worker import schedules_of  # noqa: PLC0415

    records = schedules_of(common.state_directory()).get(environment, [])
    known = [one["id"] for one in records[-1]["schedule"]["entries"]] if records else []
    if entry not in known:
        raise InputError(
            f"the schedule of {environment!r} has no entry {entry!r}",
            f"it has: {', '.join(known) or 'none, no schedule is in force'}",
        )


@click.command()
@click.option("--once", is_flag=True, help="Do what is due now, then end.")
@click.option(
    "--poll-seconds", type=click.FloatRange(0.5, 600), default=5.0, show_default=True, help="Pause."
)
def worker(once: bool, poll_seconds: float) -> None:
    """Run what the schedules in force make due, record what was missed, take over dead runs.

    Several may work on one state directory. SIGTERM or Ctrl-C ends it after its present run, which
    is asked to end with its undo.

    \b
    Examples:
      anlan worker
      anlan worker --once        for cron or a systemd timer
    """
    from orchestrator.engine.worker import Worker  # noqa: PLC0415

    ending = False

    def end(_number: int, _frame: Any) -> None:
        nonlocal ending
        ending = True
        if child := _Child.process:
            child.terminate()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    grace = 0.0 if once else 10.0
    one = Worker(common.state_directory(), _plan_slot, _begin, _say, grace_seconds=grace)
    threading.Thread(target=_watch, args=(one,), daemon=True).start()
    while True:
        try:
            one.tick()
        except AnlanError as error:
            if once:
                raise
            # A worker does not end because something cannot be read just now.
            _say(f"not now: {error.what}")
        if once or ending:
            return
        until = time.monotonic() + poll_seconds
        while not ending and time.monotonic() < until:
            time.sleep(0.2)


def _watch(one: Worker) -> None:
    """End what is stalled while the worker works on something, or waits for it."""
    while True:
        with contextlib.suppress(AnlanError):  # the worker itself tells what it cannot read
            one.end_stalled()
        time.sleep(_WATCH_SECONDS)


def _say(text: str) -> None:
    click.echo(f"{timestamp(datetime.now(UTC))} {text}")


def _plan_slot(environment: str, slot: Slot, trigger: str) -> Run:
    given = tuple(f"{key}={value}" for key, value in slot.parameters.items())
    planned = make_plan(
        slot.drill,
        environment,
        given,
        run_id=slot.run_id,
        trigger=trigger,
        scheduled=slot.to_json(),
    )
    return planned.make_run()


class _Child:
    """The run that this worker works on, in a process of its own: its death is not the worker's."""

    process: subprocess.Popen[str] | None = None


def _begin(run: Run) -> str:
    command = [sys.executable, "-m", "orchestrator", "drill", "resume", run.run_id, "--json"]
    with subprocess.Popen(
        command,
        env={**os.environ, "ANLAN_STATE_DIR": str(common.state_directory())},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        _Child.process = process
        _, said = process.communicate()
        _Child.process = None
    lines = [line for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error:")] or lines[-1:]
    return (errors or [f"it ended with {process.returncode}"])[0].removeprefix("error: ")
