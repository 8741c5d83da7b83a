"""What the drivers read out of other programs' words: each text was printed by the real one."""

# ruff: noqa: E501

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from orchestrator.drivers.fencing import FencingProof, require
from orchestrator.drivers.pgbackrest import read_verify_report
from orchestrator.model.errors import InfrastructureError, Refused

LISTED = {"20261124-213009F"}
SOUND = """\
2026-11-24 21:30:50.612 P00   INFO: stanza: erp
                                    status: ok
                                      archiveId: 15-1, total WAL checked: 7, total valid WAL: 7
                                        missing: 0, checksum invalid: 0, size invalid: 0, other: 0
                                      backup: 20261124-213009F, status: valid, total files checked: 965, total valid files: 965
                                        missing: 0, checksum invalid: 0, size invalid: 0, other: 0
stanza: erp
status: ok
  archiveId: 15-1, total WAL checked: 7, total valid WAL: 7
    missing: 0, checksum invalid: 0, size invalid: 0, other: 0
  backup: 20261124-213009F, status: valid, total files checked: 965, total valid files: 965
    missing: 0, checksum invalid: 0, size invalid: 0, other: 0
"""
CORRUPT = """\
2026-11-24 21:30:32.669 P01   INFO: invalid checksum '20261124-213009F/pg_data/base/5/2609.zst'
2026-11-24 21:30:46.280 P00   INFO: stanza: erp
                                    status: error
                                      archiveId: 15-1, total WAL checked: 7, total valid WAL: 6
                                        other: 1
                                      backup: 20261124-213009F, status: invalid, total files checked: 965, total valid files: 964
                                        checksum invalid: 1
2026-11-24 21:30:46.281 P00   INFO: verify command end: completed successfully (15233ms)
"""


def test_a_sound_repository_is_sound() -> None:
    result = read_verify_report(2, LISTED, SOUND)
    assert result.is_sound
    assert (result.backups, result.wal_segments) == (1, 7)


def test_corruption_is_seen_although_verify_says_it_completed_successfully() -> None:
    result = read_verify_report(2, LISTED, CORRUPT)
    assert not result.is_sound
    assert "backup 20261124-213009F is invalid" in result.problems
    assert any("pg_data/base/5/2609.zst" in problem for problem in result.problems)
    assert "other: 1" in result.problems


def test_a_repository_without_a_backup_is_not_sound() -> None:
    text = "\n".join(line for line in SOUND.splitlines() if "backup:" not in line)
    assert not read_verify_report(1, set(), text).is_sound


def test_silence_is_no_proof() -> None:
    with pytest.raises(InfrastructureError, match="no report"):
        read_verify_report(
            1, LISTED, "P00   INFO: verify command end: completed successfully (2349ms)\n"
        )


def test_a_fencing_proof_is_about_the_old_primary_or_refused() -> None:
    proof = FencingProof("a", datetime.now(UTC), "machine", {"machine_processes": 0})
    require(proof, "a")
    with pytest.raises(Refused, match="about site a, but the old primary is b"):
        require(proof, "b")


EXPIRED = (
    SOUND
    + """\
  backup: 20261120-100000F, status: manifest missing, total files checked: 0, total valid files: 0
"""
)


def test_the_locked_rest_of_an_expired_backup_is_no_problem_but_a_listed_one_is() -> None:
    assert read_verify_report(2, LISTED, EXPIRED).is_sound
    assert read_verify_report(2, LISTED, EXPIRED).backups == 1
    result = read_verify_report(2, LISTED | {"20261120-100000F"}, EXPIRED)
    assert result.problems == ("backup 20261120-100000F is manifest missing",)


def test_a_listed_backup_that_the_report_leaves_out_is_a_problem() -> None:
    result = read_verify_report(2, LISTED | {"20261121-100000F"}, SOUND)
    assert result.problems == ("backup 20261121-100000F was not verified",)
