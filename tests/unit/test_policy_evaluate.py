"""Facts and policies → findings: every keyword, and what is unknown is never satisfied."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model.conditions import OURS
from orchestrator.model.fact import Fact, facts_document, parse_facts, timestamp
from orchestrator.model.policy import Condition, Control, Finding, Policy, Remediation
from orchestrator.policy import Parameters, evaluate, rederive_findings

FOLDER = Path(__file__).parents[2] / "policies"
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
ENVIRONMENT = {
    "tier": "VIP",
    "sites": {"a": {}, "b": {}},
    "tls": {"minimum_version": "TLSv1.3"},
}
NOTHING = object()


def ago(**span: float) -> str:
    return timestamp(NOW - timedelta(**span))


def policy(must: list[Condition], **more: Any) -> Policy:
    values: dict[str, Any] = {
        "id": "p",
        "title": {"en": "title", "zh": "标题"},
        "rationale": {"en": "because", "zh": "因为"},
        "severity": "P1",
        "kind": "tls_endpoint",
        "subjects": ("{site}/postgresql",),
        "valid_hours": 24,
        "where": (),
        "parameters": {},
        "remediation": Remediation({"en": "do", "zh": "做"}, "", (), safe=False),
        "examples": (),
    }
    return Policy(must=tuple(must), **{**values, **more})


def one(value: Any = 1, field: str = "x") -> Condition:
    return Condition(field, {"const": value}, "it is {actual}")


def fact(subject: str, data: dict[str, Any], **more: Any) -> Fact:
    values = {
        "status": "observed",
        "error": "",
        "kind": "tls_endpoint",
        "collected_at": NOW,
        **more,
    }
    return Fact(
        subject=subject, source="test", query="", row_count=1, duration_ms=1.0, data=data, **values
    )


def judged(
    rule: Policy, facts: list[Fact], baseline: dict[str, list[str]] | None = None
) -> Finding:
    return evaluate([rule], facts, Parameters(ENVIRONMENT, baseline or {}), NOW)[0]


def both(data: dict[str, Any], **more: Any) -> list[Fact]:
    return [fact(f"{site}/postgresql", data, **more) for site in "ab"]


def asked(schema: dict[str, Any], actual: Any) -> Finding:
    """One condition on the field `x` at both sites."""
    told = "{subject} has {actual}, not {expected}: {offending}"
    data = {} if actual is NOTHING else {"x": actual}
    return judged(policy([Condition("x", schema, told)]), both(data))


KEYWORDS = [
    # schema, what satisfies it, what does not, what it cannot be asked about
    ({"const": True}, True, False, None),
    ({"const": 1}, 1, True, None),
    ({"not": {"const": "none"}}, "aes-256-cbc", "none", None),
    ({"enum": ["COMPLIANCE"]}, "COMPLIANCE", "GOVERNANCE", None),
    ({"type": "number", "minimum": 184}, 184, 183, "184"),
    ({"type": "number", "maximum": 1}, 0.5, 1.01, True),
    ({"type": "integer", "exclusiveMinimum": 0}, 1, 0, 0.5),
    ({"type": "array", "maxItems": 0}, [], ["line 3: host all all trust"], "none"),
    ({"type": "array", "contains": {"const": "x"}, "minItems": 1}, ["x", "y"], ["y"], "x"),
    ({"type": "string", "minLength": 1}, "000000010000000000000001", "", 1),
    ({"type": "string", "pattern": "^scram"}, "scram-sha-256", "md5", ["scram"]),
    ({"minimumVersion": "TLSv1.2"}, "TLSv1.3", "TLSv1.1", "TLSv9"),
    ({"onlyMatching": ["postgres", "app_*"]}, ["postgres", "app_1"], ["postgres", "eve"], "eve"),
    ({"onlyMatching": ["postgres"]}, [], ["postgres", "Postgres"], 3),
    ({"includes": ["ddl", "role"]}, ["role", "ddl", "read"], ["ddl"], "ddl"),
    ({"minimumHoursLeft": 24}, ago(hours=-25), ago(hours=-23), "tomorrow"),
    ({"maximumAgeHours": 26}, ago(hours=25), ago(hours=27), "2026-11-25T00:00:00"),
    ({"minimumAgeDays": 184}, ago(days=185), ago(days=183), 5),
]


@pytest.mark.parametrize(("schema", "good", "bad", "strange"), KEYWORDS)
def test_a_condition_holds_is_broken_and_stays_unknown(
    schema: dict[str, Any], good: Any, bad: Any, strange: Any
) -> None:
    assert asked(schema, good).status == "satisfied"
    failed = asked(schema, bad)
    assert failed.status == "not-satisfied"
    assert failed.reason.startswith("a/postgresql: a/postgresql has ")
    assert asked(schema, strange).status == "unknown"
    assert asked(schema, NOTHING).status == "unknown"


def test_every_keyword_of_ours_is_tested() -> None:
    assert set(OURS) <= {key for schema, *_ in KEYWORDS for key in schema}


def test_a_failure_names_what_offends_and_not_what_is_accepted() -> None:
    finding = asked({"onlyMatching": ["postgres"]}, ["postgres", "eve", "mallory"])
    assert finding.reason.split("; ")[0].endswith("not postgres: eve, mallory")
    many = asked({"type": "array", "maxItems": 0}, [f"line {n}" for n in range(10)])
    assert "line 7 and 2 more" in many.reason


def test_a_subject_without_a_fact_is_unknown() -> None:
    finding = judged(policy([one()]), [fact("a/postgresql", {"x": 1})])
    assert finding.status == "unknown"
    assert (finding.population_size, finding.observed) == (2, 1)
    assert finding.reason == "b/postgresql: nothing was collected"


@pytest.mark.parametrize("status", ["unreachable", "denied"])
def test_a_fact_that_could_not_be_observed_is_unknown_with_its_error(status: str) -> None:
    facts = [
        fact("a/postgresql", {"x": 1}),
        fact("b/postgresql", {}, status=status, error="it is down"),
    ]
    finding = judged(policy([one()]), facts)
    assert finding.status == "unknown"
    assert finding.reason == f"b/postgresql: {status}: it is down"


def test_an_observation_expires_and_is_then_no_more_satisfied() -> None:
    at = NOW - timedelta(hours=25)
    finding = judged(policy([one()]), both({"x": 1}, collected_at=at))
    assert finding.status == "expired"
    assert "which held until 2026-11-25T11:00:00.000Z" in finding.reason
    assert (finding.observed_at, finding.valid_until) == (at, at + timedelta(hours=24))
    assert judged(policy([one()], valid_hours=26), both({"x": 1}, collected_at=at)).status == (
        "satisfied"
    )
    half = [fact("a/postgresql", {"x": 1}), fact("b/postgresql", {"x": 1}, collected_at=at)]
    assert judged(policy([one()]), half).status == "expired"


def test_a_failure_weighs_more_than_an_unknown_and_that_more_than_an_expired_one() -> None:
    finding = judged(policy([one()]), [fact("a/postgresql", {"x": 2})])
    assert finding.status == "not-satisfied"
    assert finding.reason == "a/postgresql: it is 2"
    assert [item.status for item in finding.observations] == ["not-satisfied", "unknown"]
    old = fact("a/postgresql", {"x": 2}, collected_at=NOW - timedelta(hours=25))
    assert judged(policy([one()]), [old]).status == "unknown"


def test_facts_of_another_kind_or_subject_do_not_count() -> None:
    facts = [fact("a/postgresql", {"x": 1}, kind="object_lock"), fact("c/postgresql", {"x": 1})]
    assert judged(policy([one()]), facts).status == "unknown"


def test_a_subject_outside_the_policy_is_not_applicable_but_an_unknown_one_is_not() -> None:
    rule = policy([one()], where=(Condition("role", {"const": "primary"}, ""),))
    standby = {"role": "standby", "x": 2}
    assert judged(rule, both(standby)).status == "not-applicable"
    some = [fact("a/postgresql", {"role": "primary", "x": 1}), fact("b/postgresql", standby)]
    assert judged(rule, some).status == "satisfied"
    no_role = [fact("a/postgresql", {"x": 1}), fact("b/postgresql", standby)]
    assert judged(rule, no_role).status == "unknown"


def test_a_condition_may_ask_about_the_environment() -> None:
    tier = Condition("environment.tier", {"const": "VIP"}, "")
    assert judged(policy([one()], where=(tier,)), both({"x": 1})).status == "satisfied"
    other = Condition("environment.tier", {"const": "standard"}, "")
    assert judged(policy([one()], where=(other,)), both({"x": 2})).status == "not-applicable"
    gone = Condition("environment.retention.days", {"const": 1}, "")
    assert judged(policy([one()], where=(gone,)), both({"x": 1})).status == "unknown"


def test_a_condition_on_elements_of_nothing_proves_nothing() -> None:
    rule = policy([one(True, "all[].ok")])
    assert judged(rule, both({"all": [{"ok": True}, {"ok": True}]})).status == "satisfied"
    assert judged(rule, both({"all": []})).status == "not-satisfied"
    assert judged(rule, both({"all": [{"ok": True}, {}]})).status == "unknown"


def test_parameters_come_from_the_environment_and_the_baseline() -> None:
    must = [
        Condition("version", {"minimumVersion": {"parameter": "minimum"}}, "old"),
        Condition("names", {"onlyMatching": {"parameter": "accepted"}}, "{offending}"),
    ]
    parameters = {
        "minimum": {"environment": "tls.minimum_version"},
        "accepted": {"baseline": "superusers"},
    }
    rule = policy(must, parameters=parameters)
    facts = both({"version": "TLSv1.3", "names": ["postgres"]})
    finding = judged(rule, facts, {"superusers": ["postgres"]})
    assert finding.status == "satisfied"
    assert finding.parameters == {"minimum": "TLSv1.3", "accepted": ["postgres"]}
    assert judged(rule, facts, {"superusers": []}).status == "not-satisfied"


def test_a_finding_names_the_controls_that_it_is_evidence_for() -> None:
    control = Control("SOC 2", "A1.2", "")
    parameters = Parameters(ENVIRONMENT, {})
    (finding,) = evaluate([policy([one()])], both({"x": 1}), parameters, NOW, {"p": (control,)})
    assert finding.to_json()["controls"] == [{"source": "SOC 2", "id": "A1.2", "threshold": ""}]


values = st.recursive(
    st.none() | st.booleans() | st.integers(-300, 300) | st.floats(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@given(row=st.sampled_from(KEYWORDS), actual=values)
def test_no_value_of_a_fact_breaks_the_evaluation(row: tuple[Any, ...], actual: Any) -> None:
    finding = asked(row[0], actual)
    assert finding.status in {"satisfied", "not-satisfied", "unknown"}
    if actual is None:
        assert finding.status == "unknown"


@given(
    present=st.sets(st.sampled_from(["a", "b"])),
    statuses=st.lists(st.sampled_from(["observed", "unreachable", "denied"]), min_size=2),
)
def test_only_a_whole_observed_population_can_be_satisfied(
    present: set[str], statuses: list[Any]
) -> None:
    facts = [
        fact(
            f"{site}/postgresql", {"x": 1}, status=status, error="" if status == "observed" else "e"
        )
        for site, status in zip(sorted(present), statuses, strict=False)
    ]
    whole = len(present) == 2 and set(statuses[:2]) == {"observed"}
    assert (judged(policy([one()]), facts).status == "satisfied") == whole


def test_findings_derived_again_from_the_recorded_facts_are_the_same() -> None:
    document = yaml.safe_load((FOLDER / "audit.yaml").read_text())
    document["policies"] = [one for one in document["policies"] if one["id"] == "audit-secrets"]
    rules = {"p.yaml": yaml.safe_dump(document, allow_unicode=True).encode()}
    data = {"file_device": True, "probe_written": False}
    facts = [fact("common/secrets", data, kind="audit_log")]
    recorded = parse_facts(json.loads(json.dumps(facts_document(facts))))
    first = rederive_findings(rules, recorded, ENVIRONMENT, NOW)
    assert first == rederive_findings(rules, recorded, ENVIRONMENT, NOW)
    assert first["findings"][0]["status"] == "not-satisfied"
    assert set(first["findings"][0]["evidence"]) == {item.digest for item in facts}
