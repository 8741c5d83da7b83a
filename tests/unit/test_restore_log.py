"""What pgBackRest says that it restored, and what it found in place."""

from __future__ import annotations

from pathlib import Path

from orchestrator.drivers.twin_database import read_restore_log

_LOG = """\
2026-11-28 08:00:00.000 P00   INFO: restore backup set 20261128-080000F, recovery will start
2026-11-28 08:00:00.100 P01 DETAIL: restore file /d/base/1/16384 - exists and matches backup \
(1GB, 50.00%) checksum 0123456789012345678901234567890123456789
2026-11-28 08:00:00.200 P02 DETAIL: restore file /d/base/1/16385 (1.5MB, 99.95%) checksum \
0123456789012345678901234567890123456789
2026-11-28 08:00:00.300 P01 DETAIL: restore file /d/base/1/16390 (0B, 99.95%)
2026-11-28 08:00:00.400 P00 DETAIL: sync path '/d/base'
2026-11-28 08:00:00.400 P01 DETAIL: restore file /d/base/1/2 (bundle 1/544, 8KB, 99.95%) checksum \
0123456789012345678901234567890123456789
2026-11-28 08:00:00.400 P01 DETAIL: restore file /d/base/1/3 - exists and is zero size (0B, 99.95%)
2026-11-28 08:00:00.400 P01 DETAIL: restore file /d/global/pg_control.pgbackrest.tmp (8KB, 100%)
2026-11-28 08:00:00.500 P00   INFO: restore size = 1GB, file total = 4
"""


def test_fetched_files_are_told_from_those_that_were_there() -> None:
    fetched, present = read_restore_log(_LOG)
    assert present == [Path("/d/base/1/16384"), Path("/d/base/1/3")]
    names = ("base/1/16385", "base/1/16390", "base/1/2", "global/pg_control")
    assert fetched == [Path("/d") / name for name in names]


def test_no_log_is_no_file() -> None:
    assert read_restore_log("") == ([], [])
