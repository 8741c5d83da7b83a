"""Facts and policies → findings. Pure: same input, same output, on any machine, at any time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from orchestrator.model.fact import Fact, timestamp
from orchestrator.model.policy import (
    BAD,
    DESCRIPTOR,
    Control,
    Finding,
    Observation,
    Policy,
    Status,
)
from orchestrator.model.waiver import Waiver, waived_at
from orchestrator.policy.conditions import (
    Rule,
    Undecidable,
    Violation,
    rule_of,
    violations,
)
from orchestrator.policy.parameters import Parameters

_SHOWN = 8


def text_of(value: Any) -> str:
    """A value as a reader wants it: lists without brackets, cut when long."""
    if isinstance(value, (list, tuple)):
        shown = ", ".join(str(item) for item in value[:_SHOWN])
        return shown + (f" and {len(value) - _SHOWN} more" if len(value) > _SHOWN else "")
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _message(rule: Rule, violation: Violation, subject: str) -> str:
    return (
        rule.message.replace("{actual}", text_of(violation.actual))
        .replace("{expected}", text_of(violation.expected))
        .replace("{offending}", text_of(violation.offending))
        .replace("{subject}", subject)
    )


class _Judge:
    """One policy in one environment at one time."""

    def __init__(self, policy: Policy, parameters: Parameters, now: datetime) -> None:
        self.policy, self.now = policy, now
        self.parameters = parameters.resolve(policy)
        self.validity = timedelta(hours=policy.valid_hours)
        self.where, self.must = (
            [rule_of(one, self.parameters, now) for one in conditions]
            for conditions in (policy.where, policy.must)
        )

    def judge(self, fact: Fact, data: Mapping[str, Any]) -> tuple[Status, str]:
        """The status of one fact, and why it is not satisfied; `data` is what is asked about."""
        if fact.status != "observed":
            return "unknown", f"{fact.status}: {fact.error}"
        if (until := self.until(fact)) < self.now:
            told = f"observed {timestamp(fact.collected_at)}, which held until {timestamp(until)}"
            return "expired", told
        return self._judge(data)

    def _judge(self, data: Mapping[str, Any]) -> tuple[Status, str]:
        try:
            for rule in self.where:
                if violations(rule, data):
                    return "not-applicable", f"{rule.field} is outside the policy"
        except Undecidable as error:
            return "unknown", str(error)
        broken: dict[str, None] = {}
        undecided: list[str] = []
        for rule in self.must:
            try:
                for violation in violations(rule, data):
                    broken[_message(rule, violation, data["subject"])] = None
            except Undecidable as error:
                undecided.append(str(error))
        if broken:
            return "not-satisfied", "; ".join(broken)
        if undecided:
            return "unknown", "; ".join(undecided)
        return "satisfied", ""

    def until(self, fact: Fact) -> datetime:
        """Until when an observation holds."""
        return fact.collected_at + self.validity


def population(policy: Policy, sites: Iterable[str]) -> list[str]:
    """Return the subjects that must be observed: `{site}` stands for every site."""
    names: dict[str, None] = {}
    for pattern in policy.subjects:
        for site in sites if "{site}" in pattern else [""]:
            names[pattern.replace("{site}", site)] = None
    return list(names)


def wanted(policies: Iterable[Policy], sites: Iterable[str]) -> frozenset[tuple[str, str]]:
    """Return kind and subject of every fact that the policies ask for at these sites."""
    known = list(sites)
    return frozenset((one.kind, name) for one in policies for name in population(one, known))


def _total(observations: Sequence[Observation]) -> tuple[Status, str]:
    """One failure fails; else one unknown or expired leaves it so; else one must hold."""
    for status in BAD:
        bad = [item for item in observations if item.status == status]
        if bad:
            return status, "; ".join(f"{item.subject}: {item.reason}" for item in bad)
    if any(item.status == "satisfied" for item in observations):
        return "satisfied", ""
    return "not-applicable", "no subject is within the policy"


def _finding(
    judge: _Judge,
    facts: Mapping[tuple[str, str], Sequence[tuple[Fact, Mapping[str, Any]]]],
    parameters: Parameters,
    controls: tuple[Control, ...],
    waivers: Sequence[Waiver],
) -> Finding:
    policy = judge.policy
    subjects = population(policy, parameters.sites)
    observations: list[Observation] = []
    judged: list[Fact] = []
    for subject in subjects:
        about = facts.get((policy.kind, subject), ())
        if not about:
            observations.append(Observation(subject, "unknown", "nothing was collected", None))
        for fact, data in about:
            status, reason = judge.judge(fact, data)
            observations.append(Observation(subject, status, reason, fact.digest))
            judged.append(fact)
    status, reason = _total(observations)
    bad = {one.subject: None for one in observations if one.status in BAD}
    return Finding(
        policy=policy,
        controls=controls,
        status=status,
        reason=reason,
        population_size=len(subjects),
        observed=len({fact.subject for fact in judged if fact.status == "observed"}),
        observed_at=min((fact.collected_at for fact in judged), default=None),
        valid_until=min((judge.until(fact) for fact in judged), default=None),
        parameters=judge.parameters,
        observations=tuple(observations),
        waivers=tuple(
            one for subject in bad for one in waived_at(waivers, policy.id, subject, judge.now)
        ),
    )


def evaluate(
    policies: Iterable[Policy],
    facts: Iterable[Fact],
    parameters: Parameters,
    now: datetime,
    controls: Mapping[str, tuple[Control, ...]] | None = None,
    *,
    waivers: Sequence[Waiver] = (),
) -> list[Finding]:
    """Return one finding for each policy, in their order.

    A subject of the population without an observed fact is `unknown`, never `satisfied`.
    `controls` are those that each policy is evidence for, `waivers` verified ones of this
    environment: a finding carries those in force, and its status stays what it is. Raises
    InputError when a parameter's source does not exist.
    """
    descriptor = {DESCRIPTOR.removesuffix("."): parameters.environment}
    found: dict[tuple[str, str], list[tuple[Fact, Mapping[str, Any]]]] = {}
    for fact in facts:
        data = {**fact.data, "subject": fact.subject, **descriptor}
        found.setdefault((fact.kind, fact.subject), []).append((fact, data))
    return [
        _finding(
            _Judge(policy, parameters, now),
            found,
            parameters,
            (controls or {}).get(policy.id, ()),
            waivers,
        )
        for policy in policies
    ]
