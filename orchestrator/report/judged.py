"""From findings, facts and rules to what a report shows of policies and controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any

from orchestrator.evidence import layout
from orchestrator.model.fact import Fact as Observed
from orchestrator.model.fact import parse_timestamp, timestamp
from orchestrator.model.policy import STATUSES
from orchestrator.report.rules import Rules, observed_values
from orchestrator.report.view import (
    Control,
    ControlRef,
    Fact,
    Finding,
    Observation,
    Waiver,
)
from orchestrator.report.words import same

_ORDER: dict[str, int] = {status: number for number, status in enumerate(STATUSES)}


@dataclass(frozen=True)
class FactDocument:
    """A file of facts: the first letter of their ids, their JSON, and what was read of it."""

    letter: str
    file: str
    said: Sequence[Mapping[str, Any]]
    facts: Sequence[Observed]


def facts_of(documents: Sequence[FactDocument]) -> tuple[list[Fact], dict[str, Any]]:
    """Return the facts, and digest → JSON of each."""
    shown: list[Fact] = []
    data: dict[str, Any] = {}
    for document in documents:
        for number, (one, fact) in enumerate(
            zip(document.said, document.facts, strict=True), start=1
        ):
            data[fact.digest] = one
            shown.append(
                Fact(
                    id=f"{document.letter}{number}",
                    file=document.file,
                    kind=one["kind"],
                    subject=one["subject"],
                    status=one["status"],
                    collected_at=one["collected_at"],
                    source=one["source"],
                    query=one["query"],
                    row_count=one["row_count"],
                    duration_ms=one["duration_ms"],
                    error=one["error"],
                    digest=fact.digest,
                )
            )
    return shown, data


def findings_of(
    document: Mapping[str, Any] | None, rules: Rules, facts: Sequence[Fact], data: Mapping[str, Any]
) -> tuple[Finding, ...]:
    """Return the findings of findings.json: failures first, then what is unknown, by severity."""
    if document is None:
        return ()
    ids = {fact.digest: fact.id for fact in facts if fact.file == layout.FACTS}
    ordered = sorted(
        document["findings"],
        key=lambda item: (_ORDER[item["status"]], item["severity"], item["policy"]),
    )
    return tuple(_finding(item, rules, ids, data) for item in ordered)


def _finding(
    item: Mapping[str, Any], rules: Rules, ids: Mapping[str, str], data: Mapping[str, Any]
) -> Finding:
    policy = rules.policies.get(item["policy"])
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
        observations=tuple(
            _observation(one, item["policy"], rules, ids, data)
            for one in sorted(
                item["observations"], key=lambda one: (_ORDER[one["status"]], one["subject"])
            )
        ),
        waivers=tuple(
            Waiver(one["subject"], one["owner"], one["reason"], one["until"], one["digest"])
            for one in item["waivers"]
        ),
        facts=tuple(ids.get(digest, digest) for digest in item["evidence"]),
    )


def _observation(
    one: Mapping[str, Any],
    policy_id: str,
    rules: Rules,
    ids: Mapping[str, str],
    data: Mapping[str, Any],
) -> Observation:
    policy = rules.policies.get(policy_id)
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
