"""`anlan policy fix`: put right what a role of this repository can, and prove that it did."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.common import (
    complete_environment,
    console,
    descriptor_path,
    emit,
    find_environment,
    json_option,
    verdict_text,
)
from orchestrator.cli.policy_common import (
    exit_code,
    facts_of,
    find_policy,
    folder_option,
    load_rules,
)
from orchestrator.model.errors import InputError, Refused

if TYPE_CHECKING:
    from orchestrator.model.policy import Finding, Policy
    from orchestrator.policy import Parameters
    from stacks.automation import Outcome


@dataclass(frozen=True)
class Plan:
    """What to do: role to its parts, and why a policy that is not satisfied is left alone."""

    parts: Mapping[str, tuple[str, ...]]
    fixable: tuple[str, ...]
    left: Mapping[str, str]


@click.command()
@click.argument("environment", metavar="ENV", shell_complete=complete_environment)
@click.argument("names", metavar="[POLICY]...", nargs=-1)
@click.option(
    "--dry-run/--apply",
    "dry_run",
    default=None,
    help="Say what the roles would change, and change nothing; or let them.",
)
@folder_option
@json_option
def fix(
    environment: str,
    names: tuple[str, ...],
    dry_run: bool | None,
    folder: Path | None,
    as_json: bool,
) -> int:
    """Put right what is not satisfied in ENV, where a role can do it unattended.

    Takes the policies whose remediation is safe and names a role, applies that role to the parts
    that failed (as `anlan up` does), then collects and judges again. What no role can put right is
    listed with what a person has to do.

    \b
    Exit codes: 0 every policy looked at is satisfied or not applicable now, 1 one is not,
    3 refused (a drill holds the environment), 5 none of these but one is unknown.
    \b
    Examples:
      anlan policy fix local --dry-run
      anlan policy fix local audit-database-logins --apply
    """
    from orchestrator.policy import Parameters  # noqa: PLC0415

    if dry_run is None:
        raise InputError("look or act?", "give --dry-run, or --apply", path="--dry-run, --apply")
    rules = load_rules(folder)
    chosen = [find_policy(rules, name) for name in names] or list(rules.policies)
    parameters = Parameters(json.loads(descriptor_path(environment).read_text()), rules.baseline)
    _refuse_during_a_drill(environment)
    before = _judged(environment, chosen, parameters)
    plan = _plan(environment, before)
    outcome = _run(environment, plan, dry_run=dry_run) if plan.parts else None
    # Another policy may have broken by what put this one right: all are judged again.
    after = _judged(environment, chosen, parameters) if outcome and not dry_run else before
    if as_json:
        emit(_to_json(plan, outcome, before, after, dry_run=dry_run))
    else:
        _show(plan, outcome, before, after, dry_run=dry_run)
    statuses = {one.status for one in after}
    return exit_code(statuses)


def _refuse_during_a_drill(environment: str) -> None:
    from orchestrator.drivers.lease import LeaseFile  # noqa: PLC0415

    lease = LeaseFile(find_environment(environment).lease_file).current()
    if lease.is_held:
        raise Refused(
            f"run {lease.run_id} holds the environment {environment}: what it broke is its own",
            f"end the run first (`anlan drill resume {lease.run_id}`)",
        )


def _judged(environment: str, policies: Sequence[Policy], parameters: Parameters) -> list[Finding]:
    from datetime import UTC, datetime  # noqa: PLC0415

    from orchestrator.policy import evaluate  # noqa: PLC0415

    facts = facts_of(environment, {one.kind for one in policies}, None)
    return evaluate(policies, facts, parameters, datetime.now(UTC))


def _plan(environment: str, findings: Sequence[Finding]) -> Plan:
    """Which parts to apply: those of the role at the sites whose subjects failed."""
    from stacks import automation  # noqa: PLC0415

    parts: dict[str, dict[str, None]] = {}
    fixable, left = [], {}
    for finding in findings:
        if finding.status != "not-satisfied":
            continue
        remediation = finding.policy.remediation
        if not remediation.role:
            left[finding.policy.id] = f"no role puts it right: {remediation.text['en']}"
            continue
        if not remediation.safe:
            left[finding.policy.id] = (
                f"the role {remediation.role} is not safe unattended: {remediation.text['en']}"
            )
            continue
        places = {
            one.subject.partition("/")[0]
            for one in finding.observations
            if one.status == "not-satisfied"
        }
        known = automation.parts_of(environment, remediation.role)
        wanted = [part for part, machine in sorted(known.items()) if machine in places]
        if not (wanted or known):
            left[finding.policy.id] = f"{environment} has no part of the role {remediation.role}"
            continue
        fixable.append(finding.policy.id)
        # What fails at `common` may be of a role that is on the sites' machines alone.
        for part in wanted or sorted(known):
            parts.setdefault(remediation.role, {})[part] = None
    return Plan({role: tuple(some) for role, some in parts.items()}, tuple(fixable), left)


def _run(environment: str, plan: Plan, *, dry_run: bool) -> Outcome:
    from orchestrator.cli.provision import progress  # noqa: PLC0415
    from stacks import automation  # noqa: PLC0415

    parts = [part for some in plan.parts.values() for part in some]
    with progress(environment) as report:
        if dry_run:
            return automation.refresh(environment, report, preview=True, parts=parts)
        return automation.up(environment, {}, report, refresh=True, parts=parts)


def _unseen(plan: Plan, outcome: Outcome | None) -> bool:
    """Whether the roles find everything as they wish although a policy is not satisfied."""
    return outcome is not None and not outcome.drift and bool(plan.fixable)


def _show(
    plan: Plan,
    outcome: Outcome | None,
    before: Sequence[Finding],
    after: Sequence[Finding],
    *,
    dry_run: bool,
) -> None:
    from rich.markup import escape  # noqa: PLC0415

    screen = console()
    for was, now in zip(before, after, strict=True):
        if was.status in ("not-satisfied", "unknown", "expired") or was.status != now.status:
            change = verdict_text(was.status)
            change += "" if dry_run else f" → {verdict_text(now.status)}"
            screen.print(f"{was.policy.id}: {change}")
            screen.print(f"  {escape(now.reason or was.reason)}")
    for role, parts in plan.parts.items():
        screen.print(f"role {role} on {', '.join(parts)}")
    word = "would change" if dry_run else "changed"
    for part, tasks in sorted(outcome.drift.items()) if outcome else ():
        for task in tasks:
            screen.print(f"  {word} {escape(f'{part}: {task}')}")
    if _unseen(plan, outcome):
        screen.print(
            "  the roles see nothing to change: what breaks the policy is set outside of them, "
            "and a person has to look"
        )
    # What fails for the same reason as another may be right now too.
    failing = {one.policy.id for one in after if one.status == "not-satisfied"}
    for name, why in plan.left.items():
        if name in failing:
            screen.print(f"left alone: {name}: {escape(why)}")
    if not (plan.parts or plan.left):
        screen.print(f"nothing to fix: of {len(before)} policies none is not satisfied")


def _to_json(
    plan: Plan,
    outcome: Outcome | None,
    before: Sequence[Finding],
    after: Sequence[Finding],
    *,
    dry_run: bool,
) -> dict[str, Any]:
    def said(findings: Sequence[Finding]) -> dict[str, Any]:
        return {one.policy.id: {"status": one.status, "reason": one.reason} for one in findings}

    return {
        "dry_run": dry_run,
        "roles": {role: list(parts) for role, parts in plan.parts.items()},
        "policies": list(plan.fixable),
        "changes": outcome.drift if outcome else {},
        "nothing_to_change": _unseen(plan, outcome),
        "left_alone": dict(plan.left),
        "before": said(before),
        "after": None if dry_run else said(after),
    }
