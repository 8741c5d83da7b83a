"""Facts and policies → findings. Pure: same input, same output, on any machine, at any time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from orchestrator.model.fact import Fact
from orchestrator.model.policy import Condition, Finding, Observation, Policy, Status
from orchestrator.policy.conditions import Undecidable, Violation, violations
from orchestrator.policy.parameters import Parameters

_SHOWN = 8


def _text(value: Any) -> str:
    """A value as a reader wants it: lists without brackets, cut when long."""
    if isinstance(value, list):
        shown = ", ".join(str(item) for item in value[:_SHOWN])
        return shown + (f" and {len(value) - _SHOWN} more" if len(value) > _SHOWN else "")
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _expected(condition: Condition, parameters: Mapping[str, Any]) -> Any:
    value = condition.value
    return parameters[value["parameter"]] if isinstance(value, dict) else value


def _message(condition: Condition, broken: Violation, subject: str) -> str:
    return (
        condition.message.replace("{actual}", _text(broken.actual))
        .replace("{expected}", _text(broken.expected))
        .replace("{offending}", _text(broken.offending))
        .replace("{subject}", subject)
    )


def _judge(
    policy: Policy, fact: Fact, parameters: Mapping[str, Any], now: datetime
) -> tuple[Status, str]:
    if fact.status != "observed":
        return "unknown", f"{fact.status}: {fact.error}"
    data = {**fact.data, "subject": fact.subject}
    try:
        for condition in policy.where:
            if violations(condition, data, _expected(condition, parameters), now):
                return "not_applicable", f"{condition.field} is outside the policy"
    except Undecidable as error:
        return "unknown", str(error)
    broken: list[str] = []
    undecided: list[str] = []
    for condition in policy.must:
        try:
            for violation in violations(condition, data, _expected(condition, parameters), now):
                message = _message(condition, violation, fact.subject)
                if message not in broken:
                    broken.append(message)
        except Undecidable as error:
            undecided.append(str(error))
    if broken:
        return "fail", "; ".join(broken)
    if undecided:
        return "unknown", "; ".join(undecided)
    return "pass", ""


def _population(policy: Policy, sites: Iterable[str]) -> list[str]:
    """The subjects that must be observed: `{site}` stands for every site."""
    names: list[str] = []
    for pattern in policy.subjects:
        expanded = (
            [pattern.replace("{site}", site) for site in sites]
            if "{site}" in pattern
            else [pattern]
        )
        names.extend(name for name in expanded if name not in names)
    return names


def _total(observations: Sequence[Observation]) -> tuple[Status, str]:
    """One failure fails; else one unknown leaves it unknown; else one pass is needed."""
    worst: tuple[Status, ...] = ("fail", "unknown")
    for status in worst:
        bad = [item for item in observations if item.status == status]
        if bad:
            return status, "; ".join(f"{item.subject}: {item.reason}" for item in bad)
    if any(item.status == "pass" for item in observations):
        return "pass", ""
    return "not_applicable", "no subject is within the policy"


def _evaluate(
    policy: Policy, facts: Sequence[Fact], parameters: Parameters, now: datetime
) -> Finding:
    resolved = parameters.resolve(policy)
    population = _population(policy, parameters.sites)
    mine = [fact for fact in facts if fact.kind == policy.applies_to]
    observations: list[Observation] = []
    for subject in population:
        about = [fact for fact in mine if fact.subject == subject]
        if not about:
            observations.append(Observation(subject, "unknown", "nothing was collected", None))
        for fact in about:
            status, reason = _judge(policy, fact, resolved, now)
            observations.append(Observation(subject, status, reason, fact.digest))
    status, reason = _total(observations)
    observed = {fact.subject for fact in mine if fact.status == "observed"}
    return Finding(
        policy=policy.id,
        title=policy.title,
        severity=policy.severity,
        controls=policy.controls,
        status=status,
        reason=reason,
        population_size=len(population),
        observed=len(observed.intersection(population)),
        parameters=resolved,
        observations=tuple(observations),
    )


def evaluate(
    policies: Iterable[Policy], facts: Sequence[Fact], parameters: Parameters, now: datetime
) -> list[Finding]:
    """Return one finding for each policy, in their order.

    A subject of the population without an observed fact is `unknown`, never `pass`. Raises
    InputError when a parameter's source does not exist.
    """
    return [_evaluate(policy, facts, parameters, now) for policy in policies]
