"""The drills that were due in a period, and what came of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrator.model import schedule
from orchestrator.model.fact import parse_timestamp, timestamp
from orchestrator.model.period import Period
from orchestrator.report.period.view import Due, Run, Slot

UNKNOWN_TIER = "?"
_UNDONE = ("missed", "missing", "unfinished", "removed", "pending")
# A slot at the very beginning of the period is in it, one at its end is not.
_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True)
class Calendar:
    """The due runs in order of time, and the counts: all, by drill, by tier."""

    slots: tuple[Slot, ...]
    due: Due
    by_drill: tuple[Due, ...]
    by_tier: tuple[Due, ...]


def calendar_of(period: Period, runs: Sequence[Run]) -> Calendar:
    """Return what was due and what came of it.

    Due are the slots of the schedules in force, what the period says is missing, and every run
    that a schedule, a change or a backup began.
    """
    slots = tuple(sorted(_slots(period, runs), key=lambda one: (one.due_at, one.run_id)))
    due = {one.run_id for one in slots}
    others = [one for one in runs if one.run_id not in due]
    names = sorted({one.drill for one in slots} | {one.drill for one in others})
    tiers = sorted({one.tier for one in slots} | {one.tier for one in others}, key=_vip_first)
    return Calendar(
        slots,
        _count("", slots, others),
        tuple(_group(names, slots, others, lambda one: one.drill)),
        tuple(_group(tiers, slots, others, lambda one: one.tier)),
    )


def _vip_first(tier: str) -> tuple[bool, str]:
    return tier != "VIP", tier


def _slots(period: Period, runs: Sequence[Run]) -> list[Slot]:
    by_id = {run.run_id: run for run in runs}
    undone: dict[str, str] = {
        **{one.run_id: "removed" for one in period.removed},
        **{one.run_id: "unfinished" for one in period.unfinished},
        **{one.run_id: "missing" for one in period.missing},
    }
    found: dict[str, Slot] = {}
    expected = schedule.expected(period.schedules, period.since - _INSTANT, period.until - _INSTANT)
    for slot in expected:
        run = by_id.get(slot.run_id)
        found[slot.run_id] = Slot(
            slot.run_id,
            slot.drill,
            run.tier if run else tier_at(period, slot.at),
            timestamp(slot.at),
            run.verdict if run else undone.get(slot.run_id, "pending"),
        )
    for one in period.missing:
        if one.run_id not in found:
            tier = tier_at(period, one.due_at)
            found[one.run_id] = Slot(
                one.run_id, one.drill, tier, timestamp(one.due_at), undone[one.run_id]
            )
    for run in runs:
        if run.run_id not in found and run.trigger != "manual":
            due_at = run.due_at or run.started_at
            found[run.run_id] = Slot(run.run_id, run.drill, run.tier, due_at, run.verdict)
    return list(found.values())


def tier_at(period: Period, moment: datetime) -> str:
    """Return the tier that the schedule in force at a moment was applied for."""
    tiers = [
        str(one["tier"])
        for one in period.schedules
        if parse_timestamp(str(one["applied_at"])) <= moment
    ]
    return tiers[-1] if tiers else UNKNOWN_TIER


def _group(
    names: Sequence[str],
    slots: Sequence[Slot],
    others: Sequence[Run],
    key: Callable[[Slot | Run], str],
) -> list[Due]:
    return [
        _count(
            name,
            [one for one in slots if key(one) == name],
            [one for one in others if key(one) == name],
        )
        for name in names
    ]


def _count(name: str, slots: Sequence[Slot], others: Sequence[Run]) -> Due:
    states: Mapping[str, int] = Counter(one.state for one in slots)
    undone = {state: states.get(state, 0) for state in _UNDONE}
    return Due(
        name=name,
        due=len(slots),
        done=len(slots) - sum(undone.values()),
        **undone,
        unplanned=sum(one.verdict != "missed" for one in others),
    )
