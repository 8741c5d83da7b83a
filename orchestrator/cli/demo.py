"""`anlan demo`: the main job from nothing: provision, drill, judge, verify the evidence."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from orchestrator.cli import common
from orchestrator.model.errors import AnlanError

_STYLE = {"VALID": "bold green"}
_DRILLS = (
    ("backup", ()),
    ("restore", ()),
    ("failover", ()),
)


@click.command()
@click.argument("environment", default="local", metavar="[ENV]")
@common.json_option
def demo(environment: str, as_json: bool) -> int:
    """Provision two sites with a live ERP, drill backup, restore and failover for real, verify.

    Every figure of the table at the end was measured in this run. The environment stays up:
    remove it by `anlan down` or `make clean`.

    \b
    Example:
      anlan demo
    """
    from orchestrator.cli.drill_plan import make_plan  # noqa: PLC0415
    from orchestrator.cli.drill_work import run_drill  # noqa: PLC0415
    from orchestrator.cli.provision import progress  # noqa: PLC0415
    from orchestrator.engine import runs  # noqa: PLC0415
    from stacks import automation  # noqa: PLC0415

    begun = time.monotonic()
    with progress(environment) as report:
        outcome = automation.up(environment, {}, report)
    state = common.state_directory()
    rows: list[dict[str, Any]] = []
    for name, parameters in _DRILLS:
        planned = make_plan(name, environment, parameters)
        run_drill(planned, quiet=as_json, summary=False)
        run = runs.load(state, str(planned.document["run_id"]))
        rows.append(_row(run.directory, dict(run.result or {}), state, environment))
    data = {
        "environment": environment,
        "provisioned_seconds": round(outcome.seconds, 1),
        "total_seconds": round(time.monotonic() - begun, 1),
        "drills": rows,
    }
    if as_json:
        common.emit(data)
    else:
        _print(data, common.find_environment(environment).front_door.url)
    codes = [row["exit_code"] for row in rows]
    codes += [0 if row["verified"] == "VALID" else 1 for row in rows]
    return next((code for code in (1, 5) if code in codes), 0)


def _row(directory: Path, result: dict[str, Any], state: Path, environment: str) -> dict[str, Any]:
    from orchestrator.engine.finish import bundle_path  # noqa: PLC0415

    bundle = bundle_path(state, directory.name)
    return {
        "run": directory.name,
        "exit_code": result["exit_code"],
        **{
            key: result["derived"][key]
            for key in ("verdict", "reasons", "rto_seconds", "rpo_transactions", "rpo_seconds")
        },
        "targets": result["derived"]["targets"],
        "policies": result["derived"]["policies"],
        "bundle": str(bundle),
        "verified": _verified(bundle, environment),
        "report": str(directory / "report.html"),
    }


def _verified(bundle: Path, environment: str) -> str:
    """Verify as an auditor does: from the bundle and the public key alone."""
    from orchestrator.cli.verify import rederive  # noqa: PLC0415
    from orchestrator.drivers.secrets import Secrets  # noqa: PLC0415
    from orchestrator.drivers.signers import trusted_key  # noqa: PLC0415
    from orchestrator.evidence import Trust, verify  # noqa: PLC0415

    found = common.find_environment(environment)
    try:
        key = trusted_key(found, Secrets(found))
        return str(verify(bundle, Trust.of([key]), rederive()).status)
    except AnlanError as error:
        return error.what


def _print(data: dict[str, Any], url: str) -> None:
    from rich import box  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    from orchestrator.cli.drill_progress import policies_text  # noqa: PLC0415

    out = common.console()
    table = Table(
        "drill",
        "verdict",
        "RTO (target)",
        "lost transactions (target)",
        "RPO seconds (target)",
        "policies",
        "evidence",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for row in data["drills"]:
        targets = {target["name"]: target["target"] for target in row["targets"]}
        table.add_row(
            row["run"].split("-")[0],
            common.verdict_text(row["verdict"]),
            _measured(row["rto_seconds"], targets.get("rto_seconds"), " s"),
            _measured(row["rpo_transactions"], targets.get("rpo_transactions"), ""),
            _measured(row["rpo_seconds"], targets.get("rpo_seconds"), " s"),
            policies_text(row["policies"]),
            f"[{_STYLE.get(row['verified'], 'bold red')}]{row['verified']}[/]",
        )
    out.print(
        f"\n[bold]{data['environment']}[/] {url}  provisioned in {data['provisioned_seconds']} s, "
        f"all in {data['total_seconds']} s"
    )
    out.print(table, soft_wrap=False)
    for row in data["drills"]:
        for reason in row["reasons"]:
            out.print(f"  {row['run']}: {reason}", markup=False)
    for row in data["drills"]:
        out.print(f"evidence  {row['bundle']}\nreport    {row['report']}", markup=False)
    out.print(f"next      anlan drill run failover {data['environment']}   anlan drill history")


def _measured(measured: float | None, target: float | None, unit: str) -> str:
    if measured is None:
        return "–" if target is None else "not observed"
    shown = f"{measured:.2f}{unit}" if isinstance(measured, float) else f"{measured}{unit}"
    return shown if target is None else f"{shown} (≤ {target:g}{unit})"
