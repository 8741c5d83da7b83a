"""Why a policy has the status that it has: each condition, what it asks for and what was seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from orchestrator.model.conditions import resolve
from orchestrator.model.fact import Fact
from orchestrator.model.policy import DESCRIPTOR, Condition, Finding, Observation, Policy
from orchestrator.policy.conditions import MISSING, Undecidable, lookup, rule_of, violations
from orchestrator.policy.evaluate import evaluate
from orchestrator.policy.parameters import Parameters

Answer = Literal["holds", "broken", "unknown"]


@dataclass(frozen=True)
class Asked:
    """One condition asked of one fact; `part` is `where` or `must`, `seen` what stands there."""

    part: str
    field: str
    expected: Mapping[str, Any]
    seen: tuple[Any, ...]
    answer: Answer


@dataclass(frozen=True)
class Explained:
    """What a policy says about one subject, from which fact, until when that holds."""

    observation: Observation
    fact: Fact | None
    holds_until: datetime | None
    asked: tuple[Asked, ...]


def explain(
    policy: Policy, facts: Iterable[Fact], parameters: Parameters, now: datetime
) -> tuple[Finding, list[Explained]]:
    """Return the finding of a policy and the explanation of each of its observations.

    The statuses are those of `evaluate`. Raises InputError when a parameter's source does not
    exist.
    """
    known = [fact for fact in facts if fact.kind == policy.kind]
    finding = evaluate([policy], known, parameters, now)[0]
    by_digest = {fact.digest: fact for fact in known}
    explained = []
    for seen in finding.observations:
        fact = by_digest[seen.fact] if seen.fact else None
        until = fact.collected_at + timedelta(hours=policy.valid_hours) if fact else None
        asked = _asked(policy, fact, finding.parameters, parameters, now) if fact else ()
        explained.append(Explained(seen, fact, until, asked))
    return finding, explained


def _asked(
    policy: Policy,
    fact: Fact,
    values: Mapping[str, Any],
    parameters: Parameters,
    now: datetime,
) -> tuple[Asked, ...]:
    if fact.status != "observed":
        return ()
    descriptor = {DESCRIPTOR.removesuffix("."): parameters.environment}
    data = {**fact.data, "subject": fact.subject, **descriptor}
    return tuple(
        _ask(part, dataclasses.replace(one, schema=resolve(one.schema, values)), data, now)
        for part, conditions in (("where", policy.where), ("must", policy.must))
        for one in conditions
    )


def _ask(part: str, condition: Condition, data: Mapping[str, Any], now: datetime) -> Asked:
    """Ask one condition, its parameters in their places."""
    answer: Answer
    try:
        broken = violations(rule_of(condition, {}, now), data)
        answer = "broken" if broken else "holds"
    except Undecidable:
        answer = "unknown"
    seen = tuple(one for one in lookup(data, condition.field) if one is not MISSING)
    return Asked(part, condition.field, condition.schema, seen, answer)
