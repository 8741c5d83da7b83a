"""`anlan evidence export --environment`: the bundle of an environment over a period."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli import common
from orchestrator.cli.verify import echo, moment, progress_bar
from orchestrator.model.errors import InputError
from orchestrator.model.fact import timestamp


def export_period(
    state: Path,
    environment: str,
    since: str | None,
    until: str | None,
    out: Path | None,
    *,
    as_json: bool,
) -> int:
    """Write the bundle and say what is in it. Raises InputError."""
    from orchestrator.cli.evidence import rebuild  # noqa: PLC0415
    from orchestrator.drivers.secrets import Secrets  # noqa: PLC0415
    from orchestrator.engine import runs  # noqa: PLC0415
    from orchestrator.engine.evidence import evidence_store  # noqa: PLC0415
    from orchestrator.engine.finish import bundle_path  # noqa: PLC0415
    from orchestrator.evidence.period import bundle as period_bundle  # noqa: PLC0415
    from orchestrator.evidence.period import layout as period_layout  # noqa: PLC0415
    from orchestrator.evidence.tlog import log  # noqa: PLC0415

    begin, end = moment(since or "", "--from"), moment(until or "", "--to")
    if begin is None or end is None:
        raise InputError("a period needs --from and --to", "--from 2026-10-01 --to 2027-01-01")
    period_bundle.checked_period(begin, end, log.utc_now())
    taken = period_bundle.snapshot(state, environment)
    selection = period_layout.select(taken.entries, begin, end)
    for run_id in period_bundle.runs_without_bundle(state, selection):
        rebuild(runs.load(state, run_id), state, bundle_path(state, run_id))
    described = common.find_environment(environment)
    store = evidence_store(state, described, Secrets(described))
    name = f"{environment}-{_day(since)}-{_day(until)}.zip"
    target = out / name if out and out.is_dir() else out or Path(name)
    with progress_bar("runs") as progress:
        made = store.export_period(environment, begin, end, target, progress)
    runs_of = made.selection
    finished, unfinished, removed = runs_of.finished, runs_of.unfinished, runs_of.removed
    if as_json:
        common.emit(
            {
                "bundle": str(target),
                "environment": environment,
                "since": timestamp(begin),
                "until": timestamp(end),
                "runs": list(finished),
                "unfinished": list(unfinished),
                "removed": list(removed),
                "log_size": made.checkpoint.size,
                "root": made.checkpoint.root.hex(),
                "size_bytes": target.stat().st_size,
            }
        )
        return 0
    click.echo(target)
    echo(
        f"  {len(finished)} finished and {len(unfinished)} unfinished runs, "
        f"{f'{len(removed)} removed, ' * bool(removed)}a log of {made.checkpoint.size} entries"
    )
    if not (finished or unfinished or removed):
        echo("  no run was planned in this period")
    return 0


def _day(text: str | None) -> str:
    """A moment as a part of a file's name."""
    return "".join(one for one in text or "" if one.isalnum() or one == "-")
