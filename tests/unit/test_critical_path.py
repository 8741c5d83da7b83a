"""Which steps decided how long a run took."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.verdict.critical_path import critical_path

# fetch and login run side by side; open needs both.
PLAN = [
    {"id": "make", "needs": []},
    {"id": "fetch", "needs": ["make"]},
    {"id": "login", "needs": ["make"]},
    {"id": "open", "needs": ["fetch", "login"]},
]


def rows(**times: tuple[float, float] | None) -> list[dict[str, Any]]:
    found = []
    for name, time in times.items():
        started, ended = time or (None, None)
        seconds = None if started is None or ended is None else ended - started
        found.append({"id": name, "started_seconds": started, "seconds": seconds})
    return found


def test_the_path_goes_over_the_step_that_was_waited_for_and_its_parts_sum_to_the_whole() -> None:
    found = critical_path(
        PLAN, rows(make=(0.0, 1.0), fetch=(1.1, 5.0), login=(1.1, 2.0), open=(5.25, 6.0))
    )
    assert found["steps"] == ["make", "fetch", "open"]
    assert found["seconds"] == 6.0
    assert found["between_seconds"] == pytest.approx(0.1 + 0.25)


def test_the_other_side_is_the_path_when_it_ends_later() -> None:
    times = rows(make=(0.0, 1.0), fetch=(1.0, 2.0), login=(1.0, 3.0), open=(3.0, 4.0))
    assert critical_path(PLAN, times)["steps"] == ["make", "login", "open"]


def test_a_run_that_broke_off_has_the_path_that_it_went() -> None:
    times = rows(make=(0.0, 1.0), fetch=(1.0, 2.0), login=(1.0, 3.5), open=None)
    assert critical_path(PLAN, times) == {
        "steps": ["make", "login"],
        "seconds": 3.5,
        "between_seconds": 0.0,
    }


def test_a_run_that_did_nothing_has_no_path() -> None:
    none = rows(make=None, fetch=None, login=None, open=None)
    assert critical_path(PLAN, none) == {"steps": [], "seconds": 0.0, "between_seconds": 0.0}
