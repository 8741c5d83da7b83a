"""`anlan-verify.pyz`: the same bytes each time, and what an auditor without Anlan sees of it.

That it says the same as `anlan evidence verify` of every tampered bundle is in tests/tamper.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from run_samples import Sample, record

from orchestrator.cli import main
from orchestrator.evidence import EvidenceStore, LocalSigner
from orchestrator.evidence.bundle import unpack
from orchestrator.report import render, render_bundle
from orchestrator.verifier import build
from orchestrator.verifier import main as first_file
from tests.standalone import Twin

SAMPLES = {
    "good": Sample(run_id="failover-good"),
    "failed": Sample(run_id="failover-failed", lost=4, weak_tls=True),
    "unknown": Sample(run_id="restore-unknown", drill="restore", unreachable=True),
    "backup": Sample(run_id="backup-good", drill="backup"),
}


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twin]:
    made = Twin(tmp_path_factory.mktemp("twin"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def handed_over(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an auditor has: bundles and the key."""
    folder, signer = tmp_path_factory.mktemp("auditor"), LocalSigner(Ed25519PrivateKey.generate())
    for name, sample in SAMPLES.items():
        run_dir = record(folder / "state" / name, replace(sample), signer)
        (run_dir / "report.html").write_text(render(run_dir))
        EvidenceStore(folder / "state" / name, signer).export(run_dir, folder / f"{name}.zip")
    shutil.rmtree(folder / "state")
    (folder / "evidence.pub").write_text(signer.public_key_pem())
    return folder


def test_the_same_packages_give_the_same_bytes() -> None:
    assert build().content == build().content


def test_it_can_be_unzipped_and_says_what_it_is() -> None:
    made = build()
    with zipfile.ZipFile(io.BytesIO(made.content)) as archive:
        assert archive.testzip() is None
        assert {one.date_time for one in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        read = {name: archive.read(name) for name in archive.namelist()}
    text = read.pop("README.txt").decode()
    assert made.version in text and "jsonschema 4" in text
    for line in read.pop("SHA256SUMS").decode().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256(read.pop(name, text.encode())).hexdigest() == digest
    assert read == {}, "a file that the sums do not list"


def test_it_holds_the_installed_modules_their_licences_and_nothing_compiled() -> None:
    made = build()
    with zipfile.ZipFile(io.BytesIO(made.content)) as archive:
        for name in ("evidence/verify.py", "verdict/derive.py", "policy/evaluate.py"):
            own = Path(first_file.__file__).parents[1] / name
            assert archive.read(f"orchestrator/{name}") == own.read_bytes()
    assert not [name for name in made.names if name.endswith((".so", ".pyc", ".pyd"))]
    assert not [name for name in made.names if "/engine/" in name or "/drivers/" in name]
    folders = {name.split("/")[0] for name in made.names if ".dist-info/METADATA" in name}
    licensed = {name.split("/")[0] for name in made.names if "LICEN" in name or "COPYING" in name}
    assert folders == licensed


@pytest.mark.parametrize("name", SAMPLES)
def test_it_says_of_a_bundle_what_the_command_says(
    twin: Twin, handed_over: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for options in ((), ("--json",), ("--json", "--run", "another"), ("--threshold", "2")):
        arguments = (
            str(handed_over / f"{name}.zip"),
            *("--trust", str(handed_over / "evidence.pub")),
            *options,
        )
        with pytest.raises(SystemExit) as ended:
            main(["evidence", "verify", *arguments])
        said = capsys.readouterr()
        assert twin.ask(*arguments) == (ended.value.code, said.out, said.err)
    if not said.out.startswith("UNTRUSTED"):
        pytest.fail(said.out)


def test_it_runs_without_network_in_an_empty_folder_and_leaves_it_empty(
    twin: Twin, handed_over: Path, tmp_path: Path
) -> None:
    tmp_path.chmod(0o555)
    alone = ["unshare", "--net"] if _can_unshare() else []
    done = subprocess.run(
        [
            *(*alone, twin.python, "-I", twin.file, handed_over / "good.zip"),
            *("--trust", handed_over / "evidence.pub"),
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONUTF8": "1"},
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("VALID  ")
    assert list(tmp_path.iterdir()) == []


def _can_unshare() -> bool:
    probe = ["unshare", "--net", "true"]
    return (
        shutil.which("unshare") is not None
        and subprocess.run(probe, capture_output=True, check=False).returncode == 0
    )


def test_without_cryptography_it_says_so(twin: Twin) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", twin.file, "bundle.zip"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: anlan-verify needs the Python package cryptography")


def test_an_old_python_reads_its_first_file_and_says_what_it_needs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ast.parse(Path(first_file.__file__).read_text(), feature_version=(3, 4))
    monkeypatch.setattr(sys, "version_info", (3, 10, 4))
    begin: Callable[[], int] = first_file.main
    assert begin() == 2
    assert "needs Python 3.11 or newer, this is 3.10" in capsys.readouterr().err


def test_the_command_writes_it_and_prints_its_digest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "verify.pyz"
    with pytest.raises(SystemExit) as ended:
        main(["evidence", "verifier", "--out", str(out), "--json"])
    said = json.loads(capsys.readouterr().out)
    assert (ended.value.code, said["sha256"]) == (0, hashlib.sha256(out.read_bytes()).hexdigest())
    assert said["size_bytes"] == out.stat().st_size


def test_a_report_is_rendered_again_without_reading_the_archive_of_the_verifier(
    monkeypatch: pytest.MonkeyPatch, handed_over: Path
) -> None:
    """`importlib.metadata` keeps a zip open, which forked processes would read over each other."""

    def read(name: str) -> str:
        raise AssertionError(f"the metadata of {name} are read")

    monkeypatch.setattr("importlib.metadata.distribution", read)
    contents = unpack((handed_over / "good.zip").read_bytes())
    assert render_bundle(contents) == contents["report.html"]
