"""`anlan policy`: list the policies, and check an environment against them now."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from orchestrator.cli.common import (
    complete_environment,
    console,
    descriptor_path,
    emit,
    find_environment,
    json_option,
    read_folder,
    verdict_text,
)
from orchestrator.model.errors import InfrastructureError
from orchestrator.model.folders import data_folder

_EXIT_FAIL, _EXIT_UNKNOWN = 1, 5

_folder_option = click.option(
    "--policies",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder of policies.  [default: the one that comes with anlan]",
)


@click.group()
def policy() -> None:
    """List policies, and check an environment against them."""


@policy.command("list")
@_folder_option
@json_option
def list_policies(folder: Path | None, as_json: bool) -> None:
    """List the policies: what they ask for, how severe, for which controls."""
    from orchestrator.policy import decode_rules, parse_rules  # noqa: PLC0415  (commands import when called)

    folder = folder or data_folder("policies")
    name = str(folder)
    rules = parse_rules(decode_rules(read_folder(folder), folder=name), folder=name)
    if as_json:
        emit(
            [
                {
                    "id": item.id,
                    "severity": item.severity,
                    "title": dict(item.title),
                    "why": item.why,
                    "applies_to": item.applies_to,
                    "subjects": list(item.subjects),
                    "controls": [vars(control) for control in item.controls],
                }
                for item in rules.policies
            ]
        )
        return
    table = _table("policy", "severity", "title", "controls")
    for item in rules.policies:
        controls = "\n".join(f"{control.source} {control.id}" for control in item.controls)
        table.add_row(item.id, item.severity, f"{item.title['en']}\n{item.title['zh']}", controls)
    console().print(table)


@policy.command()
@click.argument("environment", metavar="ENV", shell_complete=complete_environment)
@_folder_option
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the facts and the findings to this file (JSON).",
)
@json_option
def check(environment: str, folder: Path | None, out: Path | None, as_json: bool) -> int:
    """Collect facts from the running systems of ENV and judge them.

    \b
    Exit codes: 0 every policy passes or does not apply, 1 one fails,
    5 none fails but one is unknown (a system could not be asked).
    """
    from datetime import UTC, datetime  # noqa: PLC0415

    from orchestrator.collect import collect  # noqa: PLC0415
    from orchestrator.drivers.secrets import Secrets  # noqa: PLC0415
    from orchestrator.model.fact import facts_document  # noqa: PLC0415
    from orchestrator.policy import rederive_findings  # noqa: PLC0415

    folder = folder or data_folder("policies")
    described = find_environment(environment)
    rules = read_folder(folder)
    descriptor = json.loads(descriptor_path(environment).read_text())
    # A broken policy must be known before the systems are asked.
    now = datetime.now(UTC)
    rederive_findings(rules, facts_document([]), descriptor, now)
    facts = facts_document(collect(described, Secrets(described)))
    findings = rederive_findings(rules, facts, descriptor, datetime.now(UTC))
    document = {"environment": environment, "facts": facts, "findings": findings}
    if out is not None:
        _write(out, document)
    if as_json:
        emit(findings)
    else:
        _show(findings["findings"], len(facts["facts"]))
    statuses = {finding["status"] for finding in findings["findings"]}
    if "fail" in statuses:
        return _EXIT_FAIL
    return _EXIT_UNKNOWN if "unknown" in statuses else 0


def _write(path: Path, document: dict[str, Any]) -> None:
    try:
        path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    except OSError as error:
        raise InfrastructureError(
            f"cannot write {path}: {error.strerror}", "name another file by --out"
        ) from error


def _table(*columns: str) -> Any:
    from rich import box  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=box.SIMPLE, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _show(findings: list[dict[str, Any]], facts: int) -> None:
    from rich.markup import escape  # noqa: PLC0415

    table = _table("policy", "severity", "result", "seen", "title, and why not")
    for item in findings:
        says = escape(item["title"]["en"])
        if item["status"] in {"fail", "unknown"}:
            says += "".join(
                f"\n  [bold]{entry['subject']}[/]: {escape(entry['reason'])}"
                for entry in item["observations"]
                if entry["status"] == item["status"]
            )
        seen = f"{item['observed']}/{item['population_size']}"
        table.add_row(item["policy"], item["severity"], verdict_text(item["status"]), seen, says)
    screen = console()
    screen.print(table)
    counts = {
        status: sum(item["status"] == status for item in findings)
        for status in ("pass", "fail", "unknown", "not_applicable")
    }
    told = ", ".join(
        f"{number} {status.replace('_', ' ')}" for status, number in counts.items() if number
    )
    screen.print(f"{len(findings)} policies on {facts} facts: {told}")
