"""A drill as data: its steps, parameters and targets; and the plan that one run of it follows.

A drill says what is done, in which order, and what is measured against; the verbs themselves are
code (`orchestrator.steps`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from orchestrator.model.canonical import sha256
from orchestrator.model.errors import InputError
from orchestrator.model.fact import timestamp
from orchestrator.model.schema import check
from orchestrator.model.yaml_text import load_yaml

Impact = Literal["none", "isolated", "production"]
PLAN_SCHEMA = "anlan.plan/v1"
_TYPES: dict[str, tuple[type, ...]] = {"number": (int, float), "integer": (int,), "string": (str,)}


@dataclass(frozen=True)
class Parameter:
    """What an operator may choose: a number, integer or string, within limits."""

    name: str
    type: str
    default: Any
    help: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    pattern: str = ""

    def parse(self, text: str) -> Any:
        """Return the value that an operator's text means. Raises InputError."""
        try:
            value: Any = {"number": float, "integer": int, "string": str}[self.type](text)
        except ValueError as error:
            raise InputError(
                f"{text!r} is no {self.type}", self.help, path=f"parameter {self.name}"
            ) from error
        return self.accept(value)

    def accept(self, value: Any) -> Any:
        """Return `value` if it is within the limits. Raises InputError."""
        wrong = ""
        known: Any = value if isinstance(value, _TYPES[self.type]) else None
        if known is None or isinstance(known, bool):
            wrong = f"is no {self.type}"
        elif isinstance(known, float) and not math.isfinite(known):
            wrong = "is no finite number"
        elif self.minimum is not None and known < self.minimum:
            wrong = f"is below {self.minimum:g}"
        elif self.maximum is not None and known > self.maximum:
            wrong = f"is above {self.maximum:g}"
        elif self.choices and value not in self.choices:
            wrong = f"is none of {', '.join(self.choices)}"
        elif self.pattern and not re.fullmatch(self.pattern, known):
            wrong = f"does not match {self.pattern}"
        if wrong:
            raise InputError(f"{value!r} {wrong}", self.help, path=f"parameter {self.name}")
        return value


@dataclass(frozen=True)
class Step:
    """One step: `do` names a verb, `options` are its arguments ({parameter: name} is a choice).

    It begins when the steps that it `needs` (ids) are done: unless the drill says otherwise, the
    one before it. It is tried `retries` times more when a server does not answer.
    """

    id: str
    do: str
    needs: tuple[str, ...]
    phase: str
    title: Mapping[str, str]
    timeout_seconds: float
    options: Mapping[str, Any]
    retries: int = 0


@dataclass(frozen=True)
class Drill:
    """A drill; `targets` name where in the descriptor each target is; `digest` of its file.

    `abort` is what production may suffer meanwhile: `error_rate` (share of the writes), `lag_bytes`
    of the standby, `over_seconds`; None for no budget.
    """

    name: str
    title: Mapping[str, str]
    purpose: Mapping[str, str]
    scenario: Mapping[str, str]
    impact: Impact
    parameters: tuple[Parameter, ...]
    targets: Mapping[str, str]
    steps: tuple[Step, ...]
    text: str
    digest: str
    abort: Mapping[str, float] | None = None

    def choose(self, given: Mapping[str, str]) -> dict[str, Any]:
        """Return every parameter's value: as given (text), else its default. Raises InputError."""
        known = {parameter.name: parameter for parameter in self.parameters}
        for name in given:
            if name not in known:
                raise InputError(
                    f"drill {self.name} has no parameter {name!r}",
                    f"it has: {', '.join(known) or 'none'}",
                )
        return {
            name: parameter.parse(given[name]) if name in given else parameter.default
            for name, parameter in known.items()
        }


