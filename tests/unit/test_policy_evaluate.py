"""Facts and policies → findings: every relation, and what is unknown is never a pass."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model.fact import Fact, facts_document, timestamp
from orchestrator.model.policy import Finding, parse_policies
from orchestrator.policy import Parameters, evaluate, rederive_findings

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
ENVIRONMENT = {"sites": {"a": {}, "b": {}}, "tls": {"minimum_version": "TLSv1.3"}}
NOTHING = object()


def ago(**span: float) -> str:
    return timestamp(NOW - timedelta(**span))


def document(must: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        "schema": "anlan.policies/v1",
        "policies": [
            {
                "id": "p",
                "title": {"en": "title", "zh": "标题"},
                "why": "because",
                "severity": "high",
                "controls": [{"source": "SOC 2", "id": "A1.2"}],
                "applies_to": "tls_endpoint",
                "subjects": ["{site}/postgresql"],
                "must": must,
                **more,
            }
        ],
    }


def fact(subject: str, data: dict[str, Any], **more: Any) -> Fact:
    values = {"status": "observed", "error": "", "kind": "tls_endpoint", **more}
    return Fact(
        subject=subject,
        collected_at=NOW,
        source="test",
        query="",
        row_count=1,
        duration_ms=1.0,
        data=data,
        **values,
    )


def judged(
    policies: dict[str, Any],
    facts: list[Fact],
    baseline: dict[str, list[str]] | None = None,
) -> Finding:
    (policy,) = parse_policies(yaml.safe_dump(policies, allow_unicode=True), file="p.yaml")
    return evaluate([policy], facts, Parameters(ENVIRONMENT, baseline or {}), NOW)[0]


def asked(op: str, expected: Any, actual: Any) -> Finding:
    """One condition on the field `x` at both sites."""
    must = {"field": "x", "is": op, "else": "{subject} has {actual}, not {expected}: {offending}"}
    if expected is not NOTHING:
        must["value"] = expected
    data = {} if actual is NOTHING else {"x": actual}
    return judged(document([must]), [fact(f"{site}/postgresql", data) for site in "ab"])


RELATIONS = [
    # relation, demanded, good, bad, what it cannot be asked about
    ("equals", True, True, False, None),
    ("equals", 1, 1, True, None),
    ("not_equals", "none", "aes-256-cbc", "none", None),
    ("at_least", "TLSv1.2", "TLSv1.3", "TLSv1.1", "TLSv9"),
    ("at_least", 184, 184, 183, "184"),
    ("at_most", 1, 0.5, 1.01, True),
    ("one_of", ["COMPLIANCE"], "COMPLIANCE", "GOVERNANCE", None),
    ("none_of", ["md5"], "scram", "md5", None),
    ("only", ["postgres", "app_*"], ["postgres", "app_1"], ["postgres", "eve"], "postgres"),
    ("only", ["postgres"], [], ["postgres", "Postgres"], 3),
    ("includes", ["ddl", "role"], ["role", "ddl", "read"], ["ddl"], "ddl"),
    ("empty", NOTHING, [], ["line 3: host all all trust"], None),
    ("not_empty", NOTHING, "000000010000000000000001", "", None),
    ("hours_left_at_least", 24, ago(hours=-25), ago(hours=-23), "tomorrow"),
    ("age_hours_at_most", 26, ago(hours=25), ago(hours=27), "2026-11-25T00:00:00"),
    ("age_days_at_least", 184, ago(days=185), ago(days=183), 5),
]


@pytest.mark.parametrize(("op", "expected", "good", "bad", "strange"), RELATIONS)
def test_a_relation_passes_fails_and_stays_unknown(
    op: str, expected: Any, good: Any, bad: Any, strange: Any
) -> None:
    assert asked(op, expected, good).status == "pass"
    failed = asked(op, expected, bad)
    assert failed.status == "fail"
    assert failed.reason.startswith("a/postgresql: a/postgresql has ")
    assert asked(op, expected, strange).status == "unknown"
    assert asked(op, expected, NOTHING).status == "unknown"


def test_every_relation_of_the_schema_is_tested() -> None:
    from orchestrator.policy.conditions import RELATIONS as KNOWN

    assert {row[0] for row in RELATIONS} == set(KNOWN)


def test_a_failure_names_what_offends_and_not_what_is_accepted() -> None:
    finding = asked("only", ["postgres"], ["postgres", "eve", "mallory"])
    assert "eve, mallory" in finding.reason
    assert finding.reason.endswith(": eve, mallory")


def test_a_subject_without_a_fact_is_unknown() -> None:
    must = [{"field": "x", "is": "equals", "value": 1, "else": "no"}]
    finding = judged(document(must), [fact("a/postgresql", {"x": 1})])
    assert finding.status == "unknown"
    assert (finding.population_size, finding.observed) == (2, 1)
    assert finding.reason == "b/postgresql: nothing was collected"


@pytest.mark.parametrize("status", ["unreachable", "denied"])
def test_a_fact_that_could_not_be_observed_is_unknown_with_its_error(status: str) -> None:
    must = [{"field": "x", "is": "equals", "value": 1, "else": "no"}]
    facts = [
        fact("a/postgresql", {"x": 1}),
        fact("b/postgresql", {}, status=status, error="it is down"),
    ]
    finding = judged(document(must), facts)
    assert finding.status == "unknown"
    assert finding.reason == f"b/postgresql: {status}: it is down"


def test_a_failure_weighs_more_than_an_unknown() -> None:
    must = [{"field": "x", "is": "equals", "value": 1, "else": "it is {actual}"}]
    finding = judged(document(must), [fact("a/postgresql", {"x": 2})])
    assert finding.status == "fail"
    assert finding.reason == "a/postgresql: it is 2"
    assert [item.status for item in finding.observations] == ["fail", "unknown"]


def test_facts_of_another_kind_or_subject_do_not_count() -> None:
    must = [{"field": "x", "is": "equals", "value": 1, "else": "no"}]
    facts = [
        fact("a/postgresql", {"x": 1}, kind="object_lock"),
        fact("c/postgresql", {"x": 1}),
    ]
    assert judged(document(must), facts).status == "unknown"


def test_a_subject_outside_the_policy_is_not_applicable_but_an_unknown_one_is_not() -> None:
    must = [{"field": "x", "is": "equals", "value": 1, "else": "no"}]
    where = [{"field": "role", "is": "equals", "value": "primary"}]
    rules = document(must, where=where)
    standby = {"role": "standby", "x": 2}
    both = [fact(f"{site}/postgresql", standby) for site in "ab"]
    assert judged(rules, both).status == "not_applicable"
    one = [fact("a/postgresql", {"role": "primary", "x": 1}), fact("b/postgresql", standby)]
    assert judged(rules, one).status == "pass"
    no_role = [fact("a/postgresql", {"x": 1}), fact("b/postgresql", standby)]
    assert judged(rules, no_role).status == "unknown"


def test_a_condition_on_elements_of_nothing_proves_nothing() -> None:
    must = [{"field": "all[].ok", "is": "equals", "value": True, "else": "not ok"}]
    good = [fact(f"{site}/postgresql", {"all": [{"ok": True}, {"ok": True}]}) for site in "ab"]
    assert judged(document(must), good).status == "pass"
    empty = [fact(f"{site}/postgresql", {"all": []}) for site in "ab"]
    assert judged(document(must), empty).status == "fail"
    partly = [fact(f"{site}/postgresql", {"all": [{"ok": True}, {}]}) for site in "ab"]
    assert judged(document(must), partly).status == "unknown"


def test_parameters_come_from_the_environment_and_the_baseline() -> None:
    must = [
        {"field": "version", "is": "at_least", "value": {"parameter": "minimum"}, "else": "old"},
        {"field": "names", "is": "only", "value": {"parameter": "accepted"}, "else": "{offending}"},
    ]
    parameters = {
        "minimum": {"environment": "tls.minimum_version"},
        "accepted": {"baseline": "superusers"},
    }
    rules = document(must, parameters=parameters)
    facts = [
        fact(f"{site}/postgresql", {"version": "TLSv1.3", "names": ["postgres"]}) for site in "ab"
    ]
    finding = judged(rules, facts, {"superusers": ["postgres"]})
    assert finding.status == "pass"
    assert finding.parameters == {"minimum": "TLSv1.3", "accepted": ["postgres"]}
    assert judged(rules, facts, {"superusers": []}).status == "fail"


values = st.recursive(
    st.none() | st.booleans() | st.integers(-300, 300) | st.floats(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@given(row=st.sampled_from(RELATIONS), actual=values)
def test_no_value_of_a_fact_breaks_the_evaluation(row: tuple[Any, ...], actual: Any) -> None:
    finding = asked(row[0], row[1], actual)
    assert finding.status in {"pass", "fail", "unknown"}
    if actual is None:
        assert finding.status == "unknown"


@given(
    present=st.sets(st.sampled_from(["a", "b"])),
    statuses=st.lists(st.sampled_from(["observed", "unreachable", "denied"]), min_size=2),
)
def test_only_a_whole_observed_population_can_pass(present: set[str], statuses: list[Any]) -> None:
    must = [{"field": "x", "is": "equals", "value": 1, "else": "no"}]
    facts = [
        fact(
            f"{site}/postgresql", {"x": 1}, status=status, error="" if status == "observed" else "e"
        )
        for site, status in zip(sorted(present), statuses, strict=False)
    ]
    whole = len(present) == 2 and set(statuses[:2]) == {"observed"}
    assert (judged(document(must), facts).status == "pass") == whole


def test_findings_derived_again_from_the_recorded_facts_are_the_same() -> None:
    must = [{"field": "x", "is": "equals", "value": 1, "else": "it is {actual}"}]
    rules = {"p.yaml": yaml.safe_dump(document(must), allow_unicode=True).encode()}
    facts = [fact("a/postgresql", {"x": 1}), fact("b/postgresql", {"x": 2})]
    recorded = facts_document(facts)
    first = rederive_findings(rules, recorded, ENVIRONMENT, NOW)
    assert first == rederive_findings(rules, recorded, ENVIRONMENT, NOW)
    assert first["findings"][0]["status"] == "fail"
    assert set(first["findings"][0]["evidence"]) == {item.digest for item in facts}
