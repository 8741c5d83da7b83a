"""Change windows: open on their days, by the wall clock of their zone, also over midnight."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from orchestrator.model import change_window

# 2026-11-28 is a Saturday.
WEEKEND = {"days": ["sat"], "from": "22:00", "until": "04:00", "timezone": "Asia/Shanghai"}
OFFICE = {"days": ["mon", "tue"], "from": "09:30", "until": "17:00"}


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("window", "moment", "is_open"),
    [
        (WEEKEND, "2026-11-28T13:59:59", False),
        (WEEKEND, "2026-11-28T14:00:00", True),  # 22:00 in Shanghai
        (WEEKEND, "2026-11-28T19:59:59", True),  # 03:59 on Sunday
        (WEEKEND, "2026-11-28T20:00:00", False),
        (WEEKEND, "2026-11-27T14:30:00", False),  # Friday evening
        (WEEKEND, "2026-11-27T19:00:00", False),  # Saturday morning: Friday's night
        (OFFICE, "2026-11-30T09:29:00", False),
        (OFFICE, "2026-11-30T09:30:00", True),
        (OFFICE, "2026-11-30T17:00:00", False),
        (OFFICE, "2026-11-29T10:00:00", False),
        ({**OFFICE, "until": "24:00"}, "2026-11-30T23:59:59", True),
        ({**OFFICE, "until": "24:00"}, "2026-12-02T00:00:00", False),
    ],
)
def test_a_window_is_open_by_the_wall_clock_of_its_zone(
    window: dict[str, Any], moment: str, is_open: bool
) -> None:
    assert change_window.is_open([window], at(moment)) is is_open


def test_a_window_keeps_its_wall_clock_when_the_clocks_change() -> None:
    window = {"days": ["sun"], "from": "05:00", "until": "06:00", "timezone": "Europe/Berlin"}
    assert change_window.is_open([window], at("2026-10-18T03:30:00"))  # summer time
    assert change_window.is_open([window], at("2026-10-25T04:30:00"))  # after it
    assert not change_window.is_open([window], at("2026-10-25T03:30:00"))


def test_without_windows_it_is_always_open() -> None:
    assert change_window.is_open([], at("2026-11-28T00:00:00"))


@pytest.mark.parametrize(
    ("moment", "opening"),
    [
        ("2026-11-28T13:00:30", "2026-11-28T14:00:00"),
        ("2026-11-28T20:00:00", "2026-11-30T09:30:00"),
        ("2026-12-01T17:00:00", "2026-12-05T14:00:00"),
    ],
)
def test_the_next_opening_is_that_of_the_first_window_to_come(moment: str, opening: str) -> None:
    assert change_window.next_opening([WEEKEND, OFFICE], at(moment)) == at(opening)
