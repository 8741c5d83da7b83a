"""`anlan up`, `anlan down`, `anlan refresh`: environments through Pulumi, with progress."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from orchestrator.cli.common import emit, json_option
from orchestrator.model.errors import InputError

if TYPE_CHECKING:
    from stacks.automation import Outcome, PartEvent, Report

_DRIFT_FOUND = 1
_STYLES = {"started": "dim", "done": "green", "failed": "bold red", "planned": "yellow"}


@click.command()
@click.argument("environment", default="local", metavar="[ENV]")
@click.option(
    "--config", "-c", multiple=True, metavar="KEY=VALUE", help="Set and keep a key; repeatable."
)
@click.option("--refresh", is_flag=True, help="Look for drift first, and repair it.")
@click.option("--dry-run", is_flag=True, help="Say what would change; change nothing.")
@json_option
def up(
    environment: str, config: tuple[str, ...], refresh: bool, dry_run: bool, as_json: bool
) -> None:
    """Provision an environment, or bring it to its configuration.

    The policies judge it first: exit code 3 when one of severity P0 or P1 does not allow it;
    nothing is deployed then, and the settings given are not kept.

    \b
    Examples:
      anlan up                                        the environment `local`
      anlan up trial -c tier=standard -c portsBase=18000 -c addresses.a=127.0.11.1
    """
    from stacks import automation  # noqa: PLC0415

    settings = dict(_setting(text) for text in config)
    with progress(environment) as report:
        outcome = automation.up(environment, settings, report, preview=dry_run, refresh=refresh)
    _show(outcome, "would change" if dry_run else "up", as_json=as_json)


@click.command()
@click.argument("environment", default="local", metavar="[ENV]")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--force", is_flag=True, help="Even while a drill holds it, or a role fails.")
@click.option("--dry-run", is_flag=True, help="Say what would go; change nothing.")
@json_option
def down(environment: str, yes: bool, force: bool, dry_run: bool, as_json: bool) -> None:
    """Remove an environment: its processes, its files, its stack.

    \b
    Example:
      anlan down local
    """
    from stacks import automation  # noqa: PLC0415

    if not (yes or dry_run):
        if not sys.stdin.isatty():
            raise InputError("nobody to ask", "give --yes to remove the environment", path="--yes")
        click.confirm(f"Remove the environment {environment} with its data?", abort=True, err=True)
    with progress(environment) as report:
        outcome = automation.down(environment, report, preview=dry_run, force=force)
    _show(outcome, "would go" if dry_run else "down", as_json=as_json)


@click.command()
@click.argument("environment", default="local", metavar="[ENV]")
@click.option("--dry-run", is_flag=True, help="List the drift; do not note it for `anlan up`.")
@json_option
def refresh(environment: str, dry_run: bool, as_json: bool) -> int:
    """Find what differs from the configuration (drift); exit code 1 when something does.

    `anlan up` repairs what was found.

    \b
    Example:
      anlan refresh local
    """
    from stacks import automation  # noqa: PLC0415

    with progress(environment) as report:
        outcome = automation.refresh(environment, report, preview=dry_run)
    _show(outcome, "drift" if outcome.drift else "no drift", as_json=as_json)
    return _DRIFT_FOUND if outcome.drift else 0


def _setting(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise InputError(f"{text!r} is not KEY=VALUE", "write it as -c tier=VIP", path="--config")
    return key, value


@contextmanager
def progress(environment: str) -> Iterator[Report]:
    """One line per part as it begins and ends, on standard error; a spinner on a terminal."""
    from rich.console import Console  # noqa: PLC0415
    from rich.markup import escape  # noqa: PLC0415

    console = Console(stderr=True, highlight=False)
    running: set[str] = set()

    with console.status(f"{environment}: starting pulumi") as status:

        def report(event: PartEvent) -> None:
            (running.add if event.state == "started" else running.discard)(event.part)
            seconds = "" if event.state in ("started", "planned") else f"{event.seconds:6.1f} s"
            style = _STYLES[event.state]
            line = f"{event.part:18} {event.action:8} {event.state:8} {seconds}"
            console.print(f"[{style}]{escape(line.rstrip())}[/]", soft_wrap=True)
            status.update(f"{environment}: {', '.join(sorted(running)) or 'waiting for pulumi'}")

        yield report


def _show(outcome: Outcome, title: str, *, as_json: bool) -> None:
    if as_json:
        emit(
            {
                "environment": outcome.environment,
                "descriptor": outcome.descriptor,
                "seconds": outcome.seconds,
                "changes": outcome.changes,
                "drift": outcome.drift,
                "notices": outcome.notices,
            }
        )
        return
    counts = ", ".join(f"{count} {name}" for name, count in outcome.changes.items() if count)
    click.echo(f"{outcome.environment}: {title} in {outcome.seconds:.1f} s ({counts or 'nothing'})")
    for notice in outcome.notices:
        click.echo(f"  policy {notice}")
    if outcome.drift:
        click.echo("  differed from the configuration:")
    for part, tasks in sorted(outcome.drift.items()):
        for task in tasks:
            click.echo(f"    {part}: {task}")
    if outcome.descriptor:
        click.echo(f"  {outcome.descriptor}")
