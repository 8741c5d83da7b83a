"""Why a policy has its status: what each condition asked for and what was seen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.model.fact import Fact
from orchestrator.model.policy import Policy, parse_policies
from orchestrator.policy import Parameters
from orchestrator.policy.explain import explain
from tests.unit.test_policy_formats import TEXT

NOW = datetime(2026, 11, 28, tzinfo=UTC)
PARAMETERS = Parameters({"sites": {"a": {}, "b": {}}, "tls": {"minimum": "TLSv1.3"}}, {})
MORE = """    parameters: {minimum: {environment: tls.minimum}}
    must:
      - {field: speaks_tls, schema: {const: true}, else: it speaks no TLS}
      - field: lowest_accepted_version
        schema: {minimumVersion: {parameter: minimum}}
        else: 'it accepts {actual}'
    remediation"""


@pytest.fixture
def policy() -> Policy:
    head, _, rest = TEXT.replace("SEVERITY", "P1").partition("    must:")
    text = head + MORE + rest.partition("    remediation")[2]
    text = text.replace(
        "{speaks_tls: true}", "{speaks_tls: true, lowest_accepted_version: TLSv1.3}"
    )
    return parse_policies(text.replace("data: {", "parameters: {minimum: TLSv1.3}, data: {"))[0]


def fact(subject: str, status: Any = "observed", **data: Any) -> Fact:
    when = NOW - timedelta(hours=1)
    error = "" if status == "observed" else "no"
    return Fact("tls_endpoint", subject, when, "source", "query", 1, 2.0, status, error, data)


def test_each_condition_is_explained_with_its_parameter_in_place(policy: Policy) -> None:
    facts = [
        fact("a/postgresql", speaks_tls=True, lowest_accepted_version="TLSv1.1"),
        fact("b/postgresql", speaks_tls=True, lowest_accepted_version=None),
    ]
    finding, explained = explain(policy, facts, PARAMETERS, NOW)
    assert finding.status == "not-satisfied"
    a, b = explained
    assert [(one.field, one.seen, one.answer) for one in a.asked] == [
        ("speaks_tls", (True,), "holds"),
        ("lowest_accepted_version", ("TLSv1.1",), "broken"),
    ]
    assert a.asked[1].expected == {"minimumVersion": "TLSv1.3"}
    assert [one.answer for one in b.asked] == ["holds", "unknown"]
    assert (a.observation.status, b.observation.status) == ("not-satisfied", "unknown")
    assert a.holds_until == NOW + timedelta(hours=25)


def test_what_was_not_observed_has_no_conditions_and_says_why(policy: Policy) -> None:
    finding, (a, b) = explain(policy, [fact("a/postgresql", "denied")], PARAMETERS, NOW)
    assert finding.status == "unknown"
    assert (a.asked, a.observation.reason) == ((), "denied: no")
    assert (b.fact, b.observation.reason) == (None, "nothing was collected")
