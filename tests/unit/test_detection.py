"""When a primary counts as failed: refused is certain, silence only after a while."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.drivers.postgresql import Reach
from orchestrator.steps.detection import Absence, Detector

A, R, S, U = Reach.ANSWERS, Reach.REFUSED, Reach.SILENT, Reach.UNABLE


def failed_at(reaches: list[Reach], *, every: float = 1.0) -> float | None:
    """The second at which the rule (3 refused, or 3.5 s of silence) says failed."""
    detector = Detector(misses=3, grace_seconds=3.5)
    for number, reach in enumerate(reaches):
        if detector.failed(number * every, reach):
            return number * every
    return None


@pytest.mark.parametrize(
    ("reaches", "at"),
    [
        ([A, A, A, A, A, A], None),
        ([A, R, R, R], 3),
        ([R, R, A, R, R, A], None),
        ([S, S, S, S, S], 4),
        ([S, S, S, S, A, S, S, S, S], None),
        # A server that stops while it is silent is refused next.
        ([A, S, R, R, R], 4),
        ([R, R, S, R, R], 4),
        ([A, R, S, R, S, R, A], 5),
        # It recovers and is back; it recovers again and again; it recovers and gives up.
        ([A, U, U, U, A, U, U, U], None),
        ([A, U, U, S, U, U, U], 5),
        ([U, U, R, R, R], 4),
    ],
)
def test_the_rule(reaches: list[Reach], at: float | None) -> None:
    assert failed_at(reaches) == at


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 2), st.integers(1, 10))))
def test_a_blip_shorter_than_the_grace_is_never_a_failure(
    blips: list[tuple[int, int, int]],
) -> None:
    """Questions every 0.15 s: silent for at most 3 s, refused at most twice, then answered."""
    reaches: list[Reach] = []
    for silent, refused, answered in blips:
        reaches += [S] * silent + [R] * refused + [A] * answered
    assert failed_at(reaches, every=0.15) is None


@given(st.lists(st.sampled_from([S, R, U]), min_size=25))
def test_a_primary_that_never_answers_fails_within_the_grace(reaches: list[Reach]) -> None:
    at = failed_at(reaches, every=0.15)
    assert at is not None
    assert at <= 3.5 + 0.15 + 1e-9


@pytest.mark.parametrize(
    ("heard", "at"),
    [
        # It reports every second.
        ([0.2, 0.9, 0.4, 0.8, 0.1, 0.6, 0.3], None),
        # Its connection stands and nothing comes.
        ([0.2, 1.2, 2.2, 3.2, 4.2], 3),
        # It is connected no more; it is back before the grace is over, and gone again.
        ([0.0, None, None, None, None], 3),
        ([0.0, None, None, 0.1, None, None, None], 6),
        # It was gone before anyone looked: the grace begins with the first look.
        ([9.0, 10.0, 11.0, 12.0], 3),
        ([None, None, None, None], 3),
    ],
)
def test_a_standby_is_gone_when_it_was_not_heard_for_the_grace(
    heard: list[float | None], at: int | None
) -> None:
    absence = Absence(grace_seconds=3.0)
    lasts = [absence.lasts(float(second), ago) for second, ago in enumerate(heard)]
    assert (lasts.index(True) if True in lasts else None) == at
