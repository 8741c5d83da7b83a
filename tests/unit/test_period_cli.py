"""`anlan evidence export --environment`, and `verify` of what it wrote, as a user calls them.

The environment's secret manager is no server here: a key of the test signs in its place.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import period_samples as samples
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from period_samples import ABSENT, FAILED, MISSED, PASSED, REMOVED, UNFINISHED, Made
from test_evidence_cli import Done, anlan

from orchestrator.evidence import LocalSigner
from tests.standalone import Twin

NOVEMBER = ("--from", "2026-11-01", "--to", "2026-12-01")
EXPORT = ("evidence", "export", "--environment", "local")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    made = samples.make(tmp_path_factory.mktemp("state"), LocalSigner(Ed25519PrivateKey.generate()))
    (made.state / "evidence.pub").write_text(made.signer.public_key_pem())
    return made


@pytest.fixture(autouse=True)
def signed_here(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.cli.common.find_environment", lambda name: name)
    monkeypatch.setattr("orchestrator.drivers.secrets.Secrets", lambda environment: environment)
    monkeypatch.setattr(
        "orchestrator.engine.evidence.evidence_store",
        lambda state, environment, secrets, *_: Made(state, made.signer).store(),
    )
    monkeypatch.setattr("orchestrator.evidence.tlog.log.utc_now", lambda: samples.NOW)


@pytest.fixture
def handed_over(made: Made, tmp_path: Path) -> Path:
    """A folder with the period's bundle and the key."""
    done = anlan(*EXPORT, *NOVEMBER, "--out", tmp_path / "november.zip", state=made.state)
    assert done.returncode == 0, done.stderr
    shutil.copy(made.state / "evidence.pub", tmp_path)
    return tmp_path


def verify(folder: Path, *options: str | Path) -> Done:
    return anlan(
        "evidence", "verify", "november.zip", "--trust", "evidence.pub", *options, cwd=folder
    )


