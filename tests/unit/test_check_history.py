"""The checker of histories refuses each one that was doctored."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.commands import CHECKOUT
from tests.faults.check_history import SCHEMA, judge

S = 1_000_000_000
FAULT, PROMOTED = 10 * S, 12 * S


def history(mode: str = "synchronous") -> list[dict[str, Any]]:
    """A failover: k1 before it, k2 in doubt, k3 after it; d1 and d2 are of the drill's ledger.

    Asynchronous: d2, which was acknowledged right before the fault, is lost.
    """
    asynchronous = mode == "asynchronous"
    events: list[dict[str, Any]] = []
    for key, writer, at in (("k1", 0, 8.0), ("d1", "drill", 8.1), ("d2", "drill", 9.9)):
        events.append({"kind": "invoke", "t": int(at * S), "key": key, "writer": writer})
        events.append({"kind": "ack", "t": int(at * S) + 5, "key": key, "writer": writer})
    events += [
        {"kind": "invoke", "t": FAULT - 1, "key": "k2", "writer": 0},
        {"kind": "fault", "t": FAULT},
        {"kind": "unknown", "t": FAULT + 9, "key": "k2", "writer": 0},
        {"kind": "promoted", "t": PROMOTED},
        {"kind": "invoke", "t": 13 * S, "key": "k3", "writer": 0},
        {"kind": "ack", "t": 13 * S + 5, "key": "k3", "writer": 0},
    ]
    for second in range(8, 15):
        moment = {"t": second * S + 2, "asked": second * S + 1}
        a = {"kind": "seen", "writable": True} if second < 10 else {"kind": "unseen"}
        events.append({**a, "site": "a", **moment})
        events.append({"kind": "seen", "site": "b", "writable": second >= 12, **moment})
    events.sort(key=lambda event: int(event["t"]))
    header = {"schema": SCHEMA, "mode": mode, "fault": "site", "sites": ["a", "b"], "seed": 1}
    lost = ["d2"] if asynchronous else []
    final = [key for key in ("k1", "k3", "d1", "d2") if key not in lost]
    return numbered(
        [
            {"kind": "header", "t": 0, **header},
            *events,
            {"kind": "final", "t": 15 * S, "keys": final},
            {"kind": "end", "t": 15 * S, "reported": lost},
        ]
    )


def numbered(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events as somebody who forges carefully leaves them: numbered and counted."""
    events = [{**event, "seq": seq} for seq, event in enumerate(events)]
    if events[-1]["kind"] == "end":
        events[-1]["events"] = len(events) - 1
    return events


def problems(events: list[dict[str, Any]]) -> str:
    return "; ".join(judge(json.dumps(event) for event in events).problems)


@pytest.mark.parametrize(("mode", "lost"), [("synchronous", 0), ("asynchronous", 1)])
def test_a_history_as_it_was_recorded_is_sound(mode: str, lost: int) -> None:
    found = judge(json.dumps(event) for event in history(mode))
    assert found.problems == ()
    assert (found.acknowledged, found.lost, found.in_doubt, found.answers) == (4, lost, 1, 9)


def without(events: list[dict[str, Any]], **fields: Any) -> list[dict[str, Any]]:
    """The events without those that have these fields."""
    return [one for one in events if any(one.get(name) != value for name, value in fields.items())]


def test_an_acknowledged_key_that_is_not_there_is_found() -> None:
    events = history()
    events[-2]["keys"].remove("k1")
    assert "1 acknowledged keys are lost: ['k1']" in problems(events)


def test_two_primaries_are_found() -> None:
    events = history()
    late = {"kind": "seen", "site": "a", "writable": True, "t": 13 * S, "asked": 12 * S + 1}
    events = [*events[:-2], late, *events[-2:]]
    events[1:-2] = sorted(events[1:-2], key=lambda event: int(event["t"]))
    assert "two primaries: a and b" in problems(numbered(events))


@pytest.mark.parametrize("site", ["a", "b"])
def test_a_site_that_was_not_watched_is_found(site: str) -> None:
    seen = [one for one in history() if one.get("site") != site or one["t"] < FAULT]
    assert f"site {site} was not watched" in problems(numbered(seen))
    assert f"site {site} was never seen" in problems(numbered(without(history(), site=site)))


def test_events_out_of_order_are_found() -> None:
    events = history()
    events[3], events[4] = events[4], events[3]
    assert "not in the order in which they were numbered" in problems(events)
    assert "not in the order of time" in problems(numbered(events))


def test_a_missing_end_or_event_is_found() -> None:
    assert "no history" in problems(history()[:-1])
    assert "does not end" in problems(numbered([*history()[:-2], history()[-1]]))
    events = history()
    del events[5]
    assert "were written" in problems(events)
    events = [{**event, "seq": seq} for seq, event in enumerate(events)]
    assert "were written" in problems(events)
    assert "no history" in problems([])
    assert judge(["{", ""]).problems


@pytest.mark.parametrize("reported", [[], ["d1", "d2"], ["d1"]])
def test_a_loss_that_is_wrongly_reported_is_found(reported: list[str]) -> None:
    events = history("asynchronous")
    events[-1]["reported"] = reported
    assert "1 are" in problems(events)


def test_what_nobody_wrote_or_what_is_acknowledged_twice_is_found() -> None:
    events = history()
    events[-2]["keys"].append("k9")
    assert "there but never begun: ['k9']" in problems(events)
    events = without(history(), kind="invoke", key="k1")
    assert "ended but never begun: ['k1']" in problems(numbered(events))
    events = history()
    twice = next(one for one in events if one["kind"] == "ack")
    assert "two events ack" in problems(numbered([*events[:-2], twice, *events[-2:]]))


def test_a_hole_in_what_survived_is_found() -> None:
    """WAL is a prefix: a write that began after a lost one's end can not be there."""
    events = history("asynchronous")
    events[-2]["keys"] = ["k1", "k3", "d2"]
    events[-1]["reported"] = ["d1"]
    assert "a write survived that began after a lost one's end: ['d2']" in problems(events)


def test_a_fault_with_no_writes_around_it_proves_nothing() -> None:
    assert "0 faults" in problems(numbered(without(history(), kind="fault")))
    early = [one for one in history() if one["kind"] not in {"invoke", "ack"} or one["t"] > FAULT]
    early[-2]["keys"] = ["k3"]
    assert "before the fault: it proves nothing" in problems(numbered(early))
    late = [one for one in history() if one.get("key") != "k3"]
    late[-2]["keys"] = ["k1", "d1", "d2"]
    assert "after the recovery: it proves nothing" in problems(numbered(late))


def test_the_command_judges_files_without_anything_of_the_project(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    events = history()
    script = [sys.executable, "-I", str(CHECKOUT / "tests" / "faults" / "check_history.py")]
    for keys, code, said in ((["k1", "k3", "d1", "d2"], 0, "sound"), (["k3"], 1, "lost: ['d1'")):
        events[-2]["keys"] = keys
        path.write_text("\n".join(map(json.dumps, events)) + "\n")
        done = subprocess.run([*script, str(path)], capture_output=True, text=True, check=False)
        assert (done.returncode, said in done.stdout) == (code, True), done.stdout
    assert subprocess.run(script, capture_output=True, check=False).returncode == 2
