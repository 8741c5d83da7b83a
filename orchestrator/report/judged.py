"""From findings, facts and rules to what a report shows of policies and controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any

from orchestrator.evidence import layout
from orchestrator.evidence.contents import Contents
from orchestrator.model.errors import InputError
from orchestrator.model.fact import parse_timestamp, timestamp
from orchestrator.model.policy import STATUSES, Policy
from orchestrator.report.rules import Rules, observed_values, read_rules
from orchestrator.report.view import (
    Control,
    ControlRef,
    Fact,
    Finding,
    Gap,
    Observation,
    Waiver,
)
from orchestrator.report.words import same

_ORDER: dict[str, int] = {status: number for number, status in enumerate(STATUSES)}
_FACT_FILES = (
    ("F", "facts", layout.FACTS, "facts"),
    ("R", "recovered_facts", layout.RECOVERED, "recovered-facts"),
)
"""Of each file of facts the first letter of their ids, its name in raw data, path and schema."""


@dataclass(frozen=True)
class Judged:
    """Facts, findings and controls as a report shows them; `unusable` are no documents of facts."""

    facts: tuple[Fact, ...]
    findings: tuple[Finding, ...]
    controls: tuple[Control, ...]
    unusable: tuple[Gap, ...]


def judged_of(contents: Contents, findings: Mapping[str, Any] | None, drill: str) -> Judged:
    """Return what the files of a run say of policies; `findings` is the parsed findings.json.

    Raises InputError for rules or facts that are none.
    """
    rules = read_rules(contents)
    facts, data, unusable = _facts_of(contents)
    found = findings_of(findings, rules, facts, data)
    return Judged(tuple(facts), found, controls_of(rules, found, drill), tuple(unusable))


def judged_of_page(contents: Contents, findings: Mapping[str, Any] | None) -> Judged:
    """Return as much of the same as the HTML page shows.

    Without facts of the survivor, digests of facts, observations and the facts of a finding, and
    controls: they take most of the time. Raises InputError for rules or facts that are none.
    """
    rules = read_rules(contents)
    facts: tuple[Fact, ...] = ()
    if contents.raw().get("facts") is not None:
        document = contents.document(layout.FACTS, "facts", file=layout.FACTS)
        facts = tuple(
            _fact(one, "F", n, layout.FACTS) for n, one in enumerate(document["facts"], 1)
        )
    found = tuple(_finding(item, rules.policies.get(item["policy"])) for item in _ordered(findings))
    return Judged(facts, found, (), ())


def _facts_of(contents: Contents) -> tuple[list[Fact], dict[str, Any], list[Gap]]:
    """The facts, digest → JSON of each, and what is no document of facts.

    Facts of the survivor that cannot be make a run inconclusive: its report says so.
    """
    shown: list[Fact] = []
    data: dict[str, Any] = {}
    gaps: list[Gap] = []
    for letter, name, file, schema in _FACT_FILES:
        if contents.raw().get(name) is None:
            continue
        try:
            read = contents.facts(file, schema)
        except InputError as error:
            if file == layout.FACTS:
                raise
            gaps.append(Gap("recovered-fact", same(file), same(error.reason)))
            continue
        said = contents.document(file, schema)["facts"]
        for number, (one, fact) in enumerate(zip(said, read, strict=True), start=1):
            data[fact.digest] = one
            shown.append(_fact(one, letter, number, file, fact.digest))
    return shown, data, gaps


def _fact(one: Mapping[str, Any], letter: str, number: int, file: str, digest: str = "") -> Fact:
    return Fact(
        id=f"{letter}{number}",
        file=file,
        kind=one["kind"],
        subject=one["subject"],
        status=one["status"],
        collected_at=one["collected_at"],
        source=one["source"],
        query=one["query"],
        row_count=one["row_count"],
        duration_ms=one["duration_ms"],
        error=one["error"],
        digest=digest,
    )


def findings_of(
    document: Mapping[str, Any] | None, rules: Rules, facts: Sequence[Fact], data: Mapping[str, Any]
) -> tuple[Finding, ...]:
    """Return the findings of findings.json: failures first, then what is unknown, by severity."""
    ids = {fact.digest: fact.id for fact in facts if fact.file == layout.FACTS}
    found = []
    for item in _ordered(document):
        policy = rules.policies.get(item["policy"])
        observations = _observations(item, policy, ids, data)
        about = tuple(ids.get(digest, digest) for digest in item["evidence"])
        found.append(_finding(item, policy, observations=observations, facts=about))
    return tuple(found)


def _ordered(document: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    return sorted(
        () if document is None else document["findings"],
        key=lambda item: (_ORDER[item["status"]], item["severity"], item["policy"]),
    )


def _finding(
    item: Mapping[str, Any],
    policy: Policy | None,
    *,
    observations: tuple[Observation, ...] = (),
    facts: tuple[str, ...] = (),
) -> Finding:
    return Finding(
        policy=item["policy"],
        title=item["title"],
        rationale=policy.rationale if policy else same(""),
        remediation=policy.remediation.text if policy else same(""),
        severity=item["severity"],
        status=item["status"],
        reason=item["reason"],
        population_size=item["population_size"],
        observed=item["observed"],
        observed_at=item["observed_at"],
        valid_until=item["valid_until"],
        parameters=item["parameters"],
        controls=tuple(
            ControlRef(one["source"], one["id"], one["threshold"]) for one in item["controls"]
        ),
        observations=observations,
        waivers=tuple(
            Waiver(one["subject"], one["owner"], one["reason"], one["until"], one["digest"])
            for one in item["waivers"]
        ),
        facts=facts,
    )


def _observations(
    item: Mapping[str, Any],
    policy: Policy | None,
    ids: Mapping[str, str],
    data: Mapping[str, Any],
) -> tuple[Observation, ...]:
    ordered = sorted(item["observations"], key=lambda one: (_ORDER[one["status"]], one["subject"]))
    return tuple(_observation(one, policy, ids, data) for one in ordered)


def _observation(
    one: Mapping[str, Any], policy: Policy | None, ids: Mapping[str, str], data: Mapping[str, Any]
) -> Observation:
    fact = data.get(one["fact"] or "")
    until = None
    if fact and policy:
        until = _until(fact["collected_at"], policy.valid_hours)
    return Observation(
        subject=one["subject"],
        status=one["status"],
        reason=one["reason"],
        fact=ids.get(one["fact"], one["fact"]) if one["fact"] else None,
        collected_at=fact["collected_at"] if fact else None,
        valid_until=until,
        values=observed_values(policy, fact["data"]) if fact and policy else (),
    )


@lru_cache(maxsize=1024)  # many policies judge one fact
def _until(collected_at: str, valid_hours: float) -> str:
    return timestamp(parse_timestamp(collected_at) + timedelta(hours=valid_hours))


def controls_of(rules: Rules, findings: Sequence[Finding], drill: str) -> tuple[Control, ...]:
    """Return the controls that these findings, or this drill, are evidence for; worst first."""
    status = {finding.policy: finding.status for finding in findings}
    found: list[Control] = []
    for catalogue in rules.catalogues:
        for one in catalogue.controls:
            policies = tuple(name for name in one.policies if name in status)
            if not policies and drill not in one.drills:
                continue
            worst = min((status[name] for name in policies), key=_ORDER.__getitem__, default=None)
            found.append(
                Control(
                    catalogue=catalogue.id,
                    source=catalogue.name,
                    edition=catalogue.edition,
                    published=catalogue.source,
                    id=one.id,
                    title=one.title,
                    threshold=one.threshold,
                    status=worst,
                    policies=policies,
                    drill=drill in one.drills,
                    unproven=one.unproven,
                )
            )
    order = {one.id: number for number, one in enumerate(rules.catalogues)}
    return tuple(
        sorted(
            found,
            key=lambda one: (_ORDER[one.status] if one.status else 9, order[one.catalogue]),
        )
    )