def parse_drill(text: str, verbs: Mapping[str, Any], *, file: str = "") -> Drill:
    """Return the drill of a YAML file. Raises InputError with file, path and reason.

    `verbs` are what a step may `do`, by name; those that are `repeatable` may have `retries`.
    """
    data = load_yaml(text, file=file)
    check(data, "drill", file=file)
    parameters = tuple(
        Parameter(
            name=name,
            type=item["type"],
            default=item["default"],
            help=item["help"],
            minimum=item.get("minimum"),
            maximum=item.get("maximum"),
            choices=tuple(item.get("choices", ())),
            pattern=item.get("pattern", ""),
        )
        for name, item in data.get("parameters", {}).items()
    )
    for parameter in parameters:
        try:
            parameter.accept(parameter.default)
        except InputError as error:
            path = f"$.parameters.{parameter.name}.default"
            raise InputError(error.reason, error.todo, file=file, path=path) from error
    names = {parameter.name for parameter in parameters}
    steps: list[Step] = []
    for position, item in enumerate(data["steps"]):
        path = f"$.steps[{position}]"
        if any(step.id == item["id"] for step in steps):
            raise InputError(f"id {item['id']!r} is used twice", file=file, path=f"{path}.id")
        if item["do"] not in verbs:
            raise InputError(
                f"there is no verb {item['do']!r}",
                f"verbs: {', '.join(sorted(verbs))}",
                file=file,
                path=f"{path}.do",
            )
        if item.get("retries") and not verbs[item["do"]].repeatable:
            able = ", ".join(sorted(name for name, one in verbs.items() if one.repeatable))
            raise InputError(
                f"the verb {item['do']!r} is not tried again: what it does must be seen once",
                f"leave retries out; verbs that may have them: {able}",
                file=file,
                path=f"{path}.retries",
            )
        for key, value in item.get("with", {}).items():
            if isinstance(value, dict) and value["parameter"] not in names:
                raise InputError(
                    f"parameter {value['parameter']!r} is not declared",
                    "declare it under $.parameters",
                    file=file,
                    path=f"{path}.with.{key}",
                )
        before = [step.id for step in steps]
        needs = item.get("needs", before[-1:])
        for number, needed in enumerate(needs):
            if needed not in before:
                raise InputError(
                    f"no step before this one has the id {needed!r}",
                    f"before it: {', '.join(before) or 'none'}",
                    file=file,
                    path=f"{path}.needs[{number}]",
                )
        steps.append(
            Step(
                id=item["id"],
                do=item["do"],
                needs=tuple(needs),
                phase=item["phase"],
                title=item["title"],
                timeout_seconds=item["timeout_seconds"],
                options=item.get("with", {}),
                retries=item.get("retries", 0),
            )
        )
    return Drill(
        name=data["name"],
        title=data["title"],
        purpose=data["purpose"],
        scenario=data["scenario"],
        impact=data["impact"],
        parameters=parameters,
        targets=data.get("targets", {}),
        steps=tuple(steps),
        text=text,
        digest=sha256(text.encode()),
        abort=data.get("abort"),
    )


def plan(
    drill: Drill,
    environment: Mapping[str, Any],
    environment_digest: str,
    chosen: Mapping[str, Any],
    policies: Mapping[str, bytes],
    *,
    run_id: str,
    operator: str,
    tool: Mapping[str, str],
    created_at: datetime,
    trigger: str = "manual",
    scheduled: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the plan (schema `plan`) of one run: every choice made, every target a number.

    `environment` is the descriptor's JSON, `policies` relative path → content, `scheduled` the slot
    of a schedule that the run is for. Raises InputError
    when the descriptor lacks a target.
    """
    targets = {name: _target(environment, where, drill) for name, where in drill.targets.items()}
    document = {
        "schema": PLAN_SCHEMA,
        "run_id": run_id,
        "created_at": timestamp(created_at),
        "operator": operator,
        "trigger": trigger,
        **({"scheduled": dict(scheduled)} if scheduled else {}),
        **({"approvals": environment["approvals"]} if _needs_approval(drill, environment) else {}),
        "tool": dict(tool),
        "drill": {
            "name": drill.name,
            "digest": drill.digest,
            "title": dict(drill.title),
            "purpose": dict(drill.purpose),
        },
        "scenario": dict(drill.scenario),
        "impact": drill.impact,
        "environment": {
            "name": environment["name"],
            "tier": environment["tier"],
            "digest": environment_digest,
            "deployment_digest": environment["deployment"]["digest"],
        },
        "parameters": dict(chosen),
        "targets": targets,
        **({"abort": dict(drill.abort)} if drill.abort else {}),
        "steps": [_resolved(step, chosen) for step in drill.steps],
        "policies": {name: sha256(content) for name, content in sorted(policies.items())},
    }
    check(document, "plan", file="plan.json")
    return document


def _needs_approval(drill: Drill, environment: Mapping[str, Any]) -> bool:
    return drill.impact == "production" and "approvals" in environment


def _resolved(step: Step, chosen: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": step.id,
        "do": step.do,
        "needs": list(step.needs),
        "with": {
            key: chosen[value["parameter"]] if isinstance(value, dict) else value
            for key, value in step.options.items()
        },
        "phase": step.phase,
        "timeout_seconds": step.timeout_seconds,
        **({"retries": step.retries} if step.retries else {}),
        "title": dict(step.title),
    }


def _target(environment: Mapping[str, Any], where: str, drill: Drill) -> float:
    found: Any = environment
    for part in where.split("."):
        if not isinstance(found, Mapping) or part not in found:
            raise InputError(
                f"drill {drill.name} measures against {where!r}, which the descriptor lacks",
                "correct the drill's targets, or set the target in the stack's configuration",
            )
        found = found[part]
    return float(found)
