"""The offset of a clock: measured as NTP does, on a clock that is wrong by a known amount."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.collect.clock_offset import sample


@pytest.mark.parametrize("ahead", [-40.0, 0.0, 2.5])
def test_a_wrong_clock_is_off_by_what_it_is_wrong(ahead: float) -> None:
    def ask() -> datetime:
        time.sleep(0.01)
        there = datetime.now(UTC) + timedelta(seconds=ahead)
        time.sleep(0.01)
        return there

    offset, uncertainty = sample(ask)
    assert abs(offset - ahead) <= uncertainty
    assert 0.01 <= uncertainty < 1


def test_the_uncertainty_covers_an_answer_that_was_late_on_one_way_alone() -> None:
    def ask() -> datetime:
        there = datetime.now(UTC)
        time.sleep(0.05)
        return there

    offset, uncertainty = sample(ask)
    assert offset < -0.02
    assert abs(offset) <= uncertainty + 0.001
