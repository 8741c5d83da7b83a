"""What makes the rehearsal of an upgrade say no-go."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from orchestrator.steps import upgrade
from orchestrator.steps.context import Context
from orchestrator.steps.journal import StepJournal

BOOKS = {"totals": {"invoiced": "100.00", "parties": "30"}, "violations": {"gapless": 1}}


@pytest.fixture
def context(tmp_path: Path) -> Context:
    journal = StepJournal(tmp_path / "raw" / "steps.jsonl", "run-1")
    journal.open_attempt()
    options = {"window_seconds": 60, "margin": 2}
    made = Context(cast(Any, None), {"run_id": "run-1"}, tmp_path, journal, 1, "one", options)
    made.note("books_before", BOOKS)
    made.note("update", {"seconds": 20.0})
    made.mark("updated", 1_000_000_000)
    made.mark("twin_served", 6_000_000_000)
    return made


def advice(context: Context, monkeypatch: pytest.MonkeyPatch, **after: Any) -> dict[str, Any]:
    monkeypatch.setattr(upgrade, "_books", lambda _context: {**BOOKS, **after})
    upgrade.compare_books(context)
    upgrade.advise_upgrade(context)
    return {
        entry["name"]: (entry["ok"], entry["detail"])
        for entry in context.journal.entries
        if entry["kind"] == "check"
    }


def test_the_same_books_in_time_are_a_go(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    found = advice(context, monkeypatch)
    assert found["advice_go"] == (True, "go")
    assert found["fits_the_window"][1].startswith("50 s for production: 2 × (update 20.0 s + ")


def test_a_total_that_moved_by_a_cent_is_a_no_go(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = advice(context, monkeypatch, totals={"invoiced": "100.01", "parties": "30"})
    assert found["totals_unchanged"] == (False, "invoiced 100.00 → 100.01")
    assert found["advice_go"] == (False, "no-go: totals_unchanged")


def test_an_invariant_that_is_broken_more_often_is_a_no_go(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = advice(context, monkeypatch, violations={"gapless": 2})
    assert found["invariants_unchanged"] == (False, "gapless: 2")
    assert found["advice_go"] == (False, "no-go: invariants_unchanged")


def test_a_longer_outage_than_the_window_is_a_no_go(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    context.options = {"window_seconds": 49, "margin": 2}
    found = advice(context, monkeypatch)
    assert found["advice_go"] == (False, "no-go: fits_the_window")
