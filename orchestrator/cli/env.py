"""`anlan env`: list, show, check and restore environments."""

from __future__ import annotations

import getpass
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import common
from orchestrator.model.errors import AnlanError, InfrastructureError, InputError

if TYPE_CHECKING:
    from orchestrator.model.environment import Environment
    from orchestrator.steps.context import Context

_ENVIRONMENT = click.argument("name", metavar="ENV", shell_complete=common.complete_environment)


@click.group()
def env() -> None:
    """List, show and check environments.

    \b
    Examples:
      anlan env check local      is every part as it must be? exit 4 if not
      anlan env show local --json | jq .sites.a.erp.url
    """


@env.command("list")
@common.json_option
def list_(as_json: bool) -> None:
    """List the environments of this state directory.

    \b
    Example:
      anlan env list
    """
    rows = []
    for name in common.environment_names():
        try:
            found = common.find_environment(name)
        except AnlanError as error:
            rows.append({"name": name, "tier": None, "url": None, "problem": error.what})
            continue
        url = found.front_door.url
        rows.append({"name": name, "tier": found.tier, "url": url, "problem": None})
    if as_json:
        common.emit(rows)
        return
    if not rows:
        click.echo("no environment; provision one: anlan up local")
    for row in rows:
        found_at = row["problem"] or f"{row['tier']:9} {row['url']}"
        click.echo(f"{row['name']:16} {found_at}")


@env.command()
@_ENVIRONMENT
@common.json_option
def show(name: str, as_json: bool) -> None:
    """Show an environment: where each part answers, and its targets. No secrets.

    \b
    Examples:
      anlan env show local
      anlan env show local --json
    """
    path = common.descriptor_path(name)
    found = common.find_environment(name)
    if as_json:
        common.emit(json.loads(path.read_text()))
        return
    out = common.console()
    targets = found.targets
    out.print(f"[bold]{found.name}[/] tier {found.tier}, {path}")
    out.print(f"front door  {found.front_door.url}\nsecrets     {found.secrets.url}")
    out.print(
        f"targets     RTO {targets.rto_seconds:g} s, RPO {targets.rpo_transactions} transactions "
        f"and {targets.rpo_seconds:g} s, restore {targets.restore_rto_seconds:g} s"
    )
    for site in found.sites.values():
        database = site.database
        out.print(f"site {site.name} ({site.role}): {site.machine.directory}")
        out.print(f"  database  {database.address}:{database.port}/{database.name}")
        out.print(f"  ERP       {site.erp.url}\n  store     {site.object_store.url}")
    lease = _lease(found)
    if lease:
        out.print(f"held by run {lease}")


@env.command()
@_ENVIRONMENT
@common.json_option
def check(name: str, as_json: bool) -> int:
    """Check that every part answers and is as it must be. Exit 4 when something is not.

    \b
    Example:
      anlan env check local
    """
    state = asked(common.find_environment(name))
    if as_json:
        common.emit(state)
    else:
        show_asked(state)
    return 0 if state["ok"] else InfrastructureError.exit_code


def asked(environment: Environment) -> dict[str, Any]:
    """Whether an environment is fit for a drill: each check, and the run that holds it."""
    from orchestrator.steps.environment import survey  # noqa: PLC0415

    context = _context(environment, f"check-{environment.name}")
    rows: list[dict[str, Any]] = []
    try:
        for label, holds, detail in survey(context):
            rows.append({"check": label, "ok": holds, "detail": detail})
    except AnlanError as error:
        rows.append({"check": "survey", "ok": False, "detail": str(error)})
    good, holder = all(row["ok"] for row in rows), _lease(environment)
    return {"environment": environment.name, "ok": good, "held_by": holder, "checks": rows}


def show_asked(state: dict[str, Any]) -> None:
    """Print what `asked` found, and what to do."""
    out, name, holder = common.console(), state["environment"], state["held_by"]
    for row in state["checks"]:
        sign = "[green]✔[/]" if row["ok"] else "[bold red]✘[/]"
        out.print(f"{sign} {row['check'].replace('_', ' ')}  [dim]{row['detail']}[/]")
    if holder:
        out.print(f"held by run {holder}: anlan drill status {holder}")
    elif not state["ok"]:
        out.print(f"bring it back: anlan env restore {name}, or anlan up {name}")


@env.command()
@_ENVIRONMENT
@click.option(
    "--take-over",
    metavar="RUN",
    default="",
    help="Take the environment from this run, which cannot be resumed any more.",
)
@common.json_option
def restore(name: str, take_over: str, as_json: bool) -> int:
    """Bring both sites back to where they start: machines, roles, replication, routing.

    Refused while a run holds the environment: resume that run instead. Nothing that was
    acknowledged is lost; a database is never started beside another primary.

    \b
    Example:
      anlan env restore local
    """
    from orchestrator.drivers.certificates import server_certificates  # noqa: PLC0415
    from orchestrator.drivers.lease import LeaseFile  # noqa: PLC0415
    from orchestrator.steps import topology  # noqa: PLC0415
    from orchestrator.steps.secrets import bring_back  # noqa: PLC0415

    environment = common.find_environment(name)
    run_id = f"restore-{datetime.now(UTC):%Y%m%dt%H%M%S}"
    lease = LeaseFile(environment.lease_file)
    if take_over and not lease.release(take_over):
        raise InputError(
            f"run {take_over} does not hold {name}",
            f"held by: {lease.current().run_id or 'nobody'}",
            path="--take-over",
        )
    token = lease.acquire(run_id, {"operator": getpass.getuser()})
    context = _context(environment, run_id)
    context.token = token
    if not as_json:
        out = common.progress_console()
        context.journal.listener = lambda entry: (
            out.print(f"{entry['verb']} {entry['site']}") if entry["kind"] == "transition" else None
        )
    try:
        bring_back(context)  # the rest needs it
        for certificate in server_certificates(environment).values():
            certificate.put_back(token)
        made = topology.restore(context)
    finally:
        lease.release(run_id)
    if as_json:
        common.emit({"environment": name, "transitions": [vars(one) for one in made]})
    else:
        click.echo(f"{name} is as it starts ({len(made)} transitions)")
    return 0


def _context(environment: Environment, run_id: str) -> Context:
    from orchestrator.steps.context import Context  # noqa: PLC0415
    from orchestrator.steps.journal import StepJournal  # noqa: PLC0415

    directory = common.state_directory() / "restores" / run_id
    journal = StepJournal(directory / "steps.jsonl", run_id)
    return Context(environment, {"run_id": run_id}, directory, journal, token=0)


def _lease(environment: Environment) -> str:
    from orchestrator.drivers.lease import LeaseFile  # noqa: PLC0415

    lease = LeaseFile(environment.lease_file).current()
    return lease.run_id if lease.is_held else ""
