"""A step that may be tried again is, when a server did not answer, and only then."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from orchestrator.engine import execute
from orchestrator.model.drill import parse_drill
from orchestrator.model.errors import InfrastructureError, InputError
from orchestrator.steps import VERBS
from orchestrator.steps.context import Context, StepFailed
from orchestrator.steps.journal import StepJournal
from tests.unit.test_drill_model import drill_text


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    monkeypatch.setattr(execute, "_BACKOFF_SECONDS", (0.01, 0.02, 0.04))
    journal = StepJournal(tmp_path / "raw" / "steps.jsonl", "run-1")
    journal.open_attempt()
    return Context(cast(Any, None), {"run_id": "run-1"}, tmp_path, journal, 1)


def failing(times: int, error: Exception) -> tuple[Callable[[Context], None], list[int]]:
    """An action that fails so often, and its calls."""
    calls: list[int] = []

    def action(_context: Context) -> None:
        calls.append(len(calls))
        if len(calls) <= times:
            raise error

    return action, calls


def step(retries: int, timeout_seconds: float = 5.0) -> dict[str, Any]:
    return {"id": "one", "with": {}, "timeout_seconds": timeout_seconds, "retries": retries}


DEAD = InfrastructureError("the store does not answer", "start it")


def test_it_is_tried_again_and_each_time_is_in_the_journal(context: Context) -> None:
    action, calls = failing(2, DEAD)
    assert execute._attempt(context, step(3), action) == ""
    assert len(calls) == 3
    retries = [entry for entry in context.journal.entries if entry["kind"] == "retry"]
    assert [(one["step"], one["wait_seconds"]) for one in retries] == [("one", 0.01), ("one", 0.02)]
    assert retries[0]["error"] == "the store does not answer"


def test_the_last_failure_is_the_outcome(context: Context) -> None:
    action, calls = failing(9, DEAD)
    assert execute._attempt(context, step(3), action) == "the store does not answer"
    assert len(calls) == 4


@pytest.mark.parametrize("error", [StepFailed("one key is lost"), KeyError("x")])
def test_a_finding_or_a_fault_of_ours_is_not_asked_for_again(
    context: Context, error: Exception
) -> None:
    action, calls = failing(1, error)
    assert execute._attempt(context, step(3), action)
    assert len(calls) == 1


def test_without_retries_it_is_done_once(context: Context) -> None:
    action, calls = failing(1, DEAD)
    assert execute._attempt(context, step(0), action) == "the store does not answer"
    assert len(calls) == 1


def test_the_step_s_time_ends_it(context: Context) -> None:
    action, calls = failing(9, DEAD)
    assert execute._attempt(context, step(3, timeout_seconds=0.001), action)
    assert len(calls) == 1


def test_a_drill_may_not_repeat_what_is_done_once() -> None:
    text = drill_text("").replace(
        "    timeout_seconds: 1\n", "    timeout_seconds: 1\n    retries: 2\n"
    )
    with pytest.raises(InputError, match="'check_environment' is not tried again") as raised:
        parse_drill(text, VERBS, file="x.yaml")
    assert raised.value.path == "$.steps[0].retries"
    able = parse_drill(text.replace("check_environment", "check_archive"), VERBS)
    assert able.steps[0].retries == 2
