"""The quick yes of a condition is what `jsonschema` says of it, for every value."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_policy_evaluate import ENVIRONMENT, KEYWORDS, NOW, ago, values

from orchestrator.model.policy import Condition
from orchestrator.policy import Parameters
from orchestrator.policy.conditions import Rule, lookup, rule_of, violations
from orchestrator.policy.rules import decode_rules, parse_rules

FOLDER = Path(__file__).parents[2] / "policies"
RULES = parse_rules(
    decode_rules(
        {
            path.relative_to(FOLDER).as_posix(): path.read_bytes()
            for path in sorted(FOLDER.rglob("*.yaml"))
        }
    )
)
LONG = "x" * 4001
ODD: list[dict[str, Any]] = [
    {"anyOf": [{"minimumVersion": "TLSv1.2"}, {"const": "none"}]},
    {"anyOf": [{"const": "x", "minimumVersion": "TLSv1.2"}, {"const": "none"}]},
    {"not": {"minimumVersion": "TLSv1.3"}},
    {"not": {"const": 1, "onlyMatching": ["x"]}},
    {"not": {"type": "string", "pattern": "x"}},
    {"not": {"type": "array", "contains": {"enum": ["x", 1]}}},
    {"type": "array", "items": {"minimumVersion": "TLSv1.2"}},
    {"type": "array", "items": {"type": "string", "pattern": "^x"}, "uniqueItems": True},
    {"type": "object", "required": ["a"], "properties": {"a": {"includes": ["x"]}}},
    {"allOf": [{"minimumAgeDays": 1}, {"maximumAgeHours": 48}]},
    {"type": "number", "minimum": 1, "exclusiveMaximum": 3},
    {"type": "string", "minLength": 1, "maxLength": 4},
    {"const": {"a": 1}},
    {"enum": [1, "1", None, False]},
    {"type": ["string", "null"], "enum": ["x"]},
    {"maximumAgeHours": 1e300},
    {"minimum": "3"},
    {"onlyMatching": [3, "x*"]},
    {"type": "string", "pattern": "(x+)+"},
    {"type": "nothing"},
]
OF_FACTS = [
    value
    for policy in RULES.policies
    for example in policy.examples
    for one in (*policy.where, *policy.must)
    for value in lookup(example.data, one.field)
]
STRANGE: list[Any] = [
    *(None, True, False, 0, 1, 1.0, 2, 3, "", "x", "none", "1", LONG, "TLSv1.2", "TLSv1.3"),
    *([], ["x"], ["x", "x"], ["x", 1, True], ["TLSv1.1"], {}, {"a": ["x"]}, {"a": "x"}, {"a": 1}),
    *(ago(hours=1), ago(hours=30), ago(days=400), "2026-11-25", "9999-12-31T23:59:59-23:00"),
    *(value for row in KEYWORDS for value in row[1:]),
]
SEEN = list({repr(one): one for one in (*STRANGE, *OF_FACTS)}.values())


def conditions() -> list[tuple[Condition, dict[str, Any]]]:
    """Each condition of the policies with its parameters, the same once."""
    found: dict[str, tuple[Condition, dict[str, Any]]] = {}
    for policy in RULES.policies:
        parameters = {
            **policy.parameters,
            **next((example.parameters for example in policy.examples), {}),
        }
        known = replace(
            policy,
            parameters={
                name: value
                for name, value in parameters.items()
                if not isinstance(value, dict) or "baseline" in value
            },
        )
        resolved = Parameters(ENVIRONMENT, RULES.baseline).resolve(known)
        for one in (*policy.where, *policy.must):
            if set(one.named) <= {*resolved}:
                found[one.text + repr([resolved[name] for name in one.named])] = (one, resolved)
    return list(found.values())


OF_POLICIES = conditions()
CONDITIONS = [
    *OF_POLICIES,
    *((Condition("x", schema, "no"), {}) for schema in (*ODD, *(row[0] for row in KEYWORDS))),
]


def answer(rule: Rule, value: Any) -> Any:
    """What is found of a value, or the error that says why nothing is."""
    try:
        return violations(replace(rule, field="x"), {"x": value})
    except Exception as error:  # noqa: BLE001  (also those of parameters that cannot stand there)
        return type(error), str(error)


def slow(rule: Rule) -> Rule:
    return replace(rule, fits=lambda _: False)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_it_finds_in_values_that_policies_see_what_jsonschema_finds(
    condition: tuple[Condition, dict[str, Any]],
) -> None:
    rule = rule_of(*condition, NOW)
    for value in SEEN:
        assert answer(rule, value) == answer(slow(rule), value), value


@given(condition=st.sampled_from(CONDITIONS), value=values | st.sampled_from(SEEN))
def test_it_finds_in_any_value_what_jsonschema_finds(
    condition: tuple[Condition, dict[str, Any]], value: Any
) -> None:
    rule = rule_of(*condition, NOW)
    assert answer(rule, value) == answer(slow(rule), value)


def test_where_a_condition_of_the_policies_holds_jsonschema_is_seldom_asked() -> None:
    held = quick = 0
    for condition, parameters in OF_POLICIES:
        rule = rule_of(condition, parameters, NOW)
        for value in SEEN:
            if answer(slow(rule), value) == []:
                held += 1
                with suppress(TypeError):
                    quick += rule.fits(value)
    assert quick > 0.99 * held


def test_what_asks_about_time_is_judged_at_the_time_of_each_evaluation() -> None:
    condition = Condition("x", {"maximumAgeHours": 26}, "too old")
    for now, broken in ((NOW, False), (datetime(2026, 11, 29, tzinfo=UTC), True), (NOW, False)):
        assert bool(violations(rule_of(condition, {}, now), {"x": ago(hours=25)})) == broken
