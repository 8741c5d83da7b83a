"""Judge recorded facts again, as an auditor does who trusts no verdict."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from orchestrator.model.fact import parse_facts
from orchestrator.model.fact_kinds import NOT_OF_RUNS
from orchestrator.model.policy import findings_document
from orchestrator.policy.evaluate import evaluate
from orchestrator.policy.parameters import Parameters
from orchestrator.policy.rules import decode_rules, parse_rules


def rederive_findings(
    rules: Mapping[str, bytes], facts: Any, environment: Mapping[str, Any], now: datetime
) -> dict[str, Any]:
    """Return the findings document of a run that these inputs lead to.

    Policies about the orchestrator's own records, or the objects of a store, are none of a run's.

    `rules` is the policies folder (relative path → content), `facts` the parsed raw/facts.json,
    `environment` the parsed descriptor, `now` the recorded time of evaluation. Raises InputError
    when an input is not valid.
    """
    parsed = parse_rules(decode_rules(rules))
    parameters = Parameters(environment, parsed.baseline)
    found = parse_facts(facts, file="raw/facts.json")
    policies = [one for one in parsed.policies if one.kind not in NOT_OF_RUNS]
    findings = evaluate(policies, found, parameters, now, parsed.controls)
    return findings_document(findings, now)
