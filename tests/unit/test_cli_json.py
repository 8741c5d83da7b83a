"""Commands that act say what they did as JSON too."""

from __future__ import annotations

import json
from pathlib import Path

from tests.commands import anlan


def test_clean_says_what_it_removes_and_removes_it_only_without_dry_run(tmp_path: Path) -> None:
    state = tmp_path / "state"
    (state / "env").mkdir(parents=True)
    planned = anlan(state, "clean", "--dry-run", "--json")
    expected = {"state": str(state), "environments": [], "runs": 0, "removed": False}
    assert json.loads(planned.stdout) == expected
    assert state.exists()
    done = anlan(state, "clean", "--yes", "--json")
    assert json.loads(done.stdout) == {**expected, "removed": True}
    assert not state.exists()
    again = anlan(state, "clean", "--yes", "--json")
    assert json.loads(again.stdout) == expected


def test_an_abort_of_a_run_that_does_not_exist_is_an_input_error(tmp_path: Path) -> None:
    answer = anlan(tmp_path, "drill", "abort", "nothing", "--json")
    assert (answer.returncode, answer.stdout) == (2, "")
    assert "'nothing' does not exist" in answer.stderr
