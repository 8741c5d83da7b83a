"""A partition: what one site alone had is counted, and a broken promise is found out."""

from __future__ import annotations

from typing import Any

from orchestrator.verdict import derive
from tests.unit.test_verdict import S, good, plan


def cut(*marks: tuple[str, int]) -> dict[str, Any]:
    """A run whose line was cut at 10 s, with these marks (name, seconds) after it."""
    raw = good()
    raw["steps"] += [{"kind": "mark", "name": name, "t": second * S} for name, second in marks]
    return raw


def write(raw: dict[str, Any], key: str, sent: int, acknowledged: int) -> None:
    raw["ledger"].append({"kind": "sent", "t": sent * S, "key": key})
    raw["ledger"].append({"kind": "acknowledged", "t": acknowledged * S, "key": key})
    raw["recovered"]["keys"].append(key)


def checks(raw: dict[str, Any]) -> dict[str, tuple[bool | None, str]]:
    return {one["name"]: (one["ok"], one["detail"]) for one in derive(plan(), raw)["checks"]}


def test_the_time_alone_is_counted_from_both_journals() -> None:
    raw = cut(("exposed", 12), ("protected", 16))
    write(raw, "waited", 11, 13)
    write(raw, "alone", 14, 15)
    write(raw, "again", 17, 18)
    seen = checks(raw)
    assert seen["promise_kept"][0] is True
    ok, detail = seen["exposure_ended"]
    assert ok is True
    assert detail.startswith("for 4.00 s")
    # The sample's own key is acknowledged at 13 s, and its ERP write at 12.5 s.
    assert "3 ledger transactions and 1 ERP writes" in detail
    assert derive(plan(), raw)["verdict"] == "pass"


def test_a_write_that_was_acknowledged_without_the_standby_fails() -> None:
    raw = cut(("exposed", 13), ("protected", 16))
    write(raw, "early", 11, 12)
    write(raw, "alone", 14, 15)
    assert checks(raw)["promise_kept"] == (
        False,
        "1 keys sent after the cut were acknowledged before the primary was alone",
    )
    assert derive(plan(), raw)["verdict"] == "fail"


def test_an_exposure_that_did_not_end_fails_and_one_without_writes_leaves_doubt() -> None:
    raw = cut(("exposed", 13))
    write(raw, "alone", 14, 15)
    assert checks(raw)["exposure_ended"][0] is False
    raw = cut(("exposed", 14), ("protected", 16))
    assert checks(raw)["exposure_ended"][0] is None


def test_a_failover_has_no_exposure() -> None:
    assert not {"promise_kept", "exposure_ended"} & checks(good()).keys()


def test_a_primary_that_never_waits_makes_no_promise_and_is_exposed_at_once() -> None:
    raw = cut(("protected", 16))
    raw["steps"].append({"kind": "mark", "name": "exposed", "t": 10 * S + 1000})
    write(raw, "alone", 14, 15)
    seen = checks(raw)
    assert "promise_kept" not in seen
    assert seen["exposure_ended"][1].startswith("for 6.00 s")
