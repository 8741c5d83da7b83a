"""The policies as a Pulumi policy pack: severity P0 and P1 stop a deployment, P2 is told."""

from __future__ import annotations

from pathlib import Path

from pulumi_policy import (
    EnforcementLevel,
    Policy,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
)
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE, UnknownValueError

from orchestrator.model.policy import Policy as Rule
from stacks.planned.judge import Judge, load
from stacks.planned.resource import Resource, plain

_OURS = ("anlan:", "pulumi-python:dynamic/anlan:")
LEVELS = {
    "P0": EnforcementLevel.MANDATORY,
    "P1": EnforcementLevel.MANDATORY,
    "P2": EnforcementLevel.ADVISORY,
}


def policies(folder: Path) -> list[Policy]:
    """Return the pack's policies, from a folder of policies. Raises InputError."""
    rules, chosen = load(folder)
    judge = Judge(rules)
    return [_policy(one, judge) for one in chosen]


def _policy(rule: Rule, judge: Judge) -> ResourceValidationPolicy:
    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
        if not args.resource_type.startswith(_OURS):
            return
        resource = Resource(args.resource_type, args.name, plain(args.props))
        verdict = judge.judge(rule, resource)
        for sentence in verdict.broken:
            report(f"{sentence}. To do: {rule.remediation.text['en']}", None)
        if verdict.unknown:
            # Pulumi tells it as a warning, and asks again when the resource is made.
            raise UnknownValueError(UNKNOWN_STRING_VALUE, list(verdict.unknown))

    return ResourceValidationPolicy(
        name=rule.id,
        description=f"{rule.severity}: {rule.title['en']}",
        validate=validate,
        enforcement_level=LEVELS[rule.severity],
    )
