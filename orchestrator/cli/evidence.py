"""`anlan evidence`: list, export and verify the evidence of runs.

`verify` needs nothing but the bundle and the key file: no environment, no network, no state.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import common
from orchestrator.model.errors import InputError

if TYPE_CHECKING:
    from orchestrator.engine.runs import Run
    from orchestrator.evidence import Problem, Rederive, Verification
    from orchestrator.evidence.keys import PublicKey

_STATUS = {"VALID": "bold green", "INVALID": "bold red", "INCOMPLETE": "bold yellow"}
_trust_option = click.option(
    "--trust",
    "trust",
    multiple=True,
    required=True,
    metavar="KEYFILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Public key (PEM) that you got over a way you trust; may be given again.",
)


@click.group("evidence")
def evidence() -> None:
    """List, export and verify the evidence of runs."""


@evidence.command("list")
@common.json_option
def list_(as_json: bool) -> int:
    """List the runs with their verdict, their place in the log, and their bundle."""
    from orchestrator.engine import runs  # noqa: PLC0415

    state = common.state_directory()
    logged = _logged(state)
    rows = [_row(run, state, logged.get(run.run_id, {})) for run in runs.history(state)]
    if as_json:
        common.emit(rows)
        return 0
    if not rows:
        click.echo("no runs yet: `anlan drill run NAME ENV` makes the first evidence")
        return 0
    from rich.table import Table  # noqa: PLC0415

    table = Table("run", "verdict", "log plan → run", "bundle", box=None, pad_edge=False)
    for row in rows:
        entries = (row["log"].get(kind, "–") for kind in ("plan", "run"))
        table.add_row(
            row["run_id"],
            common.verdict_text(row["verdict"]),
            " → ".join(str(entry) for entry in entries),
            f"evidence/bundles/{row['run_id']}.zip" if row["bundle"] else "–",
        )
    out = common.console()
    out.print(table)
    out.print(f"[dim]bundles are in {state}; copy one with `anlan evidence export RUN`[/]")
    return 0


def _logged(state: Path) -> dict[str, dict[str, int]]:
    """Run id → kind → index in the log."""
    from orchestrator.evidence import log  # noqa: PLC0415
    from orchestrator.evidence.audit import LOG_FILE  # noqa: PLC0415

    path = state / LOG_FILE
    found: dict[str, dict[str, int]] = {}
    try:
        content = path.read_bytes() if path.is_file() else b""
        for entry in log.parse(content):
            found.setdefault(entry.run_id, {})[entry.kind] = entry.index
    except log.LogError as error:
        raise InputError(
            f"the log is damaged: {error}",
            "see `anlan evidence log verify`",
            file=str(path),
        ) from error
    return found


def _row(run: Run, state: Path, log: dict[str, int]) -> dict[str, Any]:
    from orchestrator.engine.finish import bundle_path  # noqa: PLC0415

    bundle = bundle_path(state, run.run_id)
    return {
        "run_id": run.run_id,
        "drill": run.plan["drill"]["name"],
        "environment": run.plan["environment"]["name"],
        "state": run.state,
        "verdict": run.result["verdict"] if run.result else None,
        "log": log,
        "bundle": str(bundle) if bundle.is_file() else None,
    }


@evidence.command()
@click.argument("run", shell_complete=common.complete_run)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="File or folder to write to.  [default: RUN.zip here]",
)
@common.json_option
def export(run: str, out: Path | None, as_json: bool) -> int:
    """Copy the evidence bundle of a run, to hand it over.

    A bundle that is missing is made again, signed by the environment's secret manager.
    """
    from orchestrator.engine import runs  # noqa: PLC0415
    from orchestrator.engine.finish import bundle_path  # noqa: PLC0415
    from orchestrator.evidence.store import write_atomically  # noqa: PLC0415

    state = common.state_directory()
    found = runs.load(state, run)
    bundle = bundle_path(state, found.run_id)
    if not bundle.is_file():
        _rebuild(found, state, bundle)
    name = f"{found.run_id}.zip"
    target = out / name if out and out.is_dir() else out or Path(name)
    write_atomically(target, bundle.read_bytes())
    if as_json:
        common.emit({"run_id": found.run_id, "bundle": str(target)})
    else:
        click.echo(target)
    return 0


def _rebuild(run: Run, state: Path, bundle: Path) -> None:
    from orchestrator.drivers.secrets import Secrets, TransitSigner  # noqa: PLC0415
    from orchestrator.evidence import EvidenceStore  # noqa: PLC0415

    environment = common.find_environment(run.plan["environment"]["name"])
    store = EvidenceStore(state, TransitSigner(Secrets(environment)))
    store.export(run.directory, bundle)


@evidence.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@_trust_option
@click.option("--run", "run_id", default="", help="The run that it must be about.")
@click.option("--environment", default="", help="The environment that it must be about.")
@click.option(
    "--not-before", metavar="TIME", default="", help="Refuse an older run, e.g. 2026-10-01."
)
@click.option(
    "--approvals",
    "rule",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The approval rule (YAML) that a run with impact on production must have had.",
)
@click.option(
    "--threshold",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="How many of the trust keys must have signed.",
)
@common.json_option
def verify(
    *,
    bundle: Path,
    trust: Sequence[Path],
    run_id: str,
    environment: str,
    not_before: str,
    rule: Path | None,
    threshold: int,
    as_json: bool,
) -> int:
    """Verify an evidence bundle offline and show what it proves.

    Trusts the key files alone, and derives every verdict, policy result and the report again from
    the raw data. Exit code 0: VALID; 1: INVALID, INCOMPLETE or UNTRUSTED; 2: unusable input.
    """
    from orchestrator.evidence import Expectation  # noqa: PLC0415
    from orchestrator.evidence import verify as verify_bundle  # noqa: PLC0415

    found = verify_bundle(
        bundle,
        _keys(trust),
        rederive(),
        expect=Expectation(run_id, environment, _time(not_before), _rule(rule)),
        threshold=threshold,
    )
    if as_json:
        common.emit({"bundle": str(bundle), **found.to_json()})
    else:
        _show(bundle, found)
    return 0 if found.status == "VALID" else 1


def rederive() -> Rederive:
    """Return how this tool derives verdicts, policy results and reports again."""
    from orchestrator.engine.verdict import derive  # noqa: PLC0415
    from orchestrator.evidence import Rederive  # noqa: PLC0415
    from orchestrator.policy.rederive import rederive_findings, rederive_recovered  # noqa: PLC0415
    from orchestrator.report import render_bundle  # noqa: PLC0415

    return Rederive(rederive_findings, derive, rederive_recovered, render_bundle)


def _keys(files: Sequence[Path]) -> list[PublicKey]:
    from orchestrator.evidence import load_public_key  # noqa: PLC0415

    return [load_public_key(file) for file in files]


def _rule(file: Path | None) -> dict[str, Any] | None:
    from orchestrator.evidence.approvals import load_rule  # noqa: PLC0415

    return load_rule(file) if file else None


def _time(text: str) -> datetime | None:
    """A moment; one without a zone is UTC. Raises InputError."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(
            f"{text!r} is no time", "write 2026-10-01 or 2026-10-01T08:00:00Z", path="--not-before"
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _show(bundle: Path, found: Verification) -> None:
    from rich.markup import escape  # noqa: PLC0415

    out = common.console()
    style = _STATUS.get(found.status, "bold yellow")
    out.print(f"[{style}]{found.status}[/]  {escape(str(bundle))}")
    _show_problems(found.problems)
    if not (summary := found.summary):
        return
    if found.status != "VALID":
        out.print("[dim]what it states, which is not proven:[/]")
    rows = [
        ("run", summary["run_id"]),
        ("drill", f"{summary['drill']} on {summary['environment']}"),
        ("time", f"{summary['started_at']} to {summary['ended_at']}"),
        *_measures(summary),
        ("policies", _counts(summary["policies"])),
        ("log", " to ".join(str(index) for index in summary["log"]) or "–"),
        ("signed by", ", ".join(summary["signers"]) or "none of the trust keys"),
        ("made with", f"anlan {summary['tool']}"),
    ]
    out.print(f"  {'verdict':<10}{common.verdict_text(summary['verdict'])}  (derived again)")
    for name, value in rows:
        out.print(f"  {name:<10}{escape(str(value))}")


