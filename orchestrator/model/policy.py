"""Policies as data, and what they lead to: a policy, its conditions, findings.

A policy reads as a sentence: facts of this kind, at these subjects, must be so, or else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import yaml

from orchestrator.model.errors import InputError
from orchestrator.model.fact import timestamp
from orchestrator.model.schema import check

Status = Literal["pass", "fail", "unknown", "not_applicable"]
FINDINGS_SCHEMA = "anlan.findings/v1"


@dataclass(frozen=True)
class Control:
    """A reference to a control text; `threshold` says whether that text gives a number at all."""

    source: str
    id: str
    threshold: str = ""


@dataclass(frozen=True)
class Condition:
    """`field` (a path into a fact's data) must stand in relation `op` to `value`, or else."""

    field: str
    op: str
    value: Any
    message: str


@dataclass(frozen=True)
class Policy:
    """One policy; `subjects` are patterns of the whole population ({site} is every site)."""

    id: str
    title: Mapping[str, str]
    why: str
    severity: str
    controls: tuple[Control, ...]
    applies_to: str
    subjects: tuple[str, ...]
    where: tuple[Condition, ...]
    parameters: Mapping[str, Any]
    must: tuple[Condition, ...]


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
    """What one policy says about its whole population."""

    policy: str
    title: Mapping[str, str]
    severity: str
    controls: tuple[Control, ...]
    status: Status
    reason: str
    population_size: int
    observed: int
    parameters: Mapping[str, Any]
    observations: tuple[Observation, ...]

    @property
    def evidence(self) -> tuple[str, ...]:
        """Digests of the facts that were judged, in order of subject."""
        return tuple(item.fact for item in self.observations if item.fact)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form (schema `finding`)."""
        return {
            "policy": self.policy,
            "title": dict(self.title),
            "severity": self.severity,
            "controls": [
                {"source": item.source, "id": item.id, "threshold": item.threshold}
                for item in self.controls
            ],
            "status": self.status,
            "reason": self.reason,
            "population_size": self.population_size,
            "observed": self.observed,
            "parameters": dict(self.parameters),
            "observations": [item.to_json() for item in self.observations],
            "evidence": list(self.evidence),
        }


def findings_document(findings: Iterable[Finding], evaluated_at: datetime) -> dict[str, Any]:
    """Return what `findings.json` holds; the time is the `now` that was given to `evaluate`."""
    return {
        "schema": FINDINGS_SCHEMA,
        "evaluated_at": timestamp(evaluated_at),
        "findings": [finding.to_json() for finding in findings],
    }


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML without duplicate keys (the last one would win silently)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for position, key in enumerate(keys):
            if key in keys[:position]:
                mark = node.value[position][0].start_mark
                raise yaml.constructor.ConstructorError(
                    "while reading a mapping", node.start_mark, f"duplicate key {key!r}", mark
                )
        return super().construct_mapping(node, deep)


def load_yaml(text: str, *, file: str = "") -> Any:
    """Parse safe YAML without duplicate keys. Raises InputError with file, line and column."""
    try:
        return yaml.load(text, _StrictLoader)  # noqa: S506  (a SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        path = f"line {mark.line + 1} column {mark.column + 1}" if mark else ""
        raise InputError(f"not YAML: {error.problem}", file=file, path=path) from error
    except yaml.YAMLError as error:
        raise InputError(f"not YAML: {error}", file=file) from error


def _condition(data: dict[str, Any]) -> Condition:
    return Condition(data["field"], data["is"], data.get("value"), data.get("else", ""))


def parse_policies(text: str, *, file: str = "") -> list[Policy]:
    """Return the policies of one YAML file.

    Raises InputError naming file, path and reason: schema violations, an id used twice, a
    condition whose parameter is not declared.
    """
    document = load_yaml(text, file=file)
    check(document, "policy", file=file)
    policies: list[Policy] = []
    for position, data in enumerate(document["policies"]):
        path = f"$.policies[{position}]"
        if any(policy.id == data["id"] for policy in policies):
            raise InputError(f"id {data['id']!r} is used twice", file=file, path=f"{path}.id")
        parameters = data.get("parameters", {})
        for part in ("where", "must"):
            for number, condition in enumerate(data.get(part, [])):
                value = condition.get("value")
                if isinstance(value, dict) and value.get("parameter") not in parameters:
                    raise InputError(
                        f"parameter {value.get('parameter')!r} is not declared by the policy",
                        f"declare it under {path}.parameters",
                        file=file,
                        path=f"{path}.{part}[{number}].value",
                    )
        policies.append(
            Policy(
                id=data["id"],
                title=data["title"],
                why=data["why"],
                severity=data["severity"],
                controls=tuple(
                    Control(item["source"], item["id"], item.get("threshold", ""))
                    for item in data["controls"]
                ),
                applies_to=data["applies_to"],
                subjects=tuple(data["subjects"]),
                where=tuple(_condition(item) for item in data.get("where", [])),
                parameters=parameters,
                must=tuple(_condition(item) for item in data["must"]),
            )
        )
    return policies


def parse_baseline(text: str, *, file: str = "") -> dict[str, list[str]]:
    """Return the accepted names of each list of a baseline file. Raises InputError."""
    document = load_yaml(text, file=file)
    check(document, "baseline", file=file)
    return {
        name: [entry["name"] for entry in entries] for name, entries in document["lists"].items()
    }
