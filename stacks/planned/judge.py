"""Policies and planned facts → what a planned resource would break, or what is not known yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestrator.model.errors import InputError
from orchestrator.model.fact import Fact
from orchestrator.model.policy import DESCRIPTOR, Condition, Policy, parse_policies
from orchestrator.policy import Parameters, Rules, decode_rules, evaluate, parse_rules
from stacks.planned.facts import PLANNED_KINDS, Data, planned
from stacks.planned.resource import NotKnownYet, PlanError, Resource, is_unknown

OWN_RULES = "crossguard/rules"
"""Policies about the plan itself, below the folder of policies."""


@dataclass(frozen=True)
class Verdict:
    """What one policy says of one planned resource.

    `broken` are sentences, each beginning with the subject; `unknown` are subjects that a preview
    says too little about. Both are empty when it holds, or has nothing to say.
    """

    broken: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    judged: int = 0


def load(folder: Path) -> tuple[Rules, tuple[Policy, ...]]:
    """Return the rules of a folder of policies, and those of them that a plan can be judged by.

    Raises InputError, also for a policy about the plan whose id another one has.
    """
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*.y*ml"))
    }
    texts = decode_rules(files, folder=str(folder))
    rules = parse_rules(texts, folder=str(folder))
    own: list[Policy] = []
    for name, text in texts.items():
        if name.startswith(OWN_RULES):
            own += parse_policies(text, file=f"{folder}/{name}")
    ids = [one.id for one in (*rules.policies, *own)]
    if twice := sorted({name for name in ids if ids.count(name) > 1}):
        raise InputError(f"policy {twice[0]!r} is defined twice", file=f"{folder}/{OWN_RULES}")
    chosen = [one for one in (*rules.policies, *own) if one.kind in PLANNED_KINDS]
    return rules, tuple(chosen)


class Judge:
    """Judges the resources of one plan as they come; the one with the descriptor comes first."""

    def __init__(self, rules: Rules) -> None:
        self._baseline = rules.baseline
        self._parameters: Parameters | None = None
        # One time for all: only policies about running systems ask for it.
        self._now = datetime.now(UTC)

    def judge(self, policy: Policy, resource: Resource) -> Verdict:
        """Return what a policy says of a resource. What cannot be read is broken, never passed."""
        try:
            if (descriptor := resource.descriptor) is not None:
                self._parameters = Parameters(descriptor, self._baseline)
            elif self._parameters is None:
                return self._before_the_descriptor(resource)
            found = planned(policy.kind, resource, self._parameters.environment)
        except NotKnownYet:
            return Verdict(unknown=(resource.name,))
        except (PlanError, KeyError, TypeError, ValueError) as error:
            told = str(error) if isinstance(error, PlanError) else f"{type(error).__name__} {error}"
            return Verdict(broken=(f"{resource.name}: it cannot be judged: {told}",))
        broken: list[str] = []
        unknown: list[str] = []
        judged = 0
        for subject, data in found:
            if (part := _about(policy, subject, data)) is None:
                continue
            judged += 1
            status, reason = self._evaluate(part, subject, data, self._parameters)
            missing = [one.field for one in part.must if _top(one) in _unknown(data)]
            if status == "not-satisfied":
                broken.append(f"{subject}: {reason}")
            elif status == "unknown" and missing:
                unknown.append(subject)
            elif status not in {"satisfied", "not-applicable"}:
                broken.append(f"{subject}: it cannot be judged: {reason}")
        return Verdict(tuple(broken), tuple(unknown), judged)

    @staticmethod
    def _before_the_descriptor(resource: Resource) -> Verdict:
        if not resource.role:
            return Verdict()
        told = "no resource with the environment's descriptor came before it"
        return Verdict(broken=(f"{resource.name}: it cannot be judged: {told}",))

    def _evaluate(
        self, policy: Policy, subject: str, data: Data, parameters: Parameters
    ) -> tuple[str, str]:
        known = {key: None if key in _unknown(data) else value for key, value in data.items()}
        fact = Fact(
            kind=policy.kind,
            subject=subject,
            collected_at=self._now,
            source="the plan",
            query="",
            row_count=None,
            duration_ms=0,
            status="observed",
            data=known,
        )
        finding = evaluate([policy], [fact], parameters, self._now)[0]
        return finding.observations[0].status, finding.observations[0].reason


def _unknown(data: Data) -> set[str]:
    return {key for key, value in data.items() if is_unknown(value)}


def _about(policy: Policy, subject: str, data: Mapping[str, Any]) -> Policy | None:
    """The policy with what it asks of the fields that the plan decides; None if that is nothing."""
    if not any(_matches(pattern, subject) for pattern in policy.subjects):
        return None
    if not all(_top(one) in data or _is_elsewhere(one) for one in policy.where):
        return None
    must = tuple(one for one in policy.must if _top(one) in data)
    return replace(policy, subjects=(subject,), must=must) if must else None


def _matches(pattern: str, subject: str) -> bool:
    site, _, rest = pattern.partition("/")
    if site == "{site}":
        here, _, of_subject = subject.partition("/")
        return here != "common" and rest == of_subject
    return pattern == subject


def _top(condition: Condition) -> str:
    """The field of the data that a condition's path begins with."""
    return condition.field.split(".")[0].removesuffix("[]")


def _is_elsewhere(condition: Condition) -> bool:
    return condition.field == "subject" or condition.field.startswith(DESCRIPTOR)
