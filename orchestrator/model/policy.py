"""Policies as data, and what they lead to: a policy, its conditions, findings.

A policy reads as a sentence: facts of this kind, at these subjects, must be so, or else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, lru_cache
from typing import Any, Literal

from orchestrator.model.conditions import check_condition, references
from orchestrator.model.errors import InputError
from orchestrator.model.fact import timestamp
from orchestrator.model.fact_kinds import fact_kinds, field_schema
from orchestrator.model.schema import check, nearest
from orchestrator.model.waiver import Waived
from orchestrator.model.yaml_text import load_yaml, located

Status = Literal["satisfied", "not-satisfied", "not-applicable", "unknown", "expired"]
STATUSES: tuple[Status, ...] = (
    "not-satisfied",
    "unknown",
    "expired",
    "satisfied",
    "not-applicable",
)
"""Every status, the one that a reader must see first first."""
BAD: tuple[Status, ...] = STATUSES[:3]
"""Statuses of what does not hold, or of which nobody knows."""
FINDINGS_SCHEMA = "anlan.findings/v2"
DESCRIPTOR = "environment."
"""A condition's field that begins so is one of the environment descriptor."""


@dataclass(frozen=True)
class Control:
    """A reference to a control of a catalogue; `threshold` is the number that its text gives."""

    source: str
    id: str
    threshold: str = ""


@dataclass(frozen=True)
class Condition:
    """What stands at `field` (a path into a fact's data) must satisfy a JSON Schema, or else."""

    field: str
    schema: Mapping[str, Any]
    message: str

    @cached_property
    def text(self) -> str:
        """The schema as JSON, the same for the same schema."""
        return json.dumps(self.schema, sort_keys=True)

    @cached_property
    def named(self) -> tuple[str, ...]:
        """The parameters that the schema refers to, in order."""
        return tuple(sorted(references(self.schema)))


@dataclass(frozen=True)
class Remediation:
    """What to do; `role` and `tags` name what of Ansible does it, `safe` whether unattended."""

    text: Mapping[str, str]
    role: str
    tags: tuple[str, ...]
    safe: bool


@dataclass(frozen=True)
class Example:
    """Data of a fact and what the policy must say of it."""

    expect: Status
    data: Mapping[str, Any]
    environment: Mapping[str, Any]
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class Policy:
    """One policy; `subjects` are patterns of the whole population ({site} is every site).

    An observation holds for `valid_hours`; after that nobody knows.
    """

    id: str
    title: Mapping[str, str]
    rationale: Mapping[str, str]
    severity: str
    kind: str
    subjects: tuple[str, ...]
    valid_hours: float
    where: tuple[Condition, ...]
    parameters: Mapping[str, Any]
    must: tuple[Condition, ...]
    remediation: Remediation
    examples: tuple[Example, ...]

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """The fields of a fact's data that the conditions ask about, each once."""
        asked = dict.fromkeys(one.field for one in (*self.where, *self.must))
        return tuple(one for one in asked if not one.startswith(DESCRIPTOR) and one != "subject")


@dataclass(frozen=True)
class Observation:
    """What one policy says about one subject; `fact` is the digest of the fact, if there is one."""

    subject: str
    status: Status
    reason: str
    fact: str | None

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form (part of schema `finding`)."""
        return {
            "subject": self.subject,
            "status": self.status,
            "reason": self.reason,
            "fact": self.fact,
        }


@dataclass(frozen=True)
class Finding:
    """What one policy says about its whole population.

    `observed_at` is the time of its oldest fact, `valid_until` when the first of them expires;
    both None without a fact. `waivers` are those in force at subjects where it does not hold; they
    change no status.
    """

    policy: Policy
    controls: tuple[Control, ...]
    status: Status
    reason: str
    population_size: int
    observed: int
    observed_at: datetime | None
    valid_until: datetime | None
    parameters: Mapping[str, Any]
    observations: tuple[Observation, ...]
    waivers: tuple[Waived, ...] = ()

    @property
    def is_waived(self) -> bool:
        """Whether the policy does not hold, and each subject where it does not is waived."""
        bad = {one.subject for one in self.observations if one.status in BAD}
        return _covered(bad, {one.subject for one in self.waivers})

    @property
    def evidence(self) -> tuple[str, ...]:
        """Digests of the facts that were judged, in order of subject."""
        return tuple(item.fact for item in self.observations if item.fact)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form (schema `finding`)."""
        return {
            "policy": self.policy.id,
            "title": dict(self.policy.title),
            "severity": self.policy.severity,
            "controls": [
                {"source": item.source, "id": item.id, "threshold": item.threshold}
                for item in self.controls
            ],
            "status": self.status,
            "reason": self.reason,
            "population_size": self.population_size,
            "observed": self.observed,
            "observed_at": timestamp(self.observed_at) if self.observed_at else None,
            "valid_until": timestamp(self.valid_until) if self.valid_until else None,
            "parameters": dict(self.parameters),
            "observations": [item.to_json() for item in self.observations],
            "waivers": [item.to_json() for item in self.waivers],
            "evidence": list(self.evidence),
        }


