"""`anlan evidence` and `anlan report` as a user calls them."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import click
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from run_samples import Sample, record, write_plan

from orchestrator.cli import main, run
from orchestrator.evidence import EvidenceStore, LocalSigner
from orchestrator.report import render

SAMPLE = Sample(run_id="failover-20261125t031500-ab12")


@pytest.fixture(scope="module")
def signer() -> LocalSigner:
    return LocalSigner(Ed25519PrivateKey.generate())


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory, signer: LocalSigner) -> Path:
    """A state directory with a passed, a failed and an unfinished run."""
    state = tmp_path_factory.mktemp("state")
    for sample in (
        SAMPLE,
        replace(SAMPLE, run_id="failover-20261125t041500-fa11", lost=4, weak_tls=True),
    ):
        run_dir = record(state, sample, signer)
        (run_dir / "report.html").write_text(render(run_dir))
        bundle = state / "evidence/bundles" / f"{sample.run_id}.zip"
        EvidenceStore(state, signer).export(run_dir, bundle)
    unfinished = replace(SAMPLE, run_id="backup-20261125t051500-0000", drill="backup")
    write_plan(state / "runs" / unfinished.run_id, unfinished)
    EvidenceStore(state, signer).record_plan(state / "runs" / unfinished.run_id)
    (state / "evidence.pub").write_text(signer.public_key_pem())
    return state


@dataclass(frozen=True)
class Done:
    """What a command came to."""

    returncode: int
    stdout: str
    stderr: str


def anlan(*arguments: str | Path, state: Path | None = None, cwd: Path | None = None) -> Done:
    """Run a command in this process: a Python of its own for each would take a second."""
    out, err = io.StringIO(), io.StringIO()
    environment = {"NO_COLOR": "1", "ANLAN_STATE_DIR": str(state or "/nonexistent")}
    with (
        mock.patch.dict(os.environ, environment),
        contextlib.chdir(cwd or "."),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        main([str(argument) for argument in arguments])
    return Done(int(ended.value.code or 0), out.getvalue(), err.getvalue())


@pytest.fixture
def handed_over(state: Path, tmp_path: Path) -> Path:
    """What an auditor has: a bundle and a key file, in a folder of his own."""
    shutil.copy(state / "evidence/bundles" / f"{SAMPLE.run_id}.zip", tmp_path / "bundle.zip")
    shutil.copy(state / "evidence.pub", tmp_path / "evidence.pub")
    return tmp_path


def test_verify_needs_nothing_but_the_bundle_and_the_key(handed_over: Path) -> None:
    done = anlan("evidence", "verify", "bundle.zip", "--trust", "evidence.pub", cwd=handed_over)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("VALID  bundle.zip")
    assert "5.98 s (target 30 s: met)" in done.stdout
    assert "0 transactions (target 0 transactions: met)" in done.stdout
    assert "3 satisfied" in done.stdout
    assert sorted(path.name for path in handed_over.iterdir()) == ["bundle.zip", "evidence.pub"]


def test_verify_runs_as_a_program_in_a_folder_of_its_own(handed_over: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "orchestrator", "evidence", "verify", "bundle.zip"),
            *("--trust", "evidence.pub", "--json"),
        ],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])},
        cwd=handed_over,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "VALID"


def test_verify_prints_json_with_every_problem(handed_over: Path) -> None:
    packed = bytearray((handed_over / "bundle.zip").read_bytes())
    packed[len(packed) // 2] ^= 1
    (handed_over / "bundle.zip").write_bytes(packed)
    done = anlan(
        "evidence", "verify", "bundle.zip", "--trust", "evidence.pub", "--json", cwd=handed_over
    )
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert found["status"] == "INVALID"
    assert {"code", "path", "message"} == set(found["problems"][0])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--run", "another"], "other-run"),
        (["--environment", "production"], "other-environment"),
        (["--not-before", "2026-12-01"], "too-old"),
        (["--threshold", "2"], "untrusted-signer"),
    ],
)
def test_what_the_auditor_asked_for_is_held_against_the_bundle(
    handed_over: Path, options: list[str], said: str
) -> None:
    done = anlan(
        "evidence", "verify", "bundle.zip", "--trust", "evidence.pub", *options, cwd=handed_over
    )
    assert done.returncode == 1
    assert said in done.stdout


def test_a_bundle_signed_by_another_is_untrusted(handed_over: Path) -> None:
    other = LocalSigner(Ed25519PrivateKey.generate())
    (handed_over / "evidence.pub").write_text(other.public_key_pem())
    done = anlan("evidence", "verify", "bundle.zip", "--trust", "evidence.pub", cwd=handed_over)
    assert done.returncode == 1
    assert done.stdout.startswith("UNTRUSTED")
    assert "not proven" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["none.zip", "--trust", "evidence.pub"],
        ["bundle.zip", "--trust", "none.pub"],
        ["bundle.zip", "--trust", "bundle.zip"],
        ["bundle.zip"],
        ["bundle.zip", "--trust", "evidence.pub", "--not-before", "yesterday"],
        ["bundle.zip", "--trust", "evidence.pub", "--threshold", "0"],
        ["bundle.zip", "--trust", "evidence.pub", "--environment", ""],
        ["bundle.zip", "--trust", "evidence.pub", "--run", " "],
        ["bundle.zip", "--trust", "evidence.pub", "--not-before="],
        ["bundle.zip", "--trust", "evidence.pub", "--approvals", "bundle.zip"],
        ["bundle.zip", "--trust", "evidence.pub", "--approvals", "none.yaml"],
    ],
)
def test_unusable_input_ends_with_2_and_says_what_is_wrong(
    handed_over: Path, arguments: list[str]
) -> None:
    done = anlan("evidence", "verify", *arguments, cwd=handed_over)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr
    assert "Traceback" not in done.stderr


def test_a_private_key_that_is_given_for_another_file_is_not_shown(handed_over: Path) -> None:
    key = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    (handed_over / "my.key").write_bytes(key)
    secret = key.decode().splitlines()[1]
    for option in ("--trust", "--approvals", "--checkpoint"):
        given = ("bundle.zip", "--trust", "evidence.pub", option, "my.key")
        done = anlan("evidence", "verify", *given, cwd=handed_over)
        assert done.returncode == 2, option
        assert "my.key" in done.stderr and "→" in done.stderr, option
        assert secret not in done.stderr, option


def test_a_place_that_cannot_be_written_ends_with_2_and_is_named(
    state: Path, handed_over: Path
) -> None:
    for command in (
        ("evidence", "export", SAMPLE.run_id),
        ("evidence", "log", "checkpoint", "local"),
        ("evidence", "verifier"),
    ):
        # Below a file nothing can be written, by root neither.
        done = anlan(*command, "--out", "evidence.pub/new", state=state, cwd=handed_over)
        assert done.returncode == 2, command
        assert "evidence.pub/new: cannot be written" in done.stderr and "→" in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("evidence", "list"),
        ("evidence", "export", SAMPLE.run_id),
        ("evidence", "log", "verify", "--trust", "evidence.pub"),
        ("evidence", "key", "local"),
        ("report", SAMPLE.run_id),
        ("drill", "history"),
    ],
)
def test_a_state_directory_that_cannot_be_used_ends_with_2_and_is_named(
    handed_over: Path, command: tuple[str, ...]
) -> None:
    """It is a file, so that root cannot use it either."""
    done = anlan(*command, state=handed_over / "bundle.zip", cwd=handed_over)
    assert done.returncode == 2, done.stderr
    assert "bundle.zip" in done.stderr and "→" in done.stderr


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/s/runs"), 2, "get the right to it"),
        (OSError(errno.ENOSPC, "No space left on device", "/s/runs"), 4, "make room"),
    ],
)
def test_a_file_that_no_command_looked_after_is_named(
    capsys: pytest.CaptureFixture[str], error: OSError, code: int, says: str
) -> None:
    def command() -> None:
        raise error

    with pytest.raises(SystemExit) as ended:
        run(click.Command("any", callback=command), [], "any")
    said = capsys.readouterr().err
    assert (ended.value.code, "/s/runs" in said, says in said) == (code, True, True)


def test_a_fault_of_ours_keeps_its_traceback() -> None:
    def command() -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "/s/gone")

    with pytest.raises(FileNotFoundError):
        run(click.Command("any", callback=command), [], "any")


def test_list_shows_verdict_log_and_bundle(state: Path) -> None:
    rows = json.loads(anlan("evidence", "list", "--json", state=state).stdout)
    seen = {row["run_id"]: (row["verdict"], row["log"], bool(row["bundle"])) for row in rows}
    assert seen == {
        SAMPLE.run_id: ("pass", {"plan": 0, "controls": 1, "run": 2}, True),
        "failover-20261125t041500-fa11": ("fail", {"plan": 3, "controls": 4, "run": 5}, True),
        "backup-20261125t051500-0000": (None, {"plan": 6}, False),
    }
    done = anlan("evidence", "list", state=state)
    assert done.returncode == 0
    assert "0 → 2" in done.stdout


def test_export_copies_the_bundle_byte_for_byte(state: Path, tmp_path: Path) -> None:
    done = anlan("evidence", "export", SAMPLE.run_id, "--out", tmp_path, state=state)
    assert done.returncode == 0, done.stderr
    original = state / "evidence/bundles" / f"{SAMPLE.run_id}.zip"
    assert (tmp_path / original.name).read_bytes() == original.read_bytes()


def test_export_of_an_unknown_run_ends_with_2(state: Path, tmp_path: Path) -> None:
    done = anlan("evidence", "export", "nothing", state=state, cwd=tmp_path)
    assert done.returncode == 2
    assert "does not exist" in done.stderr


def test_the_log_holds_and_the_drill_that_never_finished_is_listed(state: Path) -> None:
    key = state / "evidence.pub"
    done = anlan("evidence", "log", "verify", "--trust", key, state=state)
    assert done.returncode == 0, done.stderr
    assert "VALID  local: 7 entries of 3 runs" in done.stdout
    assert "unfinished  backup-20261125t051500-0000" in done.stdout


def test_a_log_that_was_begun_anew_ends_with_1(
    state: Path, signer: LocalSigner, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(state, copy)
    log = copy / "evidence/log"
    shutil.rmtree(log)
    EvidenceStore(copy, signer).record_plan(copy / "runs" / SAMPLE.run_id)
    done = anlan(
        "evidence", "log", "verify", "--trust", state / "evidence.pub", "--json", state=copy
    )
    assert done.returncode == 1
    assert {problem["code"] for problem in json.loads(done.stdout)[0]["problems"]} == {
        "log-forked",
        "missing-log-entry",
    }


def test_a_checkpoint_that_an_auditor_keeps_shows_the_next_time_that_nothing_was_cut(
    state: Path, signer: LocalSigner, tmp_path: Path
) -> None:
    kept = tmp_path / "last.txt"
    assert anlan("evidence", "log", "checkpoint", "--out", kept, state=state).returncode == 0
    printed = anlan("evidence", "log", "checkpoint", "local", state=state).stdout
    assert printed == kept.read_text()
    verify = ("evidence", "log", "verify", "local", "--trust", state / "evidence.pub")
    again = anlan(*verify, "--checkpoint", kept, state=state)
    assert again.returncode == 0, again.stderr
    copy = tmp_path / "copy"
    shutil.copytree(state, copy)
    shutil.rmtree(copy / "evidence/log")
    shutil.rmtree(copy / "runs")
    record(copy, SAMPLE, signer)
    assert anlan(*verify, state=copy).returncode == 0
    done = anlan(*verify, "--checkpoint", kept, state=copy)
    assert (done.returncode, "log-forked" in done.stdout) == (1, True)
    wrong = anlan(*verify, "--checkpoint", state / "evidence.pub", state=state)
    assert (wrong.returncode, "evidence.pub" in wrong.stderr) == (2, True)


def test_a_checkpoint_is_told_to_programs_too(state: Path, tmp_path: Path) -> None:
    plain = anlan("evidence", "log", "checkpoint", "local", state=state).stdout
    done = anlan(
        "evidence", "log", "checkpoint", "--out", "last.txt", "--json", state=state, cwd=tmp_path
    )
    told = json.loads(done.stdout)
    assert told["checkpoint"] == plain == (tmp_path / "last.txt").read_text()
    assert plain.startswith(f"{told['origin']}\n{told['size']}\n")
    assert (told["environment"], told["file"]) == ("local", "last.txt")


@pytest.mark.parametrize(
    ("content", "code", "said"), [(None, 2, "has no head"), (b"\xff", 4, "is damaged")]
)
def test_a_head_that_is_none_is_not_given_to_an_auditor_to_keep(
    state: Path, tmp_path: Path, content: bytes | None, code: int, said: str
) -> None:
    shutil.copytree(state, there := tmp_path / "state")
    head = there / "evidence/log/local/checkpoint"
    head.unlink() if content is None else head.write_bytes(content)
    done = anlan(*("evidence", "log", "checkpoint", "--out", "last.txt"), state=there, cwd=tmp_path)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert not (tmp_path / "last.txt").exists()


def test_the_log_of_an_environment_that_has_none_ends_with_2(state: Path) -> None:
    for command in (
        ["verify", "other", "--trust", state / "evidence.pub"],
        ["checkpoint", "other"],
    ):
        done = anlan("evidence", "log", *command, state=state)
        assert done.returncode == 2
        assert "no evidence log of other" in done.stderr


def test_report_renders_the_same_page_again(state: Path, tmp_path: Path) -> None:
    done = anlan("report", SAMPLE.run_id, "--out", tmp_path / "page.html", state=state)
    assert done.returncode == 0, done.stderr
    again = (state / "runs" / SAMPLE.run_id / "report.html").read_bytes()
    assert (tmp_path / "page.html").read_bytes() == again


def test_report_of_a_run_that_has_not_ended_ends_with_2(state: Path) -> None:
    done = anlan("report", "backup-20261125t051500-0000", state=state)
    assert done.returncode == 2
    assert "has not ended" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("form", "file", "begins"),
    [
        ("pdf", "report.zh.pdf", b"%PDF-1.7"),
        ("xlsx", "report.zh.xlsx", b"PK"),
        ("json", "report.json", b"{"),
        ("oscal", "oscal.zh.json", b"{"),
        ("html", "report.html", b"<!doctype html>"),
    ],
)
def test_a_format_is_written_beside_the_files_of_the_run(
    state: Path, form: str, file: str, begins: bytes
) -> None:
    done = anlan("report", SAMPLE.run_id, "--format", form, "--lang", "zh", state=state)
    assert done.returncode == 0, done.stderr
    written = state / "runs" / SAMPLE.run_id / file
    assert done.stdout == f"{written}\n"
    assert written.read_bytes().lstrip().startswith(begins)


def test_an_auditor_renders_every_format_from_the_bundle_alone(
    handed_over: Path, state: Path
) -> None:
    for form in ("html", "pdf", "xlsx", "json", "oscal"):
        done = anlan("report", "bundle.zip", "--format", form, "--json", cwd=handed_over)
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert (said["run_id"], said["format"]) == (SAMPLE.run_id, form)
        mine = (handed_over / said["report"]).read_bytes()
        theirs = handed_over / f"theirs.{form}"
        anlan("report", SAMPLE.run_id, "--format", form, "--out", theirs, state=state)
        assert mine == theirs.read_bytes(), form


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("missing.zip", "there is no such bundle"),
        ("evidence.pub", "it is no bundle (damaged-archive)"),
    ],
)
def test_what_is_no_bundle_ends_with_2_and_says_what_to_do(
    handed_over: Path, what: str, said: str
) -> None:
    done = anlan("report", what, "--format", "pdf", cwd=handed_over)
    assert done.returncode == 2
    assert said in done.stderr
    assert what in done.stderr
    assert "→" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_zip_that_is_no_bundle_is_not_taken_for_a_run_that_goes_on(tmp_path: Path) -> None:
    from orchestrator.evidence.bundle import archive

    (tmp_path / "other.zip").write_bytes(archive({"a.txt": b"x"}))
    done = anlan("report", "other.zip", cwd=tmp_path)
    assert done.returncode == 2
    assert "other.zip: it is no bundle: it has no plan/plan.json" in done.stderr
    assert "resume" not in done.stderr


def test_a_bundle_whose_files_are_none_of_a_run_ends_with_2(tmp_path: Path) -> None:
    from orchestrator.evidence.bundle import archive

    files = {"plan/plan.json": b'{"a": 1, "a": 2}', "runs/run.json": b"{}"}
    (tmp_path / "other.zip").write_bytes(archive(files))
    done = anlan("report", "other.zip", "--format", "json", cwd=tmp_path)
    assert done.returncode == 2
    assert "not those of a run" in done.stderr
    assert not (tmp_path / "other.report.json").exists()


def test_without_the_font_a_pdf_ends_with_4_and_names_the_package(
    handed_over: Path, tmp_path: Path
) -> None:
    done = anlan("report", "bundle.zip", "--format", "pdf", "--fonts", tmp_path, cwd=handed_over)
    assert done.returncode == 4
    assert "fonts-noto-cjk" in done.stderr
    assert not list(handed_over.glob("*.pdf"))
