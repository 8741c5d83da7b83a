"""`anlan policy explain`: why a policy has the status that it has in an environment."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.common import complete_environment, descriptor_path, emit, json_option
from orchestrator.cli.policy_common import (
    at_site,
    exit_code,
    facts_of,
    find_policy,
    folder_option,
    load_rules,
    site_option,
)
from orchestrator.model.errors import InputError
from orchestrator.model.fact import timestamp

if TYPE_CHECKING:
    from orchestrator.model.policy import Finding, Policy
    from orchestrator.policy.explain import Explained

_SIGNS = {"holds": "✔", "broken": "✘", "unknown": "?"}
_SHOWN = 400


@click.command()
@click.argument("environment", metavar="ENV", shell_complete=complete_environment)
@click.argument("name", metavar="POLICY")
@folder_option
@site_option
@click.option(
    "--facts",
    "facts_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Explain by the facts of this file (of `policy check --out`); ask no system.",
)
@json_option
def explain(  # noqa: PLR0917  (one option each)
    environment: str,
    name: str,
    folder: Path | None,
    site: str | None,
    facts_file: Path | None,
    as_json: bool,
) -> int:
    """Say why POLICY has the status that it has in ENV.

    Each subject with each condition: what was seen, what is expected, and the fact that says so:
    its source, query, time, rows, digest, and until when it holds.

    \b
    Exit codes: as of `anlan policy check`.
    \b
    Examples:
      anlan policy explain local tls-version
      anlan policy explain local audit-database --site a --facts facts.json
    """
    from datetime import UTC, datetime  # noqa: PLC0415

    from orchestrator.policy import Parameters  # noqa: PLC0415
    from orchestrator.policy.explain import explain as explained_of  # noqa: PLC0415

    rules = load_rules(folder)
    chosen = at_site([find_policy(rules, name)], environment, site)
    if not chosen:
        raise InputError(f"policy {name} is about no subject of {site}", path="--site")
    policy = chosen[0]
    parameters = Parameters(json.loads(descriptor_path(environment).read_text()), rules.baseline)
    facts = facts_of(environment, [policy.kind], facts_file)
    finding, explained = explained_of(policy, facts, parameters, datetime.now(UTC))
    if as_json:
        emit(_to_json(finding, explained))
    else:
        for line in _told(finding, explained):
            click.echo(line)
    return exit_code({finding.status})


def _told(finding: Finding, explained: list[Explained]) -> Iterator[str]:
    policy = finding.policy
    yield f"{policy.id}  {policy.severity}  {finding.status}"
    yield f"  {policy.title['en']}"
    yield f"  {policy.title['zh']}"
    for name, value in finding.parameters.items():
        yield f"  parameter {name}: {_shown(value)}"
    for one in explained:
        yield ""
        yield f"{one.observation.subject}: {one.observation.status}"
        if one.observation.reason:
            yield f"  because: {one.observation.reason}"
        for asked in one.asked:
            yield f"  {_SIGNS[asked.answer]} {asked.part} {asked.field}"
            yield f"      expected: {_shown(asked.expected)}"
            seen = asked.seen[0] if len(asked.seen) == 1 else list(asked.seen)
            yield f"      seen:     {_shown(seen) if asked.seen else 'nothing'}"
        if one.fact and one.holds_until:
            yield f"  fact {one.fact.digest}"
            yield f"      source: {one.fact.source}"
            yield f"      query:  {one.fact.query}"
            yield f"      time:   {timestamp(one.fact.collected_at)}, {one.fact.duration_ms:.0f} ms"
            rows = "none" if one.fact.row_count is None else one.fact.row_count
            yield f"      rows:   {rows}"
            yield f"      holds until {timestamp(one.holds_until)}"
    yield ""
    yield from _to_do(policy)


def _to_do(policy: Policy) -> Iterator[str]:
    fix = policy.remediation
    yield f"to do: {fix.text['en']}"
    yield f"       {fix.text['zh']}"
    if fix.role:
        how = "`anlan policy fix`" if fix.safe else "not safe unattended: `anlan up --refresh`"
        yield f"       by the role {fix.role} ({how})"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"


def _to_json(finding: Finding, explained: list[Explained]) -> dict[str, Any]:
    fix = finding.policy.remediation
    return {
        **finding.to_json(),
        "observations": [
            {
                **one.observation.to_json(),
                "holds_until": timestamp(one.holds_until) if one.holds_until else None,
                "conditions": [vars(asked) for asked in one.asked],
                "observed": one.fact.to_json() if one.fact else None,
            }
            for one in explained
        ],
        "remediation": {**fix.text, "role": fix.role, "tags": list(fix.tags), "safe": fix.safe},
    }
