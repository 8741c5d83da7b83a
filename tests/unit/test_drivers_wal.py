"""What is read of archived WAL: segments of several timelines, and the commits in them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.drivers import twin_wal
from orchestrator.drivers.process import Finished
from orchestrator.drivers.twin_wal import archived_commits
from orchestrator.model.errors import InfrastructureError

_HISTORY = "1\t0/6000028\tno recovery target specified\n\n2\t0/80000A0\tno recovery target\n"
_DUMP = """\
rmgr: Transaction len (rec/tot):     34/    34, tx:        740, lsn: 0/04000028, prev 0/03FFFFD8, \
desc: COMMIT 2026-11-25 16:08:04.000001 UTC
rmgr: Transaction len (rec/tot):     82/    82, tx:        741, lsn: 0/06000060, prev 0/06000028, \
desc: COMMIT 2026-11-25 16:08:05.000000 UTC; rels: base/1/2; inval msgs: catcache 1
rmgr: Transaction len (rec/tot):     34/    34, tx:        742, lsn: 0/06000100, prev 0/06000060, \
desc: ABORT 2026-11-25 16:08:06.000000 UTC
rmgr: Transaction len (rec/tot):     34/    34, tx:        743, lsn: 0/08000200, prev 0/06000100, \
desc: COMMIT 2026-11-25 16:08:07.000000 UTC
rmgr: XLOG        len (rec/tot):     24/    24, tx:          0, lsn: 0/08000300, prev 0/08000200, \
desc: SWITCH 
"""  # noqa: W291


class _Archive:
    """An archive that notes what is asked of it; every history is that of timeline 3."""

    def __init__(self) -> None:
        self.asked: dict[str, str] = {}

    def fetch_archived(self, name: str, target: Path, **_: Any) -> None:
        self.asked[name] = target.name
        target.write_text(_HISTORY)


def _database(folder: Path, archive: _Archive) -> Any:
    return SimpleNamespace(
        twin=SimpleNamespace(directory=folder),
        wal_directory=folder / "wal",
        site=SimpleNamespace(machine=SimpleNamespace(service_user=None)),
        bin_directory=folder,
        archive=lambda: archive,
        segment_bytes=lambda: 1 << 24,
    )


def _commits(folder: Path, archive: _Archive, until: str) -> tuple[str, ...]:
    found = archived_commits(
        _database(folder, archive),
        after_lsn="0/5000000",
        until_lsn=until,
        first_wal="000000010000000000000005",
        last_wal="000000030000000000000008",
        timeout_seconds=1,
    )
    return tuple(commit.xid for commit in found)


@pytest.fixture(autouse=True)
def dump(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twin_wal, "own", lambda *_: None)
    monkeypatch.setattr(twin_wal, "run", lambda *_, **__: Finished((), 1, _DUMP, ""))


def test_segments_come_from_the_timeline_that_a_recovery_would_take(tmp_path: Path) -> None:
    archive = _Archive()
    assert _commits(tmp_path, archive, "0/8000300") == ("741", "743")
    assert set(archive.asked) == {
        "000000010000000000000005",
        "00000002.history",
        "000000020000000000000006",
        "000000020000000000000007",
        "00000003.history",
        "000000030000000000000008",
    }
    assert sorted(path.name for path in (tmp_path / "wal" / "read").iterdir()) == [
        f"00000003000000000000000{number}" for number in (5, 6, 7, 8)
    ]
    assert _commits(tmp_path, archive, "0/8000200") == ("741",)


def test_wal_that_ends_too_early_is_no_list_of_commits(tmp_path: Path) -> None:
    with pytest.raises(InfrastructureError, match="ends at 0/08000300, before 0/8000301"):
        _commits(tmp_path, _Archive(), "0/8000301")
