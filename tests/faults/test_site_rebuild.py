"""kill -9 while a lost site is rebuilt: resumed it is finished, aborted it is made again.

`make faults` alone runs these; tests/e2e/test_site_loss.py kills the rebuild once.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.model.environment import Environment
from tests.commands import anlan
from tests.conftest import Place
from tests.faults.death import ALL, assert_as_it_began, die_at

MOMENTS = [
    "mark:site_going:after",
    "mark:site_emptied:before",
    "in:rebuild-machine:2.0",
    "in:restore-database:1.0",
    "end:restore-database:before",
    "mark:invoice_posted:before",
]
pytestmark = pytest.mark.skipif(not ALL, reason="make faults")


@pytest.fixture
def state(place: Place, stack: Path) -> Path:
    """The state directory that holds the stack."""
    assert stack.is_relative_to(place.state)
    return place.state


def newest_run(state: Path) -> str:
    return max(path.name for path in (state / "runs").glob("site-loss-*"))


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_rebuild_is_resumed(environment: Environment, state: Path, moment: str) -> None:
    die_at(state, moment, "run", "site-loss", environment.name, "-p", "baseline_seconds=1")
    ended = anlan(state, "drill", "resume", newest_run(state), "--json", timeout_seconds=900)
    result = json.loads(ended.stdout)
    # So long a way may take longer than its target; nothing else may be wrong.
    reasons = result["derived"]["reasons"]
    assert [one for one in reasons if not one.startswith("rebuild_seconds is")] == []
    assert result["derived"]["ledger"]["lost_keys"] == []
    assert_as_it_began(environment, state)


def test_an_aborted_rebuild_leaves_a_whole_environment(
    environment: Environment, state: Path
) -> None:
    die_at(
        state,
        "mark:site_emptied:after",
        "run",
        "site-loss",
        environment.name,
        "-p",
        "baseline_seconds=1",
    )
    run = newest_run(state)
    assert not environment.sites["a"].machine.directory.exists()
    assert anlan(state, "drill", "abort", run).returncode == 0
    ended = anlan(state, "drill", "resume", run, "--json", timeout_seconds=900)
    derived = json.loads(ended.stdout)["derived"]
    assert derived["verdict"] == "inconclusive"
    assert {one["step"]: one["status"] for one in derived["undo"]}["delete-site"] == "done"
    assert_as_it_began(environment, state)
