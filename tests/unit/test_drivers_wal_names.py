"""Which WAL an archive holds, and what is missing in it."""

from __future__ import annotations

import pytest

from orchestrator.drivers.wal_names import archived_wal, segment_name, segment_number

SUM = "0123456789abcdef0123456789abcdef01234567"
MIB = 1 << 20


def archive(*names: str) -> list[str]:
    return [f"repo/archive/erp/15-1/{name[:16]}/{name}-{SUM}.zst" for name in names]


def test_a_segment_that_is_gone_is_named_also_across_a_log_file() -> None:
    there = archive("0000000200000000000000FE", "000000020000000100000000")
    # Another timeline's, and one that a promotion cut short, stand for nothing.
    there += archive("0000000100000000000000FF")
    there.append(f"repo/archive/erp/15-1/0000000200000000/0000000200000000000000FF.partial-{SUM}")
    wal = archived_wal(there)
    first, last = "0000000200000000000000FE", "000000020000000100000000"
    assert wal.missing(first, last, 16 * MIB) == ("0000000200000000000000FF",)
    assert (
        archived_wal([*there, *archive("0000000200000000000000FF")]).missing(first, last, 16 * MIB)
        == ()
    )


def test_what_an_archive_lacks_of_a_server_is_neither_older_than_it_nor_there() -> None:
    wal = archived_wal(archive("000000010000000000000005", "000000020000000000000008"))
    held = frozenset(f"0000000{name}" for name in ("10000000000000004", "20000000000000008"))
    assert wal.lacking(held) == frozenset()
    gap = {"000000010000000000000006", "000000010000000000000007"}
    assert wal.lacking(held | gap) == gap
    assert archived_wal([]).lacking(held) == frozenset(), "an empty archive begins anew"


def test_the_newest_timeline_is_that_of_a_segment_or_of_a_history_alone() -> None:
    there = archive("000000020000000000000003")
    assert archived_wal(there).newest_timeline == 2
    assert archived_wal([*there, "repo/archive/erp/15-1/0000000A.history"]).newest_timeline == 10
    assert archived_wal(["repo/archive/erp/archive.info"]).newest_timeline == 0


@pytest.mark.parametrize("size", [MIB, 16 * MIB, 1 << 30])
def test_a_name_and_its_number_are_the_same_thing(size: int) -> None:
    for number in (0, 1, (1 << 32) // size, 5 * (1 << 32) // size + 1):
        assert segment_number("00000001" + segment_name(number, size), size) == number
