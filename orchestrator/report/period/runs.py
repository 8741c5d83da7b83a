"""From the files of one run to its line in a report over a period, and what it judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.evidence import approvals, layout
from orchestrator.evidence.contents import Contents
from orchestrator.model.fact import parse_timestamp, timestamp
from orchestrator.model.policy import BAD
from orchestrator.report.build import build
from orchestrator.report.period.view import Availability, PolicyState, Run, TargetResult
from orchestrator.report.rules import Rules, read_rules
from orchestrator.report.view import Action, Outage, View

_SHOWN = 3
"""So many of what is to be done after a run are kept."""


@dataclass(frozen=True)
class Summary:
    """What is kept of a run: its line, what to do after it, the policies as it judged them."""

    run: Run
    actions: tuple[Action, ...]
    policies: tuple[PolicyState, ...]
    rules: Rules


def summary(files: Mapping[str, bytes], run_id: str, until: str) -> Summary:
    """Return what a report over a period keeps of a finished run; `until` is the period's end.

    Raises InputError when the files are not those of a finished run.
    """
    contents = Contents(files)
    view = build(contents, file=run_id)
    plan, raw = contents.json(layout.PLAN), contents.raw()
    missed = any(
        isinstance(one, dict) and one.get("kind") == "missed" for one in raw.get("steps", [])
    )
    scheduled = plan.get("scheduled")
    approval, approved = _approval(plan, raw)
    run = Run(
        run_id=view.run_id,
        drill=view.drill,
        title=view.title,
        tier=view.tier,
        trigger=view.trigger,
        due_at=timestamp(parse_timestamp(scheduled["at"])) if scheduled else None,
        started_at=view.started_at,
        ended_at=view.ended_at,
        verdict="missed" if missed else view.verdict,
        reasons=view.reasons,
        compliance=view.compliance,
        rto_seconds=view.rto_seconds,
        rpo_seconds=view.rpo_seconds,
        rpo_transactions=view.rpo_transactions,
        targets=tuple(
            TargetResult(one.name, one.target, one.measured, one.met) for one in view.targets
        ),
        operator=view.operator,
        approval=approval,
        approved_by=approved,
        not_observed=view.not_observed,
        availability=_availability(raw, view.outages),
        entries=view.evidence.log,
        result_sha256=contents.digest(layout.RUN),
    )
    policies = _policies(view, until)
    return Summary(run, view.actions[:_SHOWN], policies, read_rules(contents))


def _approval(plan: Mapping[str, Any], raw: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Whether a plan's rule was met (`not-required`, `given`, `lacking`), and who approved."""
    if "approvals" not in plan:
        return "not-required", ()
    said = approvals.judge(plan, approvals.decisions_of(raw))
    return "lacking" if said.lack(plan) else "given", said.approved


def _availability(raw: Mapping[str, Any], outages: tuple[Outage, ...]) -> Availability | None:
    """What the clients saw; None for a drill without this probe."""
    writes = [
        one
        for one in raw.get("availability", [])
        if isinstance(one, dict) and one.get("kind") in {"ok", "error"}
    ]
    if not writes:
        return None
    times = [int(one["t"]) for one in writes]
    observed = (max(times) - min(times)) / 1e9
    # An outage is derived from the end of the last write before it. One without an end lasted
    # until the probe stopped noting writes, at least.
    first = min(int(one["t"]) for one in raw["steps"] if isinstance(one, dict))
    last = (max(times) - first) / 1e9
    lengths = [
        one.seconds if one.seconds is not None else max(0.0, last - one.from_seconds)
        for one in outages
    ]
    acknowledged = sum(one["kind"] == "ok" for one in writes)
    return Availability(
        tried=len(writes),
        acknowledged=acknowledged,
        acknowledged_percent=100 * acknowledged / len(writes),
        observed_seconds=observed,
        outage_seconds=min(sum(lengths), observed),
        longest_outage_seconds=max(lengths, default=0.0),
    )


def _policies(view: View, until: str) -> tuple[PolicyState, ...]:
    waived = set(view.waived)
    return tuple(
        PolicyState(
            policy=one.policy,
            title=one.title,
            remediation=one.remediation,
            severity=one.severity,
            status=one.status,
            reason=one.reason,
            judged_at=view.evaluated_at or view.ended_at,
            run_id=view.run_id,
            observed=one.observed,
            population_size=one.population_size,
            valid_until=one.valid_until,
            lapsed=one.valid_until is not None and one.valid_until < until,
            waived_until=min((waiver.until for waiver in one.waivers), default=None)
            if one.policy in waived and one.status in BAD
            else None,
            waived_by=", ".join(sorted({waiver.owner for waiver in one.waivers}))
            if one.policy in waived
            else "",
        )
        for one in view.findings
    )
