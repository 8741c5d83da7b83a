"""The step journal is a run's memory: it survives a kill at any byte, and marks are set once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model.errors import InfrastructureError
from orchestrator.steps.journal import StepJournal


def journal(path: Path) -> StepJournal:
    return StepJournal(path / "raw" / "steps.jsonl", "run-1")


def test_marks_and_notes_are_set_once_and_found_again(tmp_path: Path) -> None:
    first = journal(tmp_path)
    at = first.mark("fault")
    assert first.mark("fault", at + 5) == at
    assert first.note("target", {"lsn": "0/1"}) == {"lsn": "0/1"}

    again = journal(tmp_path)
    assert again.mark("fault") == at
    assert again.note("target", {"lsn": "0/2"}) == {"lsn": "0/1"}


def test_attempts_are_counted(tmp_path: Path) -> None:
    assert journal(tmp_path).open_attempt() == 1
    assert journal(tmp_path).open_attempt() == 2


def test_a_listener_hears_each_entry_after_it_is_on_disk(tmp_path: Path) -> None:
    heard: list[str] = []
    mine = journal(tmp_path)
    mine.listener = lambda entry: heard.append(
        f"{entry['kind']} {len(mine.path.read_text().splitlines())}"
    )
    mine.write("begin", step="x")
    mine.write("end", step="x", status="done", error="")
    assert heard == ["begin 1", "end 2"]


@given(cut=st.integers(min_value=0, max_value=400))
def test_a_kill_at_any_byte_loses_at_most_the_last_entry(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    path = tmp_path_factory.mktemp("cut")
    mine = journal(path)
    for number in range(4):
        mine.write("begin", step=f"step-{number}")
    content = mine.path.read_bytes()
    kept = content[: min(cut, len(content))]
    mine.path.write_bytes(kept)

    again = journal(path)
    whole = kept.count(b"\n")
    assert [entry["step"] for entry in again.entries] == [f"step-{n}" for n in range(whole)]
    again.write("begin", step="next")
    lines = again.path.read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines][-1] == "next"
    assert len(lines) == whole + 1


def test_a_journal_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "raw").write_text("a file where the folder must be")
    with pytest.raises(InfrastructureError, match="anlan drill resume run-1"):
        journal(tmp_path).write("begin", step="x")
