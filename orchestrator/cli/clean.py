"""`anlan clean`: remove every environment and all state of this state directory."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from orchestrator.cli import common
from orchestrator.model.errors import AnlanError, InputError, Refused
from stacks import places


@click.command()
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--force", is_flag=True, help="Even while a drill holds an environment.")
@click.option("--dry-run", is_flag=True, help="Say what would go; remove nothing.")
@common.json_option
def clean(*, yes: bool, force: bool, dry_run: bool, as_json: bool) -> int:
    """Remove every environment, its processes and files, and all state: evidence too.

    Evidence that left the machine stays valid; what is only here is gone. The cache of built
    programs is kept.

    \b
    Examples:
      anlan clean --dry-run
      anlan clean --yes
    """
    from orchestrator.cli.provision import progress  # noqa: PLC0415
    from stacks import automation  # noqa: PLC0415

    state = places.state_directory()
    names = sorted({*common.environment_names(), *automation.names()})
    runs = len(list((state / "runs").glob("[!.]*"))) if (state / "runs").is_dir() else 0
    found = {"state": str(state), "environments": names, "runs": runs}
    if not state.exists():
        _say({**found, "removed": False}, f"nothing to clean: {state} does not exist", as_json)
        return 0
    what = f"{state}: {len(names)} environments ({', '.join(names) or 'none'}), {runs} runs"
    if dry_run:
        _say({**found, "removed": False}, f"would remove {what}", as_json)
        return 0
    if not yes and sys.stdin.isatty():
        click.confirm(f"Remove {what}, with their evidence?", abort=True, err=True)
    elif not yes and runs:
        raise InputError("nobody to ask", f"give --yes to remove {what}", path="--yes")
    for name in names:
        try:
            with progress(name) as report:
                automation.down(name, report, force=force)
        except Refused:
            raise
        except AnlanError as error:
            raise type(error)(
                f"environment {name} was not removed, so its state is kept: {error.what}",
                error.todo or f"see `anlan down {name}`",
            ) from error
    shutil.rmtree(state)
    _remove_if_empty(places.default_root(state, "x", places.service_user()).parent)
    _say({**found, "removed": True}, f"removed {what}", as_json)
    return 0


def _say(data: Mapping[str, Any], text: str, as_json: bool) -> None:
    if as_json:
        common.emit(data)
    else:
        click.echo(text)


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not list(folder.iterdir()):
        folder.rmdir()
