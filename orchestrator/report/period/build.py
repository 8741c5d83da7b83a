"""From what is on record of a period to what a report over it says; one run's files at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from orchestrator.model.fact import timestamp
from orchestrator.model.period import Period
from orchestrator.model.policy import STATUSES
from orchestrator.model.version import TOOL_VERSION
from orchestrator.report.period import findings, measures
from orchestrator.report.period.attention import actions_of, attention_of
from orchestrator.report.period.calendar import UNKNOWN_TIER, Calendar, calendar_of, tier_at
from orchestrator.report.period.coverage import coverage_of
from orchestrator.report.period.runs import summary
from orchestrator.report.period.view import (
    DrillState,
    Kind,
    PeriodView,
    PolicyState,
    Run,
    State,
)
from orchestrator.report.rules import Rules
from orchestrator.report.view import Action, Compliance, Text
from orchestrator.report.words import same

_STATES: dict[str, State] = {"pass": "pass", "fail": "fail"}
Progress = Callable[[int, int], None]
"""(runs that were read, of how many)."""


def build_period(
    period: Period, kind: Kind = "period", *, progress: Progress = lambda _done, _of: None
) -> PeriodView:
    """Return what a report over a period says. Nothing in it depends on when it is made.

    Raises InputError, with the id of the run, when the files of one are not those of a finished
    run.
    """
    until = timestamp(period.until)
    runs: list[Run] = []
    todo: dict[str, tuple[Action, ...]] = {}
    last: dict[str, PolicyState] = {}
    seen: dict[str, list[tuple[str, str, str]]] = {}
    rules: Rules | None = None
    for number, (run_id, files) in enumerate(period.runs.items(), start=1):
        one = summary(files, run_id, until)
        runs.append(one.run)
        if one.run.verdict != "pass":
            todo[one.run.run_id] = one.actions
        if one.run.verdict != "missed":
            rules = one.rules
        for policy in one.policies:
            seen.setdefault(policy.policy, []).append(
                (policy.judged_at, policy.status, policy.run_id)
            )
            known = last.get(policy.policy)
            if known is None or known.judged_at <= policy.judged_at:
                last[policy.policy] = policy
        progress(number, len(period.runs))
    runs.sort(key=lambda run: (run.started_at, run.run_id))
    for judgements in seen.values():
        judgements.sort()
    policies = tuple(
        sorted(
            last.values(),
            key=lambda one: (one.severity, STATUSES.index(one.status), one.policy),
        )
    )
    drills = _drills(period, runs)
    calendar = calendar_of(period, runs)
    episodes = findings.episodes(seen, last, period.until)
    repairs = findings.repairs(runs)
    seen_by_clients, measured_runs = measures.availability(runs)
    return PeriodView(
        kind=kind,
        environment=period.environment,
        since=timestamp(period.since),
        until=until,
        tiers=_tiers(period, runs),
        origin=period.origin,
        log_size=period.log_size,
        rendered_by=TOOL_VERSION,
        recorded_until=max((run.ended_at for run in runs), default=None),
        recovery=_worst([one.state for one in drills]),
        compliance=_compliance(policies),
        programme=_programme(calendar),
        verdicts={
            **dict.fromkeys(("pass", "fail", "inconclusive", "missed"), 0),
            **Counter(run.verdict for run in runs),
        },
        statuses={
            **dict.fromkeys(STATUSES, 0),
            **Counter(one.status for one in policies),
        },
        attention=attention_of(period, runs, policies),
        actions=actions_of(period, drills, policies, todo),
        drills=drills,
        policies=policies,
        due=calendar.due,
        calendar=calendar.by_drill,
        by_tier=calendar.by_tier,
        slots=calendar.slots,
        runs=tuple(runs),
        trends=measures.trends(runs),
        findings=episodes,
        ages=findings.buckets(episodes),
        finding_repair=findings.mean_of(episodes),
        repairs=repairs,
        drill_repair=findings.mean_repair(repairs),
        sla=measures.agreed(runs),
        availability=seen_by_clients,
        measured_runs=measured_runs,
        months=measures.months(
            period.since,
            period.until,
            runs=runs,
            slots=calendar.slots,
            findings=episodes,
            repairs=repairs,
        ),
        coverage=coverage_of(rules, last, {one.drill: one for one in drills}),
    )


def _drills(period: Period, runs: Sequence[Run]) -> tuple[DrillState, ...]:
    """Every kind of drill that ran or should have, failed ones first."""
    absent: list[tuple[str, str, str]] = [
        *((one.drill, timestamp(one.due_at), one.run_id) for one in period.missing),
        *((one.drill, timestamp(one.planned_at), one.run_id) for one in period.unfinished),
    ]
    names = sorted({run.drill for run in runs} | {drill for drill, _, _ in absent})
    found = [_drill(name, [run for run in runs if run.drill == name], absent) for name in names]
    order = ("fail", "unknown", "none", "pass")
    return tuple(sorted(found, key=lambda one: (order.index(one.state), one.drill)))


def _drill(name: str, runs: Sequence[Run], absent: Sequence[tuple[str, str, str]]) -> DrillState:
    last = runs[-1] if runs else None
    after = [
        run_id
        for drill, at, run_id in sorted(absent, key=lambda one: one[1:])
        if drill == name and (last is None or at >= last.started_at)
    ]
    state: State = _STATES.get(last.verdict, "unknown") if last else "unknown"
    if state == "unknown" and any(run.verdict == "fail" for run in _since_pass(runs)):
        # A failure is not undone by a run that proved nothing.
        state = "fail"
    title: Text = last.title if last else same(name)
    return DrillState(
        drill=name,
        title=title,
        state="unknown" if state == "pass" and after else state,
        last_verdict=last.verdict if last else None,
        last_at=last.started_at if last else None,
        last_run=last.run_id if last else None,
        reason=last.reasons[0] if last and last.reasons else "",
        open_after=tuple(after),
    )


def _since_pass(runs: Sequence[Run]) -> list[Run]:
    found: list[Run] = []
    for run in reversed(runs):
        if run.verdict == "pass":
            break
        found.append(run)
    return found


def _worst(states: Sequence[State]) -> State:
    for state in ("fail", "unknown", "pass"):
        if state in states:
            return state
    return "none"


def _compliance(policies: Sequence[PolicyState]) -> Compliance:
    statuses: set[Any] = {one.status for one in policies}
    if not statuses:
        return "not-judged"
    if "not-satisfied" in statuses:
        return "not-compliant"
    return "not-proven" if statuses & {"unknown", "expired"} else "compliant"


def _programme(calendar: Calendar) -> State:
    """Whether everything that was due was done; not whether it passed."""
    due = calendar.due
    if due.missed or due.missing:
        return "fail"
    if due.unfinished or due.removed or (due.pending and not due.done):
        return "unknown"
    return "pass" if due.done else "none"


def _tiers(period: Period, runs: Sequence[Run]) -> tuple[str, ...]:
    """The tiers that the environment had, in order of time."""
    known = [tier_at(period, period.since), tier_at(period, period.until)]
    found = dict.fromkeys([*known, *(run.tier for run in runs)])
    return tuple(one for one in found if one != UNKNOWN_TIER)
