"""Findings and failed drills over time: since when, and how long until they were repaired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from statistics import fmean

from orchestrator.model.fact import parse_timestamp
from orchestrator.model.policy import BAD
from orchestrator.report.period.view import (
    AGES,
    Bucket,
    Episode,
    Mean,
    PolicyState,
    Repair,
    Run,
)

_DAY = 86_400


def seconds_between(start: str, end: str) -> float:
    """Return the seconds from one time to another."""
    return (parse_timestamp(end) - parse_timestamp(start)).total_seconds()


def episodes(
    seen: Mapping[str, Sequence[tuple[str, str, str]]],
    last: Mapping[str, PolicyState],
    until: datetime,
) -> tuple[Episode, ...]:
    """Return when each policy did not hold, or was not known to; open ones first, the oldest first.

    `seen` maps a policy to (time, status, run) of each judgement in order of time; `last` is each
    as it was judged last. The age of an open one is until the end of the period.
    """
    found: list[Episode] = []
    for policy, judgements in seen.items():
        begun: list[tuple[str, str, str]] = []
        before = True
        for judged in judgements:
            at, status, run = judged
            if status in BAD:
                begun.append(judged)
                continue
            if begun:
                found.append(_episode(last[policy], begun, before, until, (at, status, run)))
            begun, before = [], False
        if begun:
            found.append(_episode(last[policy], begun, before, until, None))
    return tuple(
        sorted(
            found,
            key=lambda one: (
                (one.closed_at is not None, one.severity, one.first_seen_at, one.policy)
                if one.closed_at is None
                else (True, "", one.closed_at, one.policy)
            ),
        )
    )


def _episode(
    policy: PolicyState,
    begun: Sequence[tuple[str, str, str]],
    before: bool,
    until: datetime,
    closed: tuple[str, str, str] | None,
) -> Episode:
    first, last = begun[0][0], begun[-1][0]
    end = parse_timestamp(closed[0]) if closed else until
    repaired = closed is not None and closed[1] == "satisfied"
    return Episode(
        policy=policy.policy,
        title=policy.title,
        severity=policy.severity,
        status=begun[-1][1],
        first_seen_at=first,
        last_seen_at=last,
        runs=len(begun),
        before=before,
        closed_at=closed[0] if closed else None,
        closed_by=closed[2] if closed else None,
        repair_seconds=seconds_between(first, closed[0]) if closed and repaired else None,
        age_days=max(0.0, (end - parse_timestamp(first)).total_seconds() / _DAY),
    )


def buckets(found: Sequence[Episode]) -> tuple[Bucket, ...]:
    """Return how many open findings are how old."""
    ages = [one.age_days for one in found if one.closed_at is None]
    counts = []
    above = -1.0
    for most in AGES:
        counts.append(Bucket(most, sum(above < age <= most for age in ages)))
        above = most
    return (*counts, Bucket(None, sum(age > above for age in ages)))


def mean_of(found: Sequence[Episode]) -> Mean:
    """Return the mean time to repair of findings."""
    return _mean(
        [one.repair_seconds for one in found if one.repair_seconds is not None],
        sum(one.closed_at is None for one in found),
    )


def repairs(runs: Sequence[Run]) -> tuple[Repair, ...]:
    """Return each failure of a drill until the next run of the same drill that passed.

    Runs that neither passed nor failed change nothing.
    """
    found: list[Repair] = []
    failing: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda one: (one.ended_at, one.run_id)):
        if run.verdict == "fail":
            failing.setdefault(run.drill, []).append(run)
        elif run.verdict == "pass" and run.drill in failing:
            found.append(_repair(failing.pop(run.drill), run))
    found += [_repair(failed, None) for failed in failing.values()]
    return tuple(sorted(found, key=lambda one: (one.passed_run is not None, one.failed_at)))


def _repair(failed: Sequence[Run], passed: Run | None) -> Repair:
    first = failed[0]
    return Repair(
        drill=first.drill,
        failed_run=first.run_id,
        failed_at=first.ended_at,
        runs_failed=len(failed),
        passed_run=passed.run_id if passed else None,
        passed_at=passed.ended_at if passed else None,
        repair_seconds=seconds_between(first.ended_at, passed.ended_at) if passed else None,
    )


def mean_repair(found: Sequence[Repair]) -> Mean:
    """Return the mean time to repair of failed drills."""
    return _mean(
        [one.repair_seconds for one in found if one.repair_seconds is not None],
        sum(one.passed_run is None for one in found),
    )


def _mean(seconds: Sequence[float], still_open: int) -> Mean:
    return Mean(
        repaired=len(seconds),
        open=still_open,
        mean_seconds=fmean(seconds) if seconds else None,
        longest_seconds=max(seconds, default=None),
    )
