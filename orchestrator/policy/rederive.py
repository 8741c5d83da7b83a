"""Judge recorded facts again, as an auditor does who trusts no verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from orchestrator.model.fact import Fact, parse_timestamp
from orchestrator.model.fact_kinds import NOT_OF_RUNS
from orchestrator.model.policy import Policy, findings_document
from orchestrator.model.recovered import TWIN, TWIN_KINDS, judging_step
from orchestrator.model.waiver import Waiver
from orchestrator.policy.evaluate import evaluate, wanted
from orchestrator.policy.parameters import Parameters
from orchestrator.policy.rules import Rules, decode_rules, parse_rules


def wanted_by_run(rules: Mapping[str, bytes], sites: Iterable[str]) -> frozenset[tuple[str, str]]:
    """Return kind and subject of each fact that the policies of a run judge. Raises InputError."""
    return wanted(_of_run(_parsed(rules)), sites)


def wanted_of_recovered(
    rules: Mapping[str, bytes], chosen: Mapping[str, Any], site: str
) -> frozenset[tuple[str, str]]:
    """Return kind and subject of each fact that judges what was recovered, at this site or twin.

    `chosen` are the options of the step that judges it. Raises InputError.
    """
    return wanted(_of_recovered(_parsed(rules), chosen), [site])


def rederive_findings(
    rules: Mapping[str, bytes],
    facts: Iterable[Fact],
    environment: Mapping[str, Any],
    now: datetime,
    waivers: Sequence[Waiver] = (),
) -> dict[str, Any]:
    """Return the findings document of a run that these inputs lead to.

    Policies about the orchestrator's own records, or the objects of a store, are none of a run's.

    `rules` is the policies folder (relative path → content), `facts` those of raw/facts.json,
    `environment` the parsed descriptor, `now` the recorded time of evaluation, `waivers` those that
    count. Raises InputError when an input is not valid.
    """
    parsed = _parsed(rules)
    parameters = Parameters(environment, parsed.baseline)
    findings = evaluate(_of_run(parsed), facts, parameters, now, parsed.controls, waivers=waivers)
    return findings_document(findings, now)


def rederive_recovered(
    rules: Mapping[str, bytes],
    plan: Mapping[str, Any],
    recovered: Mapping[str, Any],
    facts: Callable[[], Iterable[Fact]],
    environment: Mapping[str, Any],
) -> dict[str, Any] | None:
    """Return the findings document about what a run recovered; None when its plan wants none.

    `recovered` is the parsed raw/recovered_facts.json; `facts` checks it and returns its facts, and
    is not called for a plan that wants none judged; the other arguments as in `rederive_findings`.
    Of a twin the policies about facts that it cannot have are left out. Raises InputError when an
    input is not valid.
    """
    step = judging_step(plan)
    if step is None:
        return None
    found = facts()
    parsed = _parsed(rules)
    policies = _of_recovered(parsed, step["with"])
    parameters = Parameters(environment, parsed.baseline, tuple(recovered["sites"]))
    now = parse_timestamp(recovered["judged_at"])
    return findings_document(evaluate(policies, found, parameters, now, parsed.controls), now)


def _of_run(rules: Rules) -> list[Policy]:
    return [one for one in rules.policies if one.kind not in NOT_OF_RUNS]


def _of_recovered(rules: Rules, chosen: Mapping[str, Any]) -> list[Policy]:
    policies = rules.chosen(chosen["policies"])
    if chosen["at"] == TWIN:
        return [one for one in policies if one.kind in TWIN_KINDS]
    return policies


def _parsed(rules: Mapping[str, bytes]) -> Rules:
    return _parsed_once(tuple(sorted(rules.items())))


# A run asks for its rules four times, an auditor for those of many runs; they seldom change.
@lru_cache(maxsize=4)
def _parsed_once(rules: tuple[tuple[str, bytes], ...]) -> Rules:
    return parse_rules(decode_rules(dict(rules)))
