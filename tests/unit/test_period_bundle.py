"""The bundle of an environment over a period: what is in it, and that it is complete."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import period_samples as samples
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from period_samples import (
    ABSENT,
    DECEMBER,
    FAILED,
    MISSED,
    NOW,
    OCTOBER,
    PASSED,
    REMOVED,
    SINCE,
    SLOTS,
    UNFINISHED,
    UNTIL,
    Made,
)
from run_samples import REDERIVE, Sample, write_plan, write_result

from orchestrator.evidence import LocalSigner, Trust
from orchestrator.evidence.bundle import PackageError
from orchestrator.evidence.period import stored
from orchestrator.evidence.period.record import period_from_state, period_of
from orchestrator.evidence.period.verify import verify_period
from orchestrator.model.errors import InfrastructureError, InputError

FOUR_DAYS = timedelta(days=4)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    signer = LocalSigner(Ed25519PrivateKey.generate())
    return samples.make(tmp_path_factory.mktemp("state"), signer)


def check(made: Made, file: Path, processes: int = 1):
    return verify_period(file, Trust.of([made.signer.public_key]), REDERIVE, processes=processes)


def test_it_is_a_zip_of_the_whole_log_and_every_run_of_the_period(
    made: Made, tmp_path: Path
) -> None:
    with zipfile.ZipFile(made.export(tmp_path / "period.zip")) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        runs = {name: archive.read(name) for name in names if name.startswith("runs/")}
        manifest = json.loads(archive.read("manifest.json"))
        assert (
            archive.read("log/checkpoint")
            == (made.state / "evidence/log/local/checkpoint").read_bytes()
        )
    assert names == [
        "log/checkpoint",
        "log/tile/0/000.p/16",
        "log/tile/entries/000.p/16",
        f"plans/{UNFINISHED}.dsse.json",
        *(f"runs/{run_id}.zip" for run_id in sorted((PASSED, FAILED, MISSED))),
        names[-3],
        "manifest.json",
        "manifest.dsse.json",
    ]
    assert names[-3].startswith("schedules/")
    for run_id in (PASSED, FAILED, MISSED):
        own = (made.state / "evidence/bundles" / f"{run_id}.zip").read_bytes()
        assert runs[f"runs/{run_id}.zip"] == own, "byte for byte"
    assert (manifest["runs"], manifest["unfinished"]) == ([PASSED, FAILED, MISSED], [UNFINISHED])
    assert len(manifest["files"]) == len(names) - 2


def test_the_same_log_gives_the_same_bytes(made: Made, tmp_path: Path) -> None:
    one, two = made.export(tmp_path / "one.zip"), made.export(tmp_path / "two.zip")
    assert one.read_bytes() == two.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.zip", "two.zip"]


def test_its_summary_counts_runs_by_verdict_and_names_what_is_open_or_not_there(
    made: Made, tmp_path: Path
) -> None:
    found = check(made, made.export(tmp_path / "period.zip"))
    assert found.status == "INCOMPLETE"
    summary = found.summary
    assert summary["verdicts"] == {"fail": 1, "missed": 1, "pass": 1}
    assert [(row["run_id"], row["verdict"]) for row in summary["runs"]] == [
        (PASSED, "pass"),
        (FAILED, "fail"),
        (MISSED, "missed"),
    ]
    assert [row["run_id"] for row in summary["unfinished"]] == [UNFINISHED]
    assert summary["unfinished"][0]["drill"] == "failover"
    assert summary["missing"] == [
        {"run_id": ABSENT, "drill": "backup", "due_at": "2026-11-24T03:00:00.000Z"}
    ]


def test_a_period_from_which_nothing_is_missing_is_valid_whatever_its_runs_came_to(
    made: Made, tmp_path: Path
) -> None:
    """A failed drill is no fault of its evidence; an unfinished one is shown, not hidden."""
    out = made.export(tmp_path / "period.zip", SINCE, datetime(2026, 11, 24, tzinfo=UTC))
    found = check(made, out)
    assert (found.status, found.problems) == ("VALID", ())
    assert len(found.summary["unfinished"]) == 1


@pytest.mark.parametrize(("shift", "counted"), [(0, 0), (1, 1)])
def test_a_run_is_missing_from_the_period_in_which_its_time_was_over(
    made: Made, tmp_path: Path, shift: int, counted: int
) -> None:
    latest = SLOTS[3].latest
    until = latest + timedelta(milliseconds=shift)
    before = made.export(tmp_path / "before.zip", SINCE, until)
    after = made.export(tmp_path / "after.zip", until, UNTIL)
    assert len(check(made, before).summary["missing"]) == counted
    assert len(check(made, after).summary["missing"]) == 1 - counted


def test_a_run_belongs_to_the_period_in_which_its_plan_was_logged(
    made: Made, tmp_path: Path
) -> None:
    planned = SLOTS[1].start - timedelta(milliseconds=500)
    until = made.export(tmp_path / "until.zip", SINCE, planned)
    since = made.export(tmp_path / "since.zip", planned, UNTIL)
    assert list(period_of(until).runs) == [PASSED]
    assert list(period_of(since).runs) == [FAILED, MISSED]


def test_a_period_without_a_run_is_valid_and_says_so(made: Made, tmp_path: Path) -> None:
    out = made.export(tmp_path / "none.zip", SINCE - timedelta(days=90), SINCE - FOUR_DAYS)
    found = check(made, out)
    assert (found.status, found.summary["runs"]) == ("VALID", [])


def with_removed(folder: Path, *said: tuple[bool, datetime]) -> Made:
    """A state with a run of September that was removed, after holds and releases of it."""
    made = Made(folder, LocalSigner(Ed25519PrivateKey.generate()))
    samples.finished(made, samples.september())
    for is_held, at in said:
        samples.hold(made, REMOVED, held=is_held, at=at)
    samples.bury(made, samples.september())
    return made


def test_a_removed_run_is_in_the_period_by_its_tombstone(tmp_path: Path) -> None:
    made = with_removed(tmp_path / "state")
    out = made.export(tmp_path / "period.zip", SINCE - timedelta(days=60), SINCE)
    found = check(made, out)
    assert (found.status, found.problems) == ("VALID", ())
    assert found.summary["runs"] == []
    assert found.summary["removed"] == [
        {
            **{"run_id": REMOVED, "drill": "restore", "verdict": "pass", "evidence_days": 100},
            **{"started_at": "2026-09-30T09:00:00.000Z", "ended_at": "2026-09-30T09:02:00.000Z"},
            **{"bundle": "ab" * 32, "removed_by": "operator-1", "entry": 3},
            "removed_at": "2027-02-01T00:00:00.000Z",
        }
    ]
    (one,) = period_of(out).removed
    assert (one.run_id, one.drill) == (REMOVED, "restore")
    assert period_from_state(made.state, "local", SINCE - timedelta(days=60), SINCE).removed == (
        one,
    )
    later = check(made, made.export(tmp_path / "later.zip", SINCE, UNTIL))
    assert (later.status, later.summary["removed"]) == ("VALID", [])


def test_the_release_of_a_removed_run_comes_with_its_tombstone(tmp_path: Path) -> None:
    october, november = SINCE - FOUR_DAYS, SINCE + FOUR_DAYS
    made = with_removed(tmp_path / "state", (True, october), (False, november))
    out = made.export(tmp_path / "period.zip", SINCE - timedelta(days=60), SINCE)
    with zipfile.ZipFile(out) as archive:
        (path,) = [one for one in archive.namelist() if one.startswith("statements/")]
        assert json.loads(archive.read(path))["signatures"]
    assert check(made, out).status == "VALID"


def test_several_processes_give_the_same_answer(made: Made, tmp_path: Path) -> None:
    out = made.export(tmp_path / "period.zip")
    assert check(made, out, processes=3).to_json() == check(made, out).to_json()


def test_the_value_for_reports_is_the_same_from_the_bundle_and_from_the_state(
    made: Made, tmp_path: Path
) -> None:
    one = period_of(made.export(tmp_path / "period.zip"))
    two = period_from_state(made.state, "local", SINCE, UNTIL)
    assert list(one.runs) == list(two.runs) == [PASSED, FAILED, MISSED]
    for run_id in one.runs:
        assert one.runs[run_id] == two.runs[run_id]
    assert replace(one, runs={}) == replace(two, runs={})
    assert (one.environment, one.log_size) == ("local", 16)
    assert [run.run_id for run in one.unfinished] == [UNFINISHED]
    assert [(due.run_id, due.due_at) for due in one.missing] == [(ABSENT, SLOTS[3].start)]
    assert [record["operator"] for record in one.schedules] == ["operator-1"]
    assert OCTOBER not in one.runs and DECEMBER not in one.runs


def test_a_schedule_counts_in_the_periods_in_which_it_was_in_force(made: Made) -> None:
    before = period_from_state(made.state, "local", SINCE - timedelta(days=9), SINCE)
    assert before.schedules == ()
    after = period_from_state(made.state, "local", UNTIL, NOW)
    assert len(after.schedules) == 1


@pytest.mark.parametrize(
    ("since", "until", "said"),
    [
        (UNTIL, SINCE, "--from before --to"),
        (SINCE, SINCE, "--from before --to"),
        (SINCE, NOW + timedelta(seconds=1), "not over"),
    ],
)
def test_what_is_no_period_is_refused(
    made: Made, tmp_path: Path, since: datetime, until: datetime, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        made.export(tmp_path / "period.zip", since, until)
    assert list(tmp_path.iterdir()) == []


def test_an_environment_without_a_log_is_refused(made: Made, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no evidence log of 'other'"):
        made.store().export_period("other", SINCE, UNTIL, tmp_path / "period.zip")


def small(folder: Path, count: int = 2) -> Made:
    """A state of a few backups, one a day."""
    made = Made(folder, LocalSigner(Ed25519PrivateKey.generate()))
    for number in range(count):
        started_at = SINCE + timedelta(days=number, hours=3)
        sample = Sample(drill="backup", run_id=f"backup-{number:04d}", started_at=started_at)
        samples.finished(made, sample)
    return made


def test_a_run_whose_bundle_is_gone_or_is_another_leaves_what_was_there(tmp_path: Path) -> None:
    made = small(tmp_path / "state")
    out = made.export(tmp_path / "period.zip")
    before = out.read_bytes()
    one, two = (made.state / "evidence/bundles" / f"backup-000{n}.zip" for n in (0, 1))
    other = two.read_bytes()
    one.unlink()
    with pytest.raises(InputError, match="no bundle of backup-0000"):
        made.export(out)
    for content, said in ((other, "not what was logged"), (b"PK", "is no bundle")):
        one.write_bytes(content)
        with pytest.raises(InputError, match=said):
            made.export(out)
    assert out.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["period.zip", "state"]


def test_an_interrupted_export_leaves_nothing(tmp_path: Path) -> None:
    made = small(tmp_path / "state")

    def interrupt(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made.store().export_period("local", SINCE, UNTIL, tmp_path / "period.zip", interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_a_damaged_log_is_not_exported(tmp_path: Path) -> None:
    made = small(tmp_path / "state")
    tile = next((made.state / "evidence/log/local/tile/entries").rglob("*/*"))
    tile.write_bytes(tile.read_bytes().replace(b"backup-0000", b"backup-0009"))
    with pytest.raises(InfrastructureError, match="does not hold"):
        made.export(tmp_path / "period.zip")


def test_what_is_no_bundle_of_a_period_is_no_value_for_reports(made: Made, tmp_path: Path) -> None:
    run = made.state / "evidence/bundles" / f"{PASSED}.zip"
    for file in (run, tmp_path / "none.zip"):
        with pytest.raises(InputError, match=file.name):
            period_of(file)


def test_an_archive_is_what_any_reader_of_zips_takes_it_for(tmp_path: Path) -> None:
    files = {"a": b"", "b/c": b"x" * 100_000, "b/ü": "ü".encode()}
    with stored.written(tmp_path / "one.zip") as archive:
        for name, content in files.items():
            archive.add(name, content)
    with zipfile.ZipFile(tmp_path / "one.zip") as read:
        assert read.testzip() is None
        assert {name: read.read(name) for name in read.namelist()} == files
        assert {info.compress_type for info in read.infolist()} == {zipfile.ZIP_STORED}
    opened = stored.opened(tmp_path / "one.zip")
    assert {name: opened.read(name, 2**20) for name in opened.members} == files
    with pytest.raises(PackageError, match="over the limits"):
        opened.read("b/c", 99_999)
    torn = bytearray((tmp_path / "one.zip").read_bytes())
    torn[opened.members["b/c"].start] ^= 1
    (tmp_path / "one.zip").write_bytes(torn)
    with pytest.raises(PackageError, match="is damaged"):
        stored.opened(tmp_path / "one.zip").read("b/c", 2**20)


def test_an_archive_that_a_zip_cannot_hold_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "MOST_MEMBERS", 2)
    with (
        pytest.raises(InputError, match="more than 2 files"),
        stored.written(tmp_path / "one.zip") as archive,
    ):
        for name in "abc":
            archive.add(name, b"")
    assert list(tmp_path.iterdir()) == []


_SPREAD = """\
import os, signal
from orchestrator.evidence.period import parallel
from orchestrator.model.errors import InfrastructureError
def square(number):
    if number == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number