def test_export_says_what_is_in_it(made: Made, tmp_path: Path) -> None:
    done = anlan(*EXPORT, *NOVEMBER, state=made.state, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    name, counted = done.stdout.splitlines()
    assert (tmp_path / name).is_file()
    assert name == "local-2026-11-01-2026-12-01.zip"
    assert counted == "  3 finished and 1 unfinished runs, a log of 16 entries"
    done = anlan(*EXPORT, *NOVEMBER, "--out", tmp_path, "--json", state=made.state)
    said = json.loads(done.stdout)
    assert said["runs"] == [PASSED, FAILED, MISSED]
    assert said["unfinished"] == [UNFINISHED]
    assert said["size_bytes"] == (tmp_path / name).stat().st_size


def test_a_bundle_of_a_run_that_is_missing_is_made_again(made: Made, tmp_path: Path) -> None:
    state = tmp_path / "state"
    shutil.copytree(made.state, state)
    bundle = state / "evidence/bundles" / f"{FAILED}.zip"
    before = bundle.read_bytes()
    bundle.unlink()
    done = anlan(*EXPORT, *NOVEMBER, "--out", tmp_path, state=state)
    assert done.returncode == 0, done.stderr
    assert bundle.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["export"], "name a run"),
        (["export", PASSED, "--environment", "local"], "name a run"),
        (["export", PASSED, "--from", "2026-11-01"], "go with --environment"),
        (["export", "--environment", "local"], "needs --from and --to"),
        (["export", "--environment", "local", "--from", "soon", "--to", "2026-12-01"], "no time"),
        (["export", "--environment", "other", *NOVEMBER], "no evidence log of 'other'"),
        (
            ["export", "--environment", "local", "--from", "2026-12-01", "--to", "2026-11-01"],
            "--from before --to",
        ),
        (
            ["export", "--environment", "local", "--from", "2026-12-01", "--to", "2027-01-01"],
            "not over",
        ),
    ],
)
def test_what_cannot_be_exported_ends_with_2_and_says_why(
    made: Made, tmp_path: Path, arguments: list[str], said: str
) -> None:
    done = anlan("evidence", *arguments, state=made.state, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_verify_shows_what_the_period_came_to(handed_over: Path) -> None:
    done = verify(handed_over, "--environment", "local", *NOVEMBER)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("INCOMPLETE  november.zip")
    for line in (
        "missing-scheduled-run",
        "3 finished, 1 unfinished, 1 due and not there",
        "1 ✘ fail, 1 · missed, 1 ✔ pass  (derived again)",
        f"unfinished   {UNFINISHED}: failover, planned 2026-11-20T08:59:59.500Z",
        f"missing      {ABSENT}: backup, due 2026-11-24T03:00:00.000Z",
        f"fail         {FAILED}: backup",
        f"missed       {MISSED}: backup",
    ):
        assert line in done.stdout


def test_a_run_that_was_removed_is_said_when_handing_over_and_when_verifying(
    made: Made, tmp_path: Path
) -> None:
    autumn = Made(tmp_path / "state", made.signer)
    samples.finished(autumn, samples.september())
    samples.bury(autumn, samples.september())
    (tmp_path / "evidence.pub").write_text(made.signer.public_key_pem())
    september = ("--from", "2026-09-01", "--to", "2026-10-01")
    export = (*EXPORT, *september, "--out", tmp_path / "november.zip")
    done = anlan(*export, state=autumn.state)
    assert done.stdout.splitlines()[1:] == [
        "  0 finished and 0 unfinished runs, 1 removed, a log of 4 entries"
    ]
    assert json.loads(anlan(*export, "--json", state=autumn.state).stdout)["removed"] == [REMOVED]
    done = verify(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "0 due and not there, 1 removed" in done.stdout
    assert f"removed      {REMOVED}: restore, 2026-09-30T09:00:00.000Z; by its tombstone pass" in (
        done.stdout
    )


def test_a_checkpoint_that_was_kept_must_be_continued(handed_over: Path, made: Made) -> None:
    kept = handed_over / "last.txt"
    anlan("evidence", "log", "checkpoint", "local", "--out", kept, state=made.state)
    assert "log-" not in verify(handed_over, "--checkpoint", kept).stdout
    kept.write_text(kept.read_text().replace("\n16\n", "\n17\n"))
    done = verify(handed_over, "--checkpoint", kept)
    assert (done.returncode, "log-rollback" in done.stdout) == (1, True)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--environment", "production"], "other-environment"),
        (["--not-before", "2026-11-02"], "too-old"),
        (["--from", "2026-10-01"], "other-period"),
        (["--to", "2027-01-01"], "other-period"),
        (["--threshold", "2"], "untrusted-signer"),
    ],
)
def test_what_the_auditor_asked_for_is_held_against_the_period(
    handed_over: Path, options: list[str], code: str
) -> None:
    done = verify(handed_over, *options)
    assert (done.returncode, code in done.stdout) == (1, True)


def test_options_of_the_other_kind_of_bundle_end_with_2(handed_over: Path, made: Made) -> None:
    done = verify(handed_over, "--run", PASSED)
    assert (done.returncode, "leave --run" in done.stderr) == (2, True)
    run = made.state / "evidence/bundles" / f"{PASSED}.zip"
    for option in (NOVEMBER, ("--checkpoint", made.state / "evidence/log/local/checkpoint")):
        done = anlan("evidence", "verify", run, "--trust", made.state / "evidence.pub", *option)
        assert (done.returncode, "no bundle of a period" in done.stderr) == (2, True)


def test_the_standalone_verifier_says_the_same_of_a_period(
    handed_over: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    twin = Twin(tmp_path_factory.mktemp("twin"))
    for options in ((), ("--json",), (*NOVEMBER,), ("--from", "2026-10-01")):
        done = verify(handed_over, *options)
        for name in ("november.zip", "evidence.pub"):
            shutil.copy(handed_over / name, twin.folder)
        said = twin.ask("november.zip", "--trust", "evidence.pub", *options)
        assert said == (done.returncode, done.stdout, done.stderr)
    twin.close()