def is_waived(finding: Mapping[str, Any]) -> bool:
    """Whether each subject where a finding (schema `finding`) does not hold is waived."""
    bad = {one["subject"] for one in finding["observations"] if one["status"] in BAD}
    return _covered(bad, {one["subject"] for one in finding["waivers"]})


def _covered(bad: set[str], waived: set[str]) -> bool:
    return bool(bad) and bad <= waived


def waivers_at(finding: Mapping[str, Any], subject: str) -> list[str]:
    """Return, in words, the waivers that a finding (schema `finding`) has at a subject."""
    return [
        f"waived until {one['until']} by {one['owner']}: {one['reason']}"
        for one in finding["waivers"]
        if one["subject"] == subject
    ]


def findings_document(findings: Iterable[Finding], evaluated_at: datetime) -> dict[str, Any]:
    """Return what `findings.json` holds; the time is the `now` that was given to `evaluate`."""
    return {
        "schema": FINDINGS_SCHEMA,
        "evaluated_at": timestamp(evaluated_at),
        "findings": [finding.to_json() for finding in findings],
    }


def _condition(data: Mapping[str, Any]) -> Condition:
    return Condition(data["field"], data["schema"], data.get("else", ""))


def _remediation(data: Mapping[str, Any]) -> Remediation:
    text = {"en": data["en"], "zh": data["zh"]}
    return Remediation(
        text, data.get("role", ""), tuple(data.get("tags", ())), data.get("safe", False)
    )


def _example(data: Mapping[str, Any]) -> Example:
    return Example(
        data["expect"], data["data"], data.get("environment", {}), data.get("parameters", {})
    )


def _policy(data: Mapping[str, Any]) -> Policy:
    return Policy(
        id=data["id"],
        title=data["title"],
        rationale=data["rationale"],
        severity=data["severity"],
        kind=data["facts"],
        subjects=tuple(data["subjects"]),
        valid_hours=data["valid_hours"],
        where=tuple(_condition(item) for item in data.get("where", [])),
        parameters=data.get("parameters", {}),
        must=tuple(_condition(item) for item in data["must"]),
        remediation=_remediation(data["remediation"]),
        examples=tuple(_example(item) for item in data["examples"]),
    )


def parse_policies(text: str, *, file: str = "") -> list[Policy]:
    """Return the policies of one YAML file.

    Raises InputError naming file, line and reason: schema violations, an id used twice, a kind of
    fact or a field that does not exist, a condition whose parameter is not declared.
    """
    return list(_parse(text, file))


@lru_cache(maxsize=64)
def _parse(text: str, file: str) -> tuple[Policy, ...]:
    """A run judges and reports by the same texts: each is read once."""
    document = load_yaml(text, file=file)
    check(document, "policy", file=file, text=text)
    policies: list[Policy] = []
    for position, data in enumerate(document["policies"]):
        path = f"$.policies[{position}]"
        try:
            if any(policy.id == data["id"] for policy in policies):
                raise InputError(f"id {data['id']!r} is used twice", path="id")
            policies.append(_checked(_policy(data)))
        except InputError as error:
            where = f"{path}.{error.path}"
            raise InputError(
                f"policy {data['id']}: {error.reason}",
                error.todo,
                file=located(text, where, file=file),
                path=where,
            ) from error
    return tuple(policies)


def _checked(policy: Policy) -> Policy:
    """Return the policy. Raises InputError, `path` within the policy, for what cannot be."""
    if policy.kind not in fact_kinds():
        todo = nearest(policy.kind, fact_kinds()) or f"the kinds are {', '.join(fact_kinds())}"
        raise InputError(f"there is no kind of fact {policy.kind!r}", todo, path="facts")
    for part, conditions in (("where", policy.where), ("must", policy.must)):
        for number, condition in enumerate(conditions):
            _check_condition(policy, condition, f"{part}[{number}]")
    return policy


def _check_condition(policy: Policy, condition: Condition, path: str) -> None:
    for name in sorted(references(condition.schema) - set(policy.parameters)):
        raise InputError(
            f"parameter {name!r} is not declared by the policy",
            nearest(name, policy.parameters) or "declare it under parameters",
            path=f"{path}.schema",
        )
    field: Mapping[str, Any] = {}
    if not condition.field.startswith(DESCRIPTOR) and condition.field != "subject":
        try:
            field = field_schema(policy.kind, condition.field)
        except InputError as error:
            raise InputError(error.reason, error.todo, path=f"{path}.field") from error
    try:
        check_condition(condition.schema, field, policy.parameters)
    except InputError as error:
        raise InputError(error.reason, error.todo, path=f"{path}.schema{error.path}") from error


def parse_baseline(text: str, *, file: str = "") -> dict[str, list[str]]:
    """Return the accepted names of each list of a baseline file. Raises InputError."""
    document = load_yaml(text, file=file)
    check(document, "baseline", file=file, text=text)
    return {
        name: [entry["name"] for entry in entries] for name, entries in document["lists"].items()
    }
