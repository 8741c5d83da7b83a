"""Bisection finds the border between clean and damaged, and asks no more than it may."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.probes.bisection import last_clean, most_questions


@given(st.integers(0, 5000), st.data())
def test_the_border_is_found_in_as_few_questions_as_said(last: int, data: st.DataObject) -> None:
    first_damaged = data.draw(st.integers(0, last + 1))
    asked: list[int] = []

    def is_damaged(number: int) -> bool:
        asked.append(number)
        return number >= first_damaged

    found = last_clean(last, is_damaged)
    assert found == (first_damaged - 1 if first_damaged else None)
    assert len(asked) <= most_questions(last)
    assert all(0 <= number <= last for number in asked)
    if found is not None and found < last:
        assert {found, found + 1} <= set(asked), "both sides of the border were seen"


def test_a_clean_end_is_believed_without_more_questions() -> None:
    asked: list[int] = []
    assert last_clean(1000, lambda number: bool(asked.append(number))) == 1000
    assert asked == [0, 1000]