assert sorted(parallel.spread(square, [1, 2, 3, 4, 5], 3)) == [1, 4, 9, 16, 25]
assert list(parallel.spread(square, [], 3)) == []
try:
    list(parallel.spread(square, [1, 7, 2], 2))
except InfrastructureError as error:
    print(error.what)
"""


def test_work_is_spread_and_a_process_that_dies_is_said() -> None:
    """In a process of its own: where there are threads, as here, nothing is forked."""
    done = subprocess.run(
        [sys.executable, "-c", _SPREAD],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "ended by itself" in done.stdout


# A process in the background of a shell starts with SIGINT ignored.
_SLOW = """\
import os, signal, sys, time
from orchestrator.evidence.period import parallel
signal.signal(signal.SIGINT, signal.default_int_handler)
def work(number):
    os.write(1, b"began\\n")
    time.sleep(float(sys.argv[1]))
list(parallel.spread(work, [1, 2], 2))
"""


@pytest.mark.parametrize(("sent", "seconds"), [(signal.SIGINT, 60), (signal.SIGKILL, 2)])
def test_nothing_is_left_when_the_verification_is_interrupted_or_killed(
    sent: int, seconds: int
) -> None:
    """Killed, its processes end with what they work on: nobody is there to end them sooner."""
    parent = subprocess.Popen(
        [sys.executable, "-c", _SLOW, str(seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=Path(__file__).parents[2],
    )
    assert parent.stdout is not None
    assert [parent.stdout.readline() for _ in range(2)] == ["began\n"] * 2
    parent.send_signal(sent)
    assert parent.wait(timeout=20) != 0
    for _ in range(100):
        if _group_is_gone(parent.pid):
            break
        time.sleep(0.1)
    assert _group_is_gone(parent.pid)


def _group_is_gone(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def large(folder: Path, count: int, size_bytes: int) -> Made:
    """A state of runs with so much incompressible raw data each."""
    made = Made(folder, LocalSigner(Ed25519PrivateKey.generate()))
    noise = os.urandom(size_bytes)
    for number in range(count):
        started_at = SINCE + timedelta(hours=3 + number)
        sample = Sample(drill="backup", run_id=f"backup-{number:04d}", started_at=started_at)
        run_dir = made.state / "runs" / sample.run_id
        write_plan(run_dir, sample)
        made.store(started_at - timedelta(milliseconds=500)).record_plan(run_dir)
        write_result(run_dir, sample)
        (run_dir / "raw/noise.bin").write_bytes(noise)
        made.store(started_at + timedelta(minutes=5)).record_run(run_dir)
        made.store().export(run_dir, made.state / f"evidence/bundles/{sample.run_id}.zip")
    (made.state / "evidence.pub").write_text(made.signer.public_key_pem())
    return made


_PEAK = """\
import sys
from pathlib import Path
from orchestrator.cli.verify import rederive
from orchestrator.evidence.trust import file as trust_file
from orchestrator.evidence.period.record import period_of
from orchestrator.evidence.period.verify import verify_period
file, key = map(Path, sys.argv[1:3])
if sys.argv[3] == "verify":
    found = verify_period(file, trust_file.load([key]), rederive(), processes=1)
    assert found.status == "VALID", found
else:
    assert all(period_of(file).runs.values())
# Not ru_maxrss: that begins with what the parent had.
print(next(one.split()[1] for one in open("/proc/self/status") if one.startswith("VmHWM")))
"""


def peak_kib(made: Made, out: Path, what: str) -> int:
    """The peak memory of a process that verifies or reads the bundle (KiB)."""
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, made.export(out), made.state / "evidence.pub", what],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
        cwd=Path(__file__).parents[2],
    )
    return int(done.stdout)


def test_memory_does_not_grow_with_the_number_of_runs(tmp_path: Path) -> None:
    few, many, mib = 2, 8, 2**20
    less = large(tmp_path / "few", few, 8 * mib)
    more = large(tmp_path / "many", many, 8 * mib)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for what in ("verify", "read"):
        peaks = [peak_kib(made, tmp_path / "period.zip", what) for made in (less, more)]
        assert peaks[1] < peaks[0] + 16 * 1024, f"more than one run is in memory: {what}"
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (tmp_path / "period.zip").stat().st_size > many * 8 * mib
    assert after < before + 32 * 1024, "more than one run is in memory when it is written"
