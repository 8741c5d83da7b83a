"""When drills are due, and that one which never ran is found by whoever has the log."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engine.worker import Pauses
from orchestrator.evidence import EvidenceStore, LocalSigner
from orchestrator.evidence.audit import audit
from orchestrator.model.errors import InputError
from orchestrator.model.folders import data_folder
from orchestrator.model.schedule import applied, expected, parse_schedule, slots

MONDAY = datetime(2026, 11, 23, tzinfo=UTC)
TITLE = "schema: anlan.schedule/v1\ntitle: {en: a, zh: 甲}\n"


def schedule(*lines: str, rest: str = "") -> dict[str, Any]:
    entries = "".join(f"  - {{{line}}}\n" for line in lines)
    return parse_schedule(f"{TITLE}entries:\n{entries}{rest}")


def record(found: dict[str, Any], tier: str = "VIP", at: datetime = MONDAY) -> dict[str, Any]:
    return applied(found, "local", tier, "someone", at)


def test_a_tier_has_its_own_cadence() -> None:
    text = (data_folder("drills") / "schedules" / "standard.yaml").read_text()
    month = MONDAY + timedelta(days=30)
    counts = {}
    for tier in ("VIP", "standard"):
        due = [one for one in slots(record(parse_schedule(text), tier), MONDAY, month)]
        counts[tier] = sum(one.entry == "failover" for one in due)
    assert counts == {"VIP": 4, "standard": 1}


def test_cron_lines_are_in_the_schedules_time_zone() -> None:
    found = schedule('id: a, drill: backup, cron: "0 3 * * *"', rest="timezone: Asia/Shanghai\n")
    (one,) = slots(record(found), MONDAY, MONDAY + timedelta(days=1))
    assert one.at == datetime(2026, 11, 23, 19, tzinfo=UTC)


def test_what_lies_in_a_blackout_is_not_due() -> None:
    rest = (
        "blackouts:\n  - {from: '2026-11-24T00:00:00Z', until: '2026-11-26T03:00:00Z', reason: x}\n"
    )
    found = schedule('id: a, drill: backup, cron: "0 3 * * *"', rest=rest)
    due = [one.at.day for one in slots(record(found), MONDAY, MONDAY + timedelta(days=5))]
    assert due == [23, 26, 27]


@given(st.integers(1, 1440), st.integers(0, 10**8))
def test_jitter_stays_within_its_bound_and_is_the_same_for_everyone(
    jitter: int, seconds: int
) -> None:
    line = f'id: a, drill: backup, cron: "0 3 * * *", jitter_minutes: {jitter}'
    begin = MONDAY + timedelta(seconds=seconds)
    until = begin + timedelta(days=3)
    due = list(slots(record(schedule(line)), begin, until))
    assert len(due) == 3
    assert due == list(slots(record(schedule(line)), begin, until))
    assert all(0 <= (one.start - one.at).total_seconds() <= jitter * 60 for one in due)
    assert len({one.run_id for one in due}) == 3


def test_each_schedule_is_in_force_until_the_next() -> None:
    daily = record(schedule('id: a, drill: backup, cron: "0 3 * * *"'))
    later = MONDAY + timedelta(days=2)
    hourly = record(schedule('id: b, drill: readiness, cron: "0 * * * *"'), at=later)
    due = list(expected([daily, hourly], MONDAY, MONDAY + timedelta(days=3)))
    assert [one.entry for one in due] == ["a", "a", *["b"] * 24]


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ('id: a, drill: backup, cron: "* * * * *"', "$.entries[0].cron"),
        ('id: a, drill: backup, cron: "0 0 31 2 *"', "$.entries[0].cron"),
        ('id: a, drill: backup, cron: "0 3 * * * *"', "$.entries[0].cron"),
        ('id: a, drill: backup, cron: {VIP: "0 3 * * 6"}', "$.entries[0].cron"),
        ('id: A, drill: backup, cron: "0 3 * * 6"', "$.entries[0].id"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused_by_its_path(line: str, path: str) -> None:
    with pytest.raises(InputError) as refused:
        schedule(line)
    assert refused.value.path == path


def test_an_id_used_twice_an_unknown_zone_and_an_empty_blackout_are_refused() -> None:
    line = 'id: a, drill: backup, cron: "0 3 * * 6"'
    span = "{from: '2026-11-24T00:00:00Z', until: '2026-11-23T00:00:00Z', reason: x}"
    for lines, rest, path in (
        ((line, line), "", "$.entries[1].id"),
        ((line,), "timezone: Mars/Olympus\n", "$.timezone"),
        ((line,), f"blackouts:\n  - {span}\n", "$.blackouts[0]"),
    ):
        with pytest.raises(InputError) as refused:
            schedule(*lines, rest=rest)
        assert refused.value.path == path


def test_a_due_run_that_the_log_does_not_hold_is_found_by_an_auditor(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    trust = [key.public_key()]
    store = EvidenceStore(tmp_path, LocalSigner(key))
    line = 'id: a, drill: backup, cron: "0 * * * *", start_within_minutes: 10'
    # A moment before the log's time counts as said; one after it would hide what was due.
    ago = datetime.now(UTC) - timedelta(hours=5)
    entry = store.record_schedule(record(schedule(line), at=ago))
    assert store.record_schedule(record(schedule(line), at=ago)) == entry
    found = audit(tmp_path, "local", trust)
    assert found.status == "INCOMPLETE"
    assert {problem.code for problem in found.problems} == {"missing-scheduled-run"}
    assert len(found.problems) in {4, 5}

    (file,) = (tmp_path / "evidence" / "schedules").iterdir()
    kept = file.read_bytes()
    for content in (kept.replace(b"a", b"b", 3), None):
        file.write_bytes(content) if content else file.unlink()
        broken = audit(tmp_path, "local", trust)
        assert broken.status == "INVALID"
        assert [problem.code for problem in broken.problems] == ["bad-schedule"]
    file.write_bytes(kept)
    assert audit(tmp_path, "local", [Ed25519PrivateKey.generate().public_key()]).status == "INVALID"


def test_a_pause_ends_by_itself(tmp_path: Path) -> None:
    pauses = Pauses(tmp_path, "local")
    assert pauses.reason("a", MONDAY) == ""
    until = "2026-11-24T00:00:00.000Z"
    pauses.write({"a": {"by": "me", "reason": "x", "since": "…", "until": until}})
    assert "paused by me" in pauses.reason("a", MONDAY)
    assert pauses.reason("a", MONDAY + timedelta(days=1)) == ""
    assert pauses.reason("b", MONDAY) == ""