def _show_problems(problems: Sequence[Problem]) -> None:
    from rich.markup import escape  # noqa: PLC0415

    out = common.console()
    for problem in problems:
        where = f"{escape(problem.path)}: " if problem.path else ""
        out.print(f"  [red]{problem.code:<18}[/] {where}{escape(problem.message)}")


def _measures(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """What was measured, or should have been: title and text."""
    names = (
        ("RTO", "rto_seconds", " s"),
        ("RPO", "rpo_transactions", " transactions"),
        ("RPO", "rpo_seconds", " s"),
    )
    return [(title, text) for title, name, unit in names if (text := _measure(summary, name, unit))]


def _measure(summary: dict[str, Any], name: str, unit: str) -> str:
    value = summary[name]
    shown = "not observed" if value is None else f"{value:g}{unit}"
    target = next((one for one in summary["targets"] if one["name"] == name), None)
    if target is None:
        return "" if value is None else shown
    met = {True: "met", False: "MISSED", None: "not observed"}[target["met"]]
    return f"{shown} (target {target['target']:g}{unit}: {met})"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "none"


@evidence.group("log")
def log_() -> None:
    """The append-only log of every plan and result."""


@log_.command("verify")
@_trust_option
@common.json_option
def verify_log(trust: Sequence[Path], as_json: bool) -> int:
    """Verify the whole log, and that every run on disk is in it and every logged run on disk.

    Lists the runs that were planned and never ended: a drill that failed to finish cannot vanish.
    Exit code 0: the log holds; 1: it was changed; 2: unusable input.
    """
    from orchestrator.evidence import audit  # noqa: PLC0415

    state = common.state_directory()
    found = audit(state, _keys(trust))
    data = found.to_json()
    if as_json:
        common.emit(data)
    else:
        out = common.console()
        out.print(
            f"[{_STATUS[data['status']]}]{data['status']}[/]  {data['entries']} entries of "
            f"{data['runs']} runs"
        )
        _show_problems(found.problems)
        for run in data["unfinished"]:
            out.print(
                f"  [yellow]unfinished[/]  {run['run_id']}: planned {run['planned_at']} "
                f"(entry {run['index']}), no result"
            )
        for run_id in found.unlogged:
            out.print(f"  [yellow]not logged[/]  {run_id}: has a signed plan; nothing was run")
        if data["last_digest"]:
            out.print(f"  last entry  {data['last_digest']}")
    return 1 if found.problems else 0
