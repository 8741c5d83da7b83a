"""`anlan policy coverage`: which controls of each catalogue are evidenced, and how they stand."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.common import (
    complete_environment,
    console,
    descriptor_path,
    emit,
    json_option,
    state_directory,
    verdict_text,
)
from orchestrator.cli.policy_common import exit_code, facts_of, folder_option, load_rules, table_of
from orchestrator.model.errors import InputError

if TYPE_CHECKING:
    from orchestrator.model.catalogue import Catalogue
    from orchestrator.policy import Rules
    from orchestrator.policy.coverage import CatalogueCoverage, ControlCoverage, Part


@click.command()
@click.argument("environment", metavar="[ENV]", required=False, shell_complete=complete_environment)
@folder_option
@click.option("--catalogue", "names", multiple=True, help="Only this one; may be given again.")
@click.option(
    "--facts",
    "facts_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Judge the facts of this file (as `policy check` does); ask no system.",
)
@click.option(
    "--drill-days",
    type=click.FloatRange(min=0, max=365, min_open=True),
    default=365.0,
    show_default=True,
    help="For how many days a passed drill counts: the organisation's choice, at most a year.",
)
@json_option
def coverage(
    *,
    environment: str | None,
    folder: Path | None,
    names: tuple[str, ...],
    facts_file: Path | None,
    drill_days: float,
    as_json: bool,
) -> int:
    """Show for each control what is evidence for it, and what stays unproven.

    Without ENV: the mapping alone. With ENV: the findings of its policies and the last signed
    results of its drills. A control needs all that it names; an unproven one is never counted as
    satisfied. Waivers change nothing here.

    \b
    Exit codes: 0 no control is worse than satisfied, not applicable or unproven, 1 one is not
    satisfied, 5 none of these but one is unknown or expired.
    \b
    Examples:
      anlan policy coverage --catalogue dora
      anlan policy coverage local
      anlan policy coverage local --facts facts.json --json
      anlan policy coverage --policies ./my-policies
    """
    from orchestrator.policy.coverage import mapping  # noqa: PLC0415

    rules = load_rules(folder)
    chosen = _chosen(rules, names)
    problems: list[str] = []
    if environment is None:
        if facts_file is not None:
            raise InputError("whose facts are they", "name the environment", path="--facts")
        covered = [mapping(one) for one in chosen]
    else:
        covered, problems = _judged(rules, chosen, environment, facts_file, drill_days)
    if as_json:
        emit(
            {
                "environment": environment,
                "drill_days": drill_days,
                "problems": problems,
                "catalogues": [one.to_json() for one in covered],
            }
        )
    else:
        for one in covered:
            _show(one)
        _summarise(covered, environment)
    for problem in problems:
        click.echo(f"not counted: {problem}", err=True)
    statuses = {one.status for catalogue in covered for one in catalogue.controls}
    return exit_code(statuses)


def _chosen(rules: Rules, names: tuple[str, ...]) -> list[Catalogue]:
    if not names and not rules.catalogues:
        raise InputError("there is no catalogue", "write one: policies/catalogues/NAME.yaml")
    named = {rules.catalogue(name).id for name in names}
    return [one for one in rules.catalogues.values() if not named or one.id in named]


def _judged(
    rules: Rules,
    chosen: list[Catalogue],
    environment: str,
    facts_file: Path | None,
    drill_days: float,
) -> tuple[list[CatalogueCoverage], list[str]]:
    from orchestrator.evidence.outcomes import outcomes  # noqa: PLC0415
    from orchestrator.policy import Parameters, evaluate  # noqa: PLC0415
    from orchestrator.policy.coverage import DrillRun, cover  # noqa: PLC0415

    named = {name for one in chosen for control in one.controls for name in control.policies}
    policies = [one for one in rules.policies if one.id in named]
    parameters = Parameters(json.loads(descriptor_path(environment).read_text()), rules.baseline)
    # What cannot be judged must be known before the systems are asked.
    evaluate(policies, [], parameters, datetime.now(UTC))
    found, problems = outcomes(state_directory(), environment)
    runs = [DrillRun(one.drill, one.run_id, one.verdict, one.ended_at) for one in found]
    facts = facts_of(environment, {one.kind for one in policies}, facts_file) if policies else []
    now = datetime.now(UTC)
    findings = evaluate(policies, facts, parameters, now)
    covered = [cover(one, findings, runs, now, drill_days) for one in chosen]
    return covered, [f"{one.path}: {one.message}" for one in problems]


def _show(covered: CatalogueCoverage) -> None:
    from rich.markup import escape  # noqa: PLC0415

    table = table_of("control", "status", "evidence", "condition; what stays unproven")
    for one in covered.controls:
        threshold = f" [{one.control.threshold}]" if one.control.threshold else ""
        says = (
            f"{escape(one.control.title['en'] + threshold)}\n{escape(one.control.title['zh'])}\n"
            f"{escape(one.control.condition['en'])}\n"
            f"[dim]unproven: {escape(one.control.unproven['en'])}[/]"
        )
        table.add_row(one.control.id, _status(one), "\n".join(map(_part, one.parts)), says)
    screen = console()
    screen.print(f"[bold]{escape(covered.catalogue.name)}[/]  {escape(covered.catalogue.edition)}")
    screen.print(table)


def _status(one: ControlCoverage) -> str:
    if one.status is None:
        return "mapped" if one.parts else "[dim]unproven[/]"
    return "[dim]– unproven[/]" if one.status == "unproven" else verdict_text(one.status)


def _part(part: Part) -> str:
    from rich.markup import escape  # noqa: PLC0415

    name = part.name if part.kind == "policy" else f"drill {part.name}"
    if part.status is None:
        return name
    reason = f": {escape(_short(part.reason))}" if part.reason else ""
    return f"{name} {verdict_text(part.status)}{reason}"


def _short(text: str, limit: int = 160) -> str:
    """The whole reason is in `policy check` and in the JSON."""
    return text if len(text) <= limit else f"{text[:limit]}…"


def _summarise(covered: list[CatalogueCoverage], environment: str | None) -> None:
    screen = console()
    for one in covered:
        counts = ", ".join(f"{n} {name.replace('-', ' ')}" for name, n in one.counts.items())
        percent = (
            f"{one.mapped_percent:g} % have evidence"
            if environment is None
            else f"{one.satisfied_percent:g} % satisfied"
        )
        screen.print(f"{one.catalogue.id}: {len(one.controls)} controls, {percent}: {counts}")
    if environment is not None:
        screen.print(
            "[dim]satisfied: all that is looked at for a control holds; what is named as unproven "
            "beside it does not follow[/]"
        )
