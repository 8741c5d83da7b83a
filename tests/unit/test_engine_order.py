"""Steps run after those they need, side by side where the drill says so, and end together."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import pytest

from orchestrator.engine.order import groups, run_group


def steps(**needs: str) -> list[Mapping[str, Any]]:
    """Steps by name, each with the names it needs."""
    return [{"id": name, "needs": needed.split()} for name, needed in needs.items()]


LINE = steps(a="", b="a", c="b")
FORK = steps(
    a="", erp="a", ledger="erp", heaps="a", egress="a", sums="ledger heaps egress", z="sums"
)


@pytest.mark.parametrize(
    ("plan", "cut"),
    [
        (LINE, [[0], [1], [2]]),
        (FORK, [[0], [1, 2, 3, 4], [5], [6]]),
        # What nobody waits for goes on until the end.
        (steps(a="", b="a", c="a", d="c"), [[0], [1, 2, 3]]),
        (steps(a="", b="a", c="a b", d="c"), [[0], [1], [2], [3]]),
    ],
)
def test_a_plan_is_cut_where_everything_waits(
    plan: list[Mapping[str, Any]], cut: list[list[int]]
) -> None:
    assert groups(plan) == cut


def test_steps_of_a_group_overlap_and_wait_for_what_they_need() -> None:
    ended: list[int] = []
    together = threading.Barrier(3)

    def do(number: int) -> bool:
        if number in {1, 3, 4}:
            together.wait(timeout=10)  # breaks unless the three run at the same time
        if number == 2:
            assert 1 in ended
        ended.append(number)
        return True

    assert run_group(FORK, [1, 2, 3, 4], do)
    assert sorted(ended) == [1, 2, 3, 4]


def test_when_one_fails_those_at_work_end_and_no_other_begins() -> None:
    began: list[int] = []
    failed = threading.Event()

    def do(number: int) -> bool:
        began.append(number)
        if number == 3:
            failed.set()
            return False
        assert failed.wait(timeout=10)
        return True

    assert not run_group(FORK, [1, 2, 3, 4], do)
    assert sorted(began) == [1, 3, 4]


@pytest.mark.parametrize("answer", [True, False])
def test_a_step_alone_runs_in_the_caller_s_thread(answer: bool) -> None:
    seen: list[threading.Thread] = []

    def do(_number: int) -> bool:
        seen.append(threading.current_thread())
        return answer

    assert run_group(LINE, [1], do) is answer
    assert seen == [threading.main_thread()]
