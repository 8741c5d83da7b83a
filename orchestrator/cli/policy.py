"""`anlan policy`: list, explain and test the policies, and check an environment against them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from orchestrator.cli.common import (
    complete_environment,
    console,
    descriptor_path,
    emit,
    json_option,
    verdict_text,
)
from orchestrator.cli.policy_common import (
    at_site,
    exit_code,
    facts_of,
    find_policy,
    folder_option,
    load_rules,
    site_option,
    table_of,
)
from orchestrator.cli.policy_coverage import coverage
from orchestrator.cli.policy_explain import explain
from orchestrator.cli.policy_fix import fix
from orchestrator.cli.policy_output import deliver, output_options
from orchestrator.cli.policy_waive import judged_waivers, tell_problems, waive, waivers, withdraw
from orchestrator.model.errors import InfrastructureError, InputError
from orchestrator.model.fact import timestamp
from orchestrator.model.policy import BAD, STATUSES, Finding, Policy
from orchestrator.model.schema import nearest

if TYPE_CHECKING:
    from orchestrator.policy import Rules

_EXIT_FAIL, _EXIT_DAMAGED = 1, 2
F = TypeVar("F", bound=Callable[..., Any])


def _filters(function: F) -> F:
    """Options that choose policies."""
    for option in (
        click.option("--kind", help="Only policies about this kind of fact."),
        click.option("--catalogue", help="Only policies that evidence a control of this one."),
        click.option(
            "--severity",
            type=click.Choice(["P0", "P1", "P2"], case_sensitive=False),
            multiple=True,
            help="Only policies of this severity; may be given more than once.",
        ),
    ):
        function = option(function)
    return function


@click.group()
def policy() -> None:
    """List, explain and test policies, and check an environment against them."""


for _command in (coverage, explain, fix, waive, withdraw, waivers):
    policy.add_command(_command)


@policy.command("list")
@folder_option
@_filters
@json_option
def list_policies(
    folder: Path | None,
    severity: tuple[str, ...],
    catalogue: str | None,
    kind: str | None,
    as_json: bool,
) -> None:
    """List the policies: what they ask for, how severe, for which controls.

    \b
    Examples:
      anlan policy list --severity P0
      anlan policy list --catalogue pci-dss-4.0
    """
    rules = load_rules(folder)
    chosen = _chosen(rules, severity, catalogue, kind)
    if as_json:
        emit([_to_json(rules, item) for item in chosen])
        return
    table = table_of("policy", "severity", "title", "controls")
    for item in chosen:
        table.add_row(
            item.id,
            item.severity,
            f"{item.title['en']}\n{item.title['zh']}",
            "\n".join(_controls(rules, item)),
        )
    console().print(table)
    console().print(f"{len(chosen)} of {len(rules.policies)} policies")


@policy.command()
@click.argument("name", metavar="POLICY")
@folder_option
@json_option
def show(name: str, folder: Path | None, as_json: bool) -> None:
    """Show one policy whole: why, what must hold, what to do when it does not.

    \b
    Example:
      anlan policy show tls-version
    """
    rules = load_rules(folder)
    item = find_policy(rules, name)
    if as_json:
        emit(_to_json(rules, item))
        return
    for line in _told(rules, item):
        click.echo(line)


@policy.command()
@click.argument("names", metavar="[POLICY]...", nargs=-1)
@folder_option
@json_option
def test(names: tuple[str, ...], folder: Path | None, as_json: bool) -> int:
    """Try the policies on their own examples, and on facts that must leave them unknown.

    \b
    Exit codes: 0 each example leads to what it names, 1 one does not.
    \b
    Examples:
      anlan policy test
      anlan policy test tls-version --policies ./my-policies
    """
    from orchestrator.policy.examples import try_examples  # noqa: PLC0415

    rules = load_rules(folder)
    known = [item.id for item in rules.policies]
    for name in names:
        if name not in known:
            raise InputError(f"there is no policy {name!r}", nearest(name, known))
    chosen = [item for item in rules.policies if not names or item.id in names]
    tried = [one for item in chosen for one in try_examples(item)]
    wrong = [one for one in tried if one.wrong]
    if as_json:
        emit([vars(one) for one in tried])
    else:
        for one in wrong:
            click.echo(f"{one.policy}, {one.name}: {one.wrong}, it is {one.status}: {one.reason}")
        click.echo(f"{len(tried) - len(wrong)} of {len(tried)} examples of {len(chosen)} policies")
    return _EXIT_FAIL if wrong else 0


@policy.command()
@click.argument("environment", metavar="ENV", shell_complete=complete_environment)
@folder_option
@_filters
@site_option
@click.option(
    "--facts",
    "facts_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Judge the facts of this file (of --out, or raw/facts.json of a run); ask no system.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the facts and the findings to this file (JSON).",
)
@output_options
def check(  # noqa: PLR0917  (one option each)
    environment: str,
    folder: Path | None,
    severity: tuple[str, ...],
    catalogue: str | None,
    kind: str | None,
    site: str | None,
    facts_file: Path | None,
    out: Path | None,
    form: str,
    as_json: bool,
    output: Path | None,
) -> int:
    """Collect facts from the running systems of ENV and judge them.

    \b
    Exit codes: 0 every policy is satisfied, not applicable, or waived where it does not hold
    (`policy waive`; it is said), 1 one is not satisfied, 5 none of these but one is unknown (a
    system could not be asked) or expired, 2 also when a waiver is damaged.
    \b
    Examples:
      anlan policy check local
      anlan policy check local --severity P0 --json
      anlan policy check local --facts facts.json      # no system is asked
      anlan policy check local --format sarif --output findings.sarif
    """
    from datetime import UTC, datetime  # noqa: PLC0415

    from orchestrator.model.policy import findings_document  # noqa: PLC0415
    from orchestrator.policy import Parameters, evaluate  # noqa: PLC0415

    rules = load_rules(folder)
    chosen = at_site(_chosen(rules, severity, catalogue, kind), environment, site)
    descriptor = json.loads(descriptor_path(environment).read_text())
    parameters = Parameters(descriptor, rules.baseline)
    # A broken policy must be known before the systems are asked.
    evaluate(chosen, [], parameters, datetime.now(UTC))
    facts = facts_of(environment, {item.kind for item in chosen}, facts_file)
    now = datetime.now(UTC)
    waived = judged_waivers(environment, descriptor, now)
    found = evaluate(chosen, facts, parameters, now, rules.controls, waivers=waived.counting)
    findings = findings_document(found, now)
    if out is not None:
        from orchestrator.model.fact import facts_document  # noqa: PLC0415

        document = {"environment": environment, "facts": facts_document(facts)}
        _write(out, {**document, "findings": findings})
    if not deliver(findings, chosen, environment, "json" if as_json else form, output):
        _show(findings["findings"], len(facts))
    _tell_waived(found)
    tell_problems(waived)
    if waived.damaged:
        return _EXIT_DAMAGED
    statuses = {finding.status for finding in found if not finding.is_waived}
    return exit_code(statuses)


def _tell_waived(findings: Iterable[Finding]) -> None:
    """How many findings are waived and the soonest end, on standard error: JSON stays JSON."""
    waived = [one for one in findings if one.is_waived]
    partly = [one for one in findings if one.waivers and not one.is_waived]
    if ends := [entry.waiver.ends for one in waived for entry in one.waivers]:
        click.echo(
            f"{len(waived)} waived, not satisfied ({', '.join(one.policy.id for one in waived)}); "
            f"the first waiver ends {timestamp(min(ends))}",
            err=True,
        )
    for one in partly:
        click.echo(f"{one.policy.id} is waived at some subjects only: it counts", err=True)


def _chosen(
    rules: Rules, severity: tuple[str, ...], catalogue: str | None, kind: str | None
) -> list[Policy]:
    """The policies that the filters leave. Raises InputError for a name that does not exist."""
    chosen = list(rules.policies)
    if severity:
        chosen = [item for item in chosen if item.severity in severity]
    if catalogue is not None:
        named = {name for one in rules.catalogue(catalogue).controls for name in one.policies}
        chosen = [item for item in chosen if item.id in named]
    if kind is not None:
        kinds = sorted({item.kind for item in rules.policies})
        if kind not in kinds:
            todo = nearest(kind, kinds) or f"the kinds are {', '.join(kinds)}"
            raise InputError(f"no policy is about a kind of fact {kind!r}", todo)
        chosen = [item for item in chosen if item.kind == kind]
    return chosen


def _controls(rules: Rules, item: Policy) -> list[str]:
    """The controls that a policy is evidence for, one line a catalogue."""
    found: dict[str, list[str]] = {}
    for one in rules.controls.get(item.id, ()):
        named = one.id + (f" ({one.threshold})" if one.threshold else "")
        found.setdefault(one.source, []).append(named)
    return [f"{source}: {', '.join(ids)}" for source, ids in found.items()]


def _to_json(rules: Rules, item: Policy) -> dict[str, Any]:
    fix = item.remediation
    return {
        "id": item.id,
        "severity": item.severity,
        "title": dict(item.title),
        "rationale": dict(item.rationale),
        "facts": item.kind,
        "subjects": list(item.subjects),
        "valid_hours": item.valid_hours,
        "parameters": dict(item.parameters),
        "where": [asdict(one) for one in item.where],
        "must": [asdict(one) for one in item.must],
        "remediation": {**fix.text, "role": fix.role, "tags": list(fix.tags), "safe": fix.safe},
        "controls": [vars(one) for one in rules.controls.get(item.id, ())],
    }


def _told(rules: Rules, item: Policy) -> Iterable[str]:
    """One policy for a reader, line by line."""
    yield f"{item.id}  {item.severity}"
    for language in ("en", "zh"):
        yield f"  {item.title[language]}"
        yield f"  {item.rationale[language]}"
    yield f"facts: {item.kind} of {', '.join(item.subjects)}, valid for {item.valid_hours:g} h"
    for name, value in item.parameters.items():
        yield f"parameter {name}: {_source(value)}"
    for word, conditions in (("where", item.where), ("must", item.must)):
        for one in conditions:
            yield f"{word}: {one.field} {json.dumps(one.schema, ensure_ascii=False)}"
            if one.message:
                yield f"  else: {one.message}"
    yield f"to do: {item.remediation.text['en']}"
    yield f"       {item.remediation.text['zh']}"
    for line in _controls(rules, item):
        yield f"controls: {line}"


def _source(value: Any) -> str:
    if isinstance(value, dict):
        ((where, path),) = value.items()
        return f"{path} of the {'descriptor' if where == 'environment' else where}"
    return str(value)


def _write(path: Path, document: dict[str, Any]) -> None:
    try:
        path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    except OSError as error:
        raise InfrastructureError(
            f"cannot write {path}: {error.strerror}", "name another file by --out"
        ) from error


def _show(findings: list[dict[str, Any]], facts: int) -> None:
    from rich.markup import escape  # noqa: PLC0415

    table = table_of("policy", "severity", "result", "seen", "title, and why not")
    for item in findings:
        says = escape(item["title"]["en"])
        if item["status"] in BAD:
            says += "".join(
                f"\n  [bold]{entry['subject']}[/]: {escape(entry['reason'])}"
                for entry in item["observations"]
                if entry["status"] == item["status"]
            )
            says += "".join(
                f"\n  waived at {entry['subject']} until {entry['until']}, "
                f"owner {escape(entry['owner'])}: {escape(entry['reason'])}"
                for entry in item["waivers"]
            )
        seen = f"{item['observed']}/{item['population_size']}"
        table.add_row(item["policy"], item["severity"], verdict_text(item["status"]), seen, says)
    screen = console()
    screen.print(table)
    counts = {status: sum(item["status"] == status for item in findings) for status in STATUSES}
    told = ", ".join(
        f"{number} {status.replace('-', ' ')}" for status, number in counts.items() if number
    )
    screen.print(f"{len(findings)} policies on {facts} facts: {told}")
