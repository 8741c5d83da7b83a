"""What is on record of one environment over a period: what a report over it is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Planned:
    """A run that was planned in the period and has no result."""

    run_id: str
    drill: str
    planned_at: datetime


@dataclass(frozen=True)
class Due:
    """A run that a schedule made due in the period, and that the log does not have."""

    run_id: str
    drill: str
    due_at: datetime


@dataclass(frozen=True)
class Removed:
    """A run of the period that was removed when its retention was over."""

    run_id: str
    drill: str
    removed_at: datetime
    reason: str


@dataclass(frozen=True)
class Period:
    """One environment from `since` (inclusive) until `until` (exclusive); times are aware UTC.

    A run belongs to the period in which its plan was logged. `runs` maps the id of each finished
    one to the files of its bundle (path → content; see `evidence.layout`), the oldest first;
    missed runs are among them (verdict `missed` by their journals). `schedules` are the records
    (`model.schedule.applied`) in force in the period, the oldest first. `origin` and `log_size`
    say which log it was taken from. Nothing in it depends on when it is read.
    """

    environment: str
    since: datetime
    until: datetime
    origin: str
    log_size: int
    runs: Mapping[str, Mapping[str, bytes]]
    unfinished: tuple[Planned, ...] = ()
    missing: tuple[Due, ...] = ()
    removed: tuple[Removed, ...] = ()
    schedules: tuple[Mapping[str, Any], ...] = ()
