"""The examples of a policy as tests of it: each must lead to the status that it names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from orchestrator.model.fact import Fact, timestamp
from orchestrator.model.fact_kinds import wrong_data
from orchestrator.model.policy import Example, Policy, Status
from orchestrator.policy.evaluate import evaluate
from orchestrator.policy.parameters import Parameters

NOW = datetime(2026, 1, 1, tzinfo=UTC)
"""When examples are judged: `{hours_from_now: -3}` in their data is three hours before."""
_SITES: dict[str, Any] = {"sites": {"a": {}, "b": {}}}


@dataclass(frozen=True)
class Tried:
    """One example: what was expected, what came out and why; `wrong` says what is not right."""

    policy: str
    name: str
    expected: Status
    status: Status
    reason: str
    wrong: str = ""


def try_examples(policy: Policy) -> list[Tried]:
    """Try the examples of a policy, and what no policy may ever take for satisfied.

    That is: a fact that was denied, one without any field, one that is too old, none at all.
    """
    tried = [_try(policy, f"example {n}", one) for n, one in enumerate(policy.examples, start=1)]
    good = next((one for one in policy.examples if one.expect == "satisfied"), None)
    bad = any(one.expect == "not-satisfied" for one in policy.examples)
    if good is None or not bad:
        wrong = "it needs an example that is satisfied and one that is not-satisfied"
        tried.append(Tried(policy.id, "examples", "satisfied", "unknown", "", wrong))
    if good is None:
        return tried
    nothing = Example("unknown", {}, good.environment, good.parameters)
    old = Example("expired", good.data, good.environment, good.parameters)
    tried.append(_try(policy, "a fact without fields", nothing))
    tried.append(_try(policy, "a denied fact", nothing, status="denied", error="no right"))
    tried.append(_try(policy, "no fact", nothing, collected=False))
    tried.append(_try(policy, "an old fact", old, age_hours=policy.valid_hours + 1))
    return tried


def _try(
    policy: Policy,
    name: str,
    example: Example,
    *,
    status: Any = "observed",
    error: str = "",
    collected: bool = True,
    age_hours: float = 0,
) -> Tried:
    data = _times(example.data)
    subject = policy.subjects[0].replace("{site}", "a")
    fact = Fact(
        kind=policy.kind,
        subject=subject,
        collected_at=NOW - timedelta(hours=age_hours),
        source="example",
        query="",
        row_count=None,
        duration_ms=0,
        status=status,
        error=error,
        data=data,
    )
    parameters = {
        key: value
        for key, value in {**policy.parameters, **example.parameters}.items()
        if not isinstance(value, Mapping)
    }
    wrong = _unknown_parameters(policy, parameters) or wrong_data(policy.kind, data, whole=False)
    if wrong:
        return Tried(policy.id, name, example.expect, "unknown", "", wrong)
    one = _alone(policy, subject, parameters)
    environment = {**_SITES, **example.environment}
    found = evaluate([one], [fact] if collected else [], Parameters(environment, {}), NOW)[0]
    wrong = "" if found.status == example.expect else f"expected {example.expect}"
    return Tried(policy.id, name, example.expect, found.status, found.reason, wrong)


def _alone(policy: Policy, subject: str, parameters: Mapping[str, Any]) -> Policy:
    """The policy about one subject, with these parameters."""
    return Policy(**{**vars(policy), "subjects": (subject,), "parameters": parameters})


def _unknown_parameters(policy: Policy, parameters: Mapping[str, Any]) -> str:
    missing = sorted(set(policy.parameters) - set(parameters))
    surplus = sorted(set(parameters) - set(policy.parameters))
    if missing:
        return f"the example gives no value for {', '.join(missing)}"
    return f"the policy has no parameter {', '.join(surplus)}" if surplus else ""


def _times(value: Any) -> Any:
    """The data with `{hours_from_now: N}` as times."""
    if isinstance(value, Mapping):
        if set(value) == {"hours_from_now"}:
            return timestamp(NOW + timedelta(hours=value["hours_from_now"]))
        return {key: _times(item) for key, item in value.items()}
    return [_times(item) for item in value] if isinstance(value, list) else value
