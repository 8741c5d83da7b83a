"""Which log belongs to which backups, and which of it is missing."""

from __future__ import annotations

from datetime import UTC, datetime

from orchestrator.collect.backup_archive import current_archive, missing_segments
from orchestrator.drivers.pgbackrest import Backup

SIZE = 16 * 2**20
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def backup(start: str, type_: str = "full") -> Backup:
    return Backup(1, start, type_, NOW, NOW, 1, 1, False, "0/0", start, ())


def segments(timeline: int, *numbers: int) -> set[str]:
    return {f"{timeline:08X}00000000{number:08X}" for number in numbers}


def test_the_log_is_counted_from_the_oldest_full_backup_over_timelines() -> None:
    there = frozenset(segments(1, 3, 5, 6, 7) | segments(2, 7, 8, 9))
    fulls = [backup("000000010000000000000005"), backup("000000020000000000000009")]
    assert missing_segments(fulls, there, SIZE) == []
    assert missing_segments([], there, SIZE) == ["0000000000000004"]


def test_a_segment_that_no_timeline_has_is_missing() -> None:
    there = frozenset(segments(1, 5, 6) | segments(2, 8))
    fulls = [backup("000000010000000000000005")]
    assert missing_segments(fulls, there, SIZE) == ["0000000000000007"]
    assert missing_segments(fulls, frozenset(), SIZE) == ["000000010000000000000005"]


def test_a_database_made_anew_has_an_archive_of_its_own() -> None:
    first, second, other = (
        {"id": number, "repo-key": repository} for number, repository in ((1, 1), (2, 1), (1, 2))
    )
    info = {
        "archive": [
            {"id": "15-1", "database": first},
            {"id": "15-2", "database": second},
            {"id": "15-1", "database": other},
        ],
        "backup": [
            {"label": "old", "database": first},
            {"label": "new", "database": second},
            {"label": "there", "database": other},
        ],
    }
    assert current_archive(info, 1) == ("15-2", frozenset({"new"}))
    assert current_archive(info, 2) == ("15-1", frozenset({"there"}))
    assert current_archive({}, 1) == ("", frozenset())
