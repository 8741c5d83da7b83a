"""Targets, trends, months and availability over the runs of a period."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from statistics import fmean, median

from orchestrator.model.fact import parse_timestamp, timestamp
from orchestrator.report.period.view import (
    Availability,
    Episode,
    Month,
    Point,
    Repair,
    Run,
    Sla,
    Slot,
    TargetResult,
    Trend,
)
from orchestrator.report.view import Text
from orchestrator.report.words import TARGETS

MEASURES = tuple(TARGETS)


def agreed(runs: Sequence[Run]) -> tuple[Sla, ...]:
    """Return how often each target was met, by tier: VIP first.

    A run that did not measure a target met it no more than one that missed it.
    """
    found: dict[tuple[str, str], list[TargetResult]] = {}
    for run in runs:
        for target in run.targets:
            found.setdefault((run.tier, target.name), []).append(target)
    order = [*TARGETS]
    return tuple(
        _agreed(tier, name, found[tier, name])
        for tier, name in sorted(
            found,
            key=lambda one: (
                one[0] != "VIP",
                one[0],
                order.index(one[1]) if one[1] in order else len(order),
                one[1],
            ),
        )
    )


def _agreed(tier: str, name: str, results: Sequence[TargetResult]) -> Sla:
    english, chinese, short, unit = TARGETS.get(name, (name, name, "", ""))
    measured = [one.measured for one in results if one.measured is not None]
    return Sla(
        tier=tier,
        target=name,
        title={"en": english, "zh": chinese},
        short=short,
        unit=unit,
        met=sum(one.met is True for one in results),
        missed=sum(one.met is False for one in results),
        not_observed=sum(one.met is None for one in results),
        limit=min(one.target for one in results),
        worst=max(measured, default=None),
        median=median(measured) if measured else None,
    )


def trends(runs: Sequence[Run]) -> tuple[Trend, ...]:
    """Return each measurement of each drill, run by run.

    One that no run made or had a target for is left out. A missed run is no
    point: nothing was to be measured.
    """
    found = []
    for drill in sorted({run.drill for run in runs}):
        mine = [run for run in runs if run.drill == drill and run.verdict != "missed"]
        for name in MEASURES:
            points = tuple(_point(run, name) for run in mine)
            if any(one.value is not None or one.target is not None for one in points):
                found.append(_trend(drill, mine[-1].title, name, points))
    return tuple(found)


def _trend(drill: str, title: Text, name: str, points: tuple[Point, ...]) -> Trend:
    values = [one.value for one in points if one.value is not None]
    targets = [one.target for one in points if one.target is not None]
    met = sum(
        one.value is not None and one.target is not None and one.value <= one.target
        for one in points
    )
    return Trend(
        drill=drill,
        title=title,
        measure=name,
        unit=TARGETS[name][3].strip(),
        measured=len(values),
        met=met if targets else None,
        target=targets[-1] if targets else None,
        least=min(values, default=None),
        median=median(values) if values else None,
        most=max(values, default=None),
        last=values[-1] if values else None,
        points=points,
    )


def _point(run: Run, name: str) -> Point:
    """A target says what was measured against it; without one the run's result does."""
    for one in run.targets:
        if one.name == name:
            return Point(run.run_id, run.started_at, one.measured, one.target)
    return Point(run.run_id, run.started_at, getattr(run, name, None), None)


def availability(runs: Sequence[Run]) -> tuple[Availability | None, int]:
    """Return what the clients saw over all drills that asked them, and how many those were."""
    seen = [run.availability for run in runs if run.availability is not None]
    if not seen:
        return None, 0
    tried = sum(one.tried for one in seen)
    acknowledged = sum(one.acknowledged for one in seen)
    total = Availability(
        tried=tried,
        acknowledged=acknowledged,
        acknowledged_percent=100 * acknowledged / tried,
        observed_seconds=sum(one.observed_seconds for one in seen),
        outage_seconds=sum(one.outage_seconds for one in seen),
        longest_outage_seconds=max(one.longest_outage_seconds for one in seen),
    )
    return total, len(seen)


def months(
    since: datetime,
    until: datetime,
    *,
    runs: Sequence[Run],
    slots: Sequence[Slot],
    findings: Sequence[Episode],
    repairs: Sequence[Repair],
) -> tuple[Month, ...]:
    """Return the calendar months of a period, the oldest first.

    A run belongs to the month that it began in, a repair to the one that it ended in.
    """
    return tuple(
        _month(
            name,
            timestamp(begin),
            timestamp(end),
            runs=runs,
            slots=slots,
            findings=findings,
            repairs=repairs,
        )
        for name, begin, end in spans(since, until)
    )


def spans(since: datetime, until: datetime) -> Iterator[tuple[str, datetime, datetime]]:
    """Yield (`2026-11`, begin, end) of each calendar month (UTC), cut to the period."""
    begin = since.astimezone(UTC)
    while begin < until:
        year, month = (begin.year + 1, 1) if begin.month == 12 else (begin.year, begin.month + 1)
        following = datetime(year, month, 1, tzinfo=UTC)
        yield f"{begin:%Y-%m}", begin, min(following, until)
        begin = following


def _month(
    name: str,
    begin: str,
    end: str,
    *,
    runs: Sequence[Run],
    slots: Sequence[Slot],
    findings: Sequence[Episode],
    repairs: Sequence[Repair],
) -> Month:
    mine = [run for run in runs if _within(run.started_at, begin, end)]
    due = Counter(one.state for one in slots if _within(one.due_at, begin, end))
    results = [target.met for run in mine for target in run.targets]
    measured = [run.rto_seconds for run in mine if run.rto_seconds is not None]
    repaired = [
        one.repair_seconds
        for one in repairs
        if one.passed_at is not None
        and one.repair_seconds is not None
        and _within(one.passed_at, begin, end)
    ]
    seen, _ = availability(mine)
    verdicts = Counter(run.verdict for run in mine)
    return Month(
        month=name,
        due=sum(due.values()),
        done=sum(due[state] for state in ("pass", "fail", "inconclusive")),
        missed=due["missed"],
        missing=due["missing"],
        passed=verdicts["pass"],
        failed=verdicts["fail"],
        inconclusive=verdicts["inconclusive"],
        targets_met=results.count(True),
        targets_missed=results.count(False),
        targets_not_observed=results.count(None),
        median_rto_seconds=median(measured) if measured else None,
        worst_rto_seconds=max(measured, default=None),
        opened=sum(_within(one.first_seen_at, begin, end) for one in findings),
        closed=sum(
            one.closed_at is not None and _within(one.closed_at, begin, end) for one in findings
        ),
        open_at_end=sum(
            _moment(one.first_seen_at) < _moment(end)
            and (one.closed_at is None or _moment(one.closed_at) >= _moment(end))
            for one in findings
        ),
        mean_repair_seconds=fmean(repaired) if repaired else None,
        acknowledged=seen.acknowledged if seen else 0,
        tried=seen.tried if seen else 0,
    )


def _within(moment: str, begin: str, end: str) -> bool:
    return _moment(begin) <= _moment(moment) < _moment(end)


def _moment(text: str) -> datetime:
    return parse_timestamp(text)
