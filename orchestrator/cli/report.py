"""`anlan report RUN`: write the report of a run again."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli import common


@click.command("report")
@click.argument("run", shell_complete=common.complete_run)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write it.  [default: report.html of the run]",
)
@click.option("--open", "show", is_flag=True, help="Open it in the browser.")
@common.json_option
def report(run: str, out: Path | None, show: bool, as_json: bool) -> int:
    """Write the HTML report of a run that has ended.

    It is rendered from the run's files alone: the same run gives the same page.
    """
    from orchestrator.engine.runs import load  # noqa: PLC0415
    from orchestrator.evidence.files import write_atomically  # noqa: PLC0415
    from orchestrator.report import render  # noqa: PLC0415

    directory = load(common.state_directory(), run).directory
    target = out or directory / "report.html"
    write_atomically(target, render(directory).encode())
    if as_json:
        common.emit({"run_id": directory.name, "report": str(target)})
    else:
        click.echo(target)
    if show:
        click.launch(str(target))
    return 0
