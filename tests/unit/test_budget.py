"""The abort budget: what was passed, for long enough, and what counts as not observed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.engine import runs
from orchestrator.engine.budget import Clients, Judge
from orchestrator.verdict import derive

S = 1_000_000_000


def journal(folder: Path, name: str, *entries: tuple[str, float]) -> None:
    file = folder / name / "journal.jsonl"
    file.parent.mkdir(exist_ok=True)
    with file.open("a") as stream:
        for kind, second in entries:
            stream.write(json.dumps({"kind": kind, "t": int(second * S)}) + "\n")


def test_the_error_rate_is_that_of_the_worse_writers_in_the_last_seconds(tmp_path: Path) -> None:
    clients = Clients(tmp_path, 5)
    assert clients.error_rate(0) is None
    journal(tmp_path, "ledger", ("header", 0), *[("acknowledged", n / 10) for n in range(100)])
    journal(tmp_path, "availability", ("header", 0), ("error", 1), ("ok", 8), ("ok", 9))
    assert clients.error_rate(10 * S) == 0, "the error is older"
    journal(tmp_path, "availability", ("error", 9.5), ("error", 9.6))
    assert clients.error_rate(10 * S) == 0.5


def test_a_line_is_read_when_it_is_whole(tmp_path: Path) -> None:
    clients = Clients(tmp_path, 5)
    journal(tmp_path, "availability", ("header", 0), ("ok", 1))
    file = tmp_path / "availability" / "journal.jsonl"
    with file.open("a") as stream:
        stream.write('{"kind": "err')
    assert clients.error_rate(2 * S) == 0
    with file.open("a") as stream:
        stream.write('or", "t": 2000000000}\nnonsense\n')
    assert clients.error_rate(2 * S) == 0.5


def test_writers_that_hear_nothing_fail_unless_they_have_ended(tmp_path: Path) -> None:
    clients = Clients(tmp_path, 5)
    journal(tmp_path, "ledger", ("header", 0))
    assert clients.error_rate(4 * S) is None, "they have only begun"
    assert clients.error_rate(6 * S) == 1.0
    journal(tmp_path, "ledger", ("end", 7))
    assert clients.error_rate(20 * S) is None


BUDGET = {"error_rate": 0.2, "lag_bytes": 1000, "over_seconds": 3}


@pytest.mark.parametrize(
    ("rate", "lags", "passed"),
    [
        (0.2, [1000, 1000, 1000, 1000, 1000], ""),
        (None, [0, 0], ""),
        (0.25, [0], "25% of the writes failed in 3 s, at most 20%"),
        (0.0, [1001, 1001, 1001], ""),
        (0.0, [1001, 1001, 1001, 1001], "the standby's lag is 1001 bytes for 3 s, at most 1000"),
        (0.0, [1001, 1001, 0, 1001, 1001, 1001], ""),
        (0.0, [None, None, None, None], "the standby's lag is not observed for 3 s"),
    ],
)
def test_a_budget_is_passed_by_more_than_it_allows_for_long_enough(
    rate: float | None, lags: list[int | None], passed: str
) -> None:
    judge = Judge(BUDGET)
    said = [judge.passed(second * S, rate, lag) for second, lag in enumerate(lags)]
    assert not any(said[:-1])
    assert said[-1].startswith(passed)
    assert bool(said[-1]) == bool(passed)


def test_a_budget_without_a_limit_on_lag_asks_for_none() -> None:
    judge = Judge({"error_rate": 0.2, "over_seconds": 1})
    assert [judge.passed(second * S, 0.0, None) for second in range(9)] == [""] * 9


def test_the_first_reason_to_end_a_run_stays(tmp_path: Path) -> None:
    run = runs.Run(tmp_path, {}, None)
    assert runs.asked_to_end(run) is None
    runs.ask_to_end(run, "abort budget: too much")
    runs.ask_to_end(run, "by root")
    assert runs.asked_to_end(run) == "abort budget: too much"


def test_the_verdict_tells_why_a_run_was_ended() -> None:
    step = {"id": "break", "do": "break_primary", "phase": "fault", "needs": []}
    plan: dict[str, Any] = {"targets": {}, "steps": [step]}
    steps = [
        {"kind": "header", "t": 0, "boot_id": "b", "utc": "2026-11-28T00:00:00+00:00"},
        {"kind": "aborted", "t": 1, "before": "break", "reason": "abort budget: too much"},
    ]
    found = derive(plan, {"steps": steps})
    assert found["verdict"] == "inconclusive"
    assert found["reasons"][0] == "aborted before break: abort budget: too much"
