"""Following a file that grows: every line once, and none before it is whole."""

from __future__ import annotations

from pathlib import Path

from orchestrator.cli.drill_watch import Tail


def test_a_torn_line_is_waited_for_and_one_that_a_kill_left_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    tail = Tail(path)
    assert list(tail.entries()) == []
    path.write_text('{"n": 1}\n{"n": ')
    assert list(tail.entries()) == [{"n": 1}]
    assert list(tail.entries()) == []
    with path.open("a") as stream:
        stream.write('2}\n{"torn": \n{"n": 3}\n')
    assert list(tail.entries()) == [{"n": 2}, {"n": 3}]
