"""From the files of one run to its line in a report over a period, and what it judged."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.evidence import layout
from orchestrator.evidence.contents import Contents
from orchestrator.evidence.persons import approvals
from orchestrator.model.canonical import StrictJsonError, strict_loads
from orchestrator.model.errors import InputError
from orchestrator.model.fact import parse_timestamp, timestamp
from orchestrator.model.policy import BAD
from orchestrator.report.actions import actions
from orchestrator.report.build import (
    checks_of,
    compliance_of,
    document,
    log_of,
    steps_of,
    target_of,
    undo_of,
)
from orchestrator.report.judged import findings_of
from orchestrator.report.period.view import Availability, PolicyState, Run, TargetResult
from orchestrator.report.rules import Rules, read_rules
from orchestrator.report.view import Action, Finding

_STEPS, _WRITES = f"{layout.RAW}steps.jsonl", f"{layout.RAW}availability.jsonl"
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

    The same values as the run's own report has, of fewer files: facts are not read. Raises
    InputError when the files are not those of a finished run.
    """
    try:
        return _summary(Contents(files), run_id, until)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"its files are not those of a run: {error!r}",
            "`anlan evidence verify` says what is wrong with a bundle",
            file=run_id,
        ) from error


def _summary(contents: Contents, run_id: str, until: str) -> Summary:
    plan = document(contents, layout.PLAN, "plan", file=run_id)
    run = document(contents, layout.RUN, "run", file=run_id)
    derived = run["derived"]
    rules = read_rules(contents)
    # Not against its schema: that is half the time of a quarter, and who verifies the evidence
    # makes the findings again. What is not as it must be is an error here too.
    findings = contents.json(layout.FINDINGS) if layout.FINDINGS in contents else None
    judged = findings_of(findings, rules, (), {})
    targets = tuple(target_of(one) for one in derived["targets"])
    missed = _is_missed(contents)
    scheduled = plan.get("scheduled")
    approval, approved = _approval(plan, contents)
    shown = Run(
        run_id=plan["run_id"],
        drill=plan["drill"]["name"],
        title=plan["drill"]["title"],
        tier=plan["environment"]["tier"],
        trigger=plan["trigger"],
        due_at=timestamp(parse_timestamp(scheduled["at"])) if scheduled else None,
        started_at=run["started_at"],
        ended_at=run["ended_at"],
        verdict="missed" if missed else derived["verdict"],
        reasons=tuple(derived["reasons"]),
        compliance=compliance_of(derived["policies"]),
        rto_seconds=derived["rto_seconds"],
        rpo_seconds=derived["rpo_seconds"],
        rpo_transactions=derived["rpo_transactions"],
        targets=tuple(TargetResult(one.name, one.target, one.measured, one.met) for one in targets),
        operator=plan["operator"],
        approval=approval,
        approved_by=approved,
        availability=_availability(contents, derived["outages"]),
        entries=log_of(contents),
        result_sha256=contents.digest(layout.RUN),
    )
    titles = {step["id"]: step["title"] for step in plan["steps"]}
    todo = actions(
        derived,
        targets=targets,
        steps=steps_of(derived, titles, {}),
        checks=checks_of(derived),
        undo=undo_of(derived),
        findings=judged,
    )
    at = findings["evaluated_at"] if findings else run["ended_at"]
    waived = {one["policy"] for one in derived["waived"]}
    policies = tuple(_policy(one, shown.run_id, at, waived, until) for one in judged)
    return Summary(shown, todo[:_SHOWN], policies, rules)


def _approval(plan: Mapping[str, Any], contents: Contents) -> tuple[str, tuple[str, ...]]:
    """Whether a plan's rule was met (`not-required`, `given`, `lacking`), and who approved."""
    if "approvals" not in plan:
        return "not-required", ()
    said = approvals.judge(plan, approvals.decisions_of(contents.raw()))
    return "lacking" if said.lack(plan) else "given", said.approved


def _is_missed(contents: Contents) -> bool:
    """Whether the run was recorded as missed: none of its steps began."""
    content = contents.get(_STEPS, b"")
    return b'"missed"' in content and any(
        one.get("kind") == "missed" for one in _journal(contents, _STEPS)
    )


def _journal(contents: Contents, path: str) -> list[dict[str, Any]]:
    """The entries of a journal; a line of it that is none does not count, as elsewhere."""
    lines = [line for line in contents.get(path, b"").split(b"\n") if line]
    try:
        # One call for all lines: a quarter has a million.
        found = strict_loads(b"[" + b",".join(lines) + b"]")
    except StrictJsonError:
        found = [one for line in lines for one in _entry(line)]
    return [one for one in found if isinstance(one, dict)]


def _entry(line: bytes) -> list[Any]:
    try:
        return [strict_loads(line)]
    except StrictJsonError:
        return []


def _availability(contents: Contents, outages: Sequence[Mapping[str, Any]]) -> Availability | None:
    """What the clients saw; None for a drill without this probe."""
    writes = [one for one in _journal(contents, _WRITES) if one.get("kind") in {"ok", "error"}]
    if not writes:
        return None
    times = [int(one["t"]) for one in writes]
    observed = (max(times) - min(times)) / 1e9
    # One that had not ended is as long as the writes after its begin were tried, at least.
    first = min(int(one["t"]) for one in _journal(contents, _STEPS))
    last = (max(times) - first) / 1e9
    lengths = [
        one["seconds"] if one["seconds"] is not None else max(0.0, last - one["from_seconds"])
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


def _policy(
    one: Finding, run_id: str, judged_at: str, waived: Collection[str], until: str
) -> PolicyState:
    excused = one.policy in waived and one.status in BAD and bool(one.waivers)
    return PolicyState(
        policy=one.policy,
        title=one.title,
        remediation=one.remediation,
        severity=one.severity,
        status=one.status,
        reason=one.reason,
        judged_at=judged_at,
        run_id=run_id,
        observed=one.observed,
        population_size=one.population_size,
        valid_until=one.valid_until,
        lapsed=one.valid_until is not None
        and parse_timestamp(one.valid_until) < parse_timestamp(until),
        waived_until=min(waiver.until for waiver in one.waivers) if excused else None,
        waived_by=", ".join(sorted({waiver.owner for waiver in one.waivers})) if excused else "",
    )
