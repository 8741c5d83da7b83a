"""Recording a run: refused when it must be, and the same after a kill -9 at any line."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from run_samples import REDERIVE, Clock, Sample, record, write_plan, write_result

from orchestrator.evidence import (
    EvidenceStore,
    LocalSigner,
    Trust,
    key_id,
    layout,
    load_public_key,
    verify,
)
from orchestrator.evidence.audit import audit, run_directories
from orchestrator.evidence.tlog import log, note
from orchestrator.evidence.tlog.proofs import included
from orchestrator.model.errors import InputError, Refused

KEY = bytes(range(32))
SAMPLE = Sample(drill="backup", run_id="backup-0001")
TRACED = ("evidence/store.py", "evidence/tlog/log.py", "evidence/files.py")


@pytest.fixture
def signer() -> LocalSigner:
    return LocalSigner(Ed25519PrivateKey.from_private_bytes(KEY))


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed process loses nothing that the kernel has: hundreds of kills need no fsync."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(autouse=True)
def _one_id_of_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that two recordings of the same can be compared."""
    monkeypatch.setattr(log, "new_id", lambda: "0123456789abcdef")


def log_of(state: Path) -> log.Log:
    return log.log_of(state, "local")


def store_of(state: Path, signer: LocalSigner, *, ended: bool = False) -> EvidenceStore:
    shift = timedelta(minutes=5) if ended else timedelta(milliseconds=-500)
    return EvidenceStore(state, signer, Clock(SAMPLE.started_at + shift))


def prepared(state: Path) -> Path:
    run_dir = state / "runs" / SAMPLE.run_id
    write_plan(run_dir, SAMPLE)
    return run_dir


def test_recording_twice_gives_the_same_entries_and_the_same_log(
    tmp_path: Path, signer: LocalSigner
) -> None:
    run_dir = prepared(tmp_path)
    first = store_of(tmp_path, signer).record_plan(run_dir)
    assert store_of(tmp_path, signer).record_plan(run_dir) == first
    write_result(run_dir, SAMPLE)
    result = store_of(tmp_path, signer, ended=True).record_run(run_dir)
    files = _files(tmp_path)
    assert store_of(tmp_path, signer, ended=True).record_run(run_dir) == result
    assert _files(tmp_path) == files
    entries, checkpoint = log.verify(log_of(tmp_path).read, [signer.public_key])
    assert [entry.kind for entry in entries] == ["plan", "controls", "run"]
    assert checkpoint.origin.startswith("anlan.dev/log/local/")


def test_the_public_key_is_kept_for_when_its_environment_is_gone(
    tmp_path: Path, signer: LocalSigner
) -> None:
    store_of(tmp_path, signer).record_plan(prepared(tmp_path))
    (kept,) = (tmp_path / "evidence/keys").iterdir()
    key = load_public_key(kept)
    assert key_id(key) == f"sha256:{kept.stem}" == key_id(signer.public_key)
    assert audit(tmp_path, "local", [key]).problems == ()


def test_a_result_without_a_logged_plan_is_refused(tmp_path: Path, signer: LocalSigner) -> None:
    run_dir = prepared(tmp_path)
    write_result(run_dir, SAMPLE)
    with pytest.raises(Refused, match="has no plan in the evidence log"):
        store_of(tmp_path, signer).record_run(run_dir)


@pytest.mark.parametrize("name", ["plan.json", "environment.json", "drill.yaml"])
def test_a_plan_whose_files_are_not_there_is_refused_before_it_is_logged(
    tmp_path: Path, signer: LocalSigner, name: str
) -> None:
    run_dir = prepared(tmp_path)
    (run_dir / name).unlink()
    with pytest.raises(InputError, match=r"not there|lacks it"):
        store_of(tmp_path, signer).record_plan(run_dir)
    assert not (run_dir / "statements").exists()


def test_a_policy_that_the_plan_does_not_know_is_refused(
    tmp_path: Path, signer: LocalSigner
) -> None:
    run_dir = prepared(tmp_path)
    (run_dir / "policies/more.yaml").write_text("schema: anlan.policies/v2\n")
    with pytest.raises(InputError, match=r"policy/more\.yaml"):
        store_of(tmp_path, signer).record_plan(run_dir)


def test_evidence_is_never_replaced(tmp_path: Path, signer: LocalSigner) -> None:
    run_dir = record(tmp_path, SAMPLE, signer)
    (run_dir / "plan.json").write_bytes((run_dir / "plan.json").read_bytes() + b" ")
    with pytest.raises(Refused, match="already logged with other content"):
        store_of(tmp_path, signer).record_plan(run_dir)


def test_a_run_that_was_not_recorded_is_not_exported(tmp_path: Path, signer: LocalSigner) -> None:
    run_dir = prepared(tmp_path)
    store_of(tmp_path, signer).record_plan(run_dir)
    with pytest.raises(Refused, match="its result was not recorded"):
        store_of(tmp_path, signer).export(run_dir, tmp_path / "bundle.zip")


def test_a_run_comes_with_the_proofs_of_its_own_entries(
    tmp_path: Path, signer: LocalSigner
) -> None:
    for number in (1, 2, 3):
        sample = Sample(
            drill="backup",
            run_id=f"backup-000{number}",
            started_at=SAMPLE.started_at + timedelta(hours=number),
        )
        run_dir = record(tmp_path, sample, signer)
        files = [(run_dir / path).read_bytes() for path in layout.PROOFS.values()]
        proven = [included(content, [signer.public_key]) for content in files]
        assert [entry.run_id for entry, _ in proven] == [sample.run_id] * 3
        assert [entry.index for entry, _ in proven] == [
            3 * number - 3,
            3 * number - 2,
            3 * number - 1,
        ]
        assert [head.size for _, head in proven] == [3 * number - 2, 3 * number, 3 * number]


def _count_or_die(events_left: int | None) -> Callable[..., Any]:
    """A tracer that kills this process after so many lines of the recorder; None: counts."""

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal events_left
        if not frame.f_code.co_filename.endswith(TRACED):
            return None
        if event == "line":
            trace.lines += 1  # type: ignore[attr-defined]
            if events_left is not None and trace.lines > events_left:  # type: ignore[attr-defined]
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    trace.lines = 0  # type: ignore[attr-defined]
    return trace


def _work(state: Path, run_dir: Path, ended: bool) -> None:
    signer = LocalSigner(Ed25519PrivateKey.from_private_bytes(KEY))
    store = store_of(state, signer, ended=ended)
    if ended:
        store.record_run(run_dir)
        store.export(run_dir, state / "bundle.zip")
    else:
        store.record_plan(run_dir)


def _child(state: Path, run_dir: Path, ended: bool, events_left: int) -> None:
    sys.settrace(_count_or_die(events_left))
    _work(state, run_dir, ended)
    sys.settrace(None)


@pytest.mark.parametrize("ended", [False, True], ids=["plan", "run"])
def test_kill_9_at_any_line_of_recording_changes_nothing_in_the_end(
    tmp_path: Path, signer: LocalSigner, ended: bool
) -> None:
    origin = tmp_path / "origin"
    run_dir = prepared(origin)
    if ended:
        store_of(origin, signer).record_plan(run_dir)
        write_result(run_dir, SAMPLE)
    calm = tmp_path / "calm"
    shutil.copytree(origin, calm)
    tracer = _count_or_die(None)
    sys.settrace(tracer)
    _work(calm, calm / "runs" / SAMPLE.run_id, ended)
    sys.settrace(None)
    lines = tracer.lines  # type: ignore[attr-defined]
    assert lines > 40, "the tracer saw nothing of the recorder"
    expected = _files(calm)
    context = multiprocessing.get_context("fork")
    for events in range(lines):
        state = tmp_path / f"killed-{events}"
        shutil.copytree(origin, state)
        child = context.Process(
            target=_child, args=(state, state / "runs" / SAMPLE.run_id, ended, events)
        )
        child.start()
        child.join(30)
        assert child.exitcode == -signal.SIGKILL, f"was not killed at line event {events}"
        _work(state, state / "runs" / SAMPLE.run_id, ended)
        assert _files(state) == expected, f"differs after a kill at line event {events}"
        shutil.rmtree(state)


def _files(state: Path) -> dict[str, bytes]:
    return {
        path.relative_to(state).as_posix(): path.read_bytes()
        for path in state.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def test_the_same_run_gives_the_same_bundle_bytes(tmp_path: Path, signer: LocalSigner) -> None:
    run_dir = record(tmp_path, SAMPLE, signer)
    store = store_of(tmp_path, signer)
    one = store.export(run_dir, tmp_path / "one.zip").read_bytes()
    (run_dir / ".lock").write_text("left out")
    os.utime(run_dir / "plan.json", (0, 0))
    assert store.export(run_dir, tmp_path / "two.zip").read_bytes() == one
    assert verify(one, Trust.of([signer.public_key]), REDERIVE).status == "VALID"


def audited(state: Path, signer: LocalSigner) -> set[str]:
    return {problem.code for problem in audit(state, "local", [signer.public_key]).problems}


def test_a_sound_log_of_two_runs_passes_its_audit(tmp_path: Path, signer: LocalSigner) -> None:
    record(tmp_path, SAMPLE, signer)
    record(tmp_path, Sample(drill="restore", run_id="restore-0002"), signer)
    found = audit(tmp_path, "local", [signer.public_key])
    assert (found.problems, found.unfinished, found.unlogged) == ((), (), ())
    assert found.to_json()["runs"] == 2


def test_plans_that_were_read_once_serve_every_environments_audit(
    tmp_path: Path, signer: LocalSigner
) -> None:
    record(tmp_path, SAMPLE, signer)
    known = run_directories(tmp_path)
    assert [(path.name, name) for path, name in known] == [(SAMPLE.run_id, "local")]
    (tmp_path / "runs" / SAMPLE.run_id / "plan.json").unlink()  # nobody reads it again
    again = audit(tmp_path, "local", [signer.public_key], directories=known)
    assert (again.problems, len(again.entries)) == ((), 3)
    foreign = [(path, "other") for path, _ in known]
    assert audit(tmp_path, "local", [signer.public_key], directories=foreign).unlogged == ()


def test_a_drill_that_never_finished_is_listed(tmp_path: Path, signer: LocalSigner) -> None:
    store_of(tmp_path, signer).record_plan(prepared(tmp_path))
    found = audit(tmp_path, "local", [signer.public_key])
    assert found.problems == ()
    assert [entry.run_id for entry in found.unfinished] == [SAMPLE.run_id]
    assert found.to_json()["unfinished"][0]["planned_at"] == "2026-11-25T03:14:59.500Z"


def test_a_run_whose_directory_was_deleted_is_named(tmp_path: Path, signer: LocalSigner) -> None:
    shutil.rmtree(record(tmp_path, SAMPLE, signer))
    assert audited(tmp_path, signer) == {"missing-run"}


def test_a_log_whose_tail_was_cut_is_named_by_the_runs_that_it_lost(
    tmp_path: Path, signer: LocalSigner
) -> None:
    record(tmp_path, SAMPLE, signer)
    shutil.copytree(log_of(tmp_path).folder, tmp_path / "before")
    record(tmp_path, Sample(drill="restore", run_id="restore-0002"), signer)
    shutil.rmtree(log_of(tmp_path).folder)
    shutil.copytree(tmp_path / "before", log_of(tmp_path).folder)
    assert audited(tmp_path, signer) == {"missing-log-entry", "log-rollback"}


def test_a_checkpoint_of_the_last_time_shows_what_was_cut_when_every_run_is_gone_too(
    tmp_path: Path, signer: LocalSigner
) -> None:
    record(tmp_path, SAMPLE, signer)
    kept = note.parse(log_of(tmp_path).read("checkpoint") or b"")
    shutil.rmtree(tmp_path / "evidence/log")
    shutil.rmtree(tmp_path / "runs")
    record(tmp_path, Sample(drill="restore", run_id="restore-0002"), signer)
    found = audit(tmp_path, "local", [signer.public_key], kept)
    assert [problem.code for problem in found.problems] == ["log-forked"]
    assert audit(tmp_path, "local", [signer.public_key]).problems == ()


def test_a_log_that_was_begun_anew_is_a_fork(tmp_path: Path, signer: LocalSigner) -> None:
    run_dir = record(tmp_path, SAMPLE, signer)
    shutil.rmtree(log_of(tmp_path).folder)
    store = EvidenceStore(tmp_path, signer, Clock(SAMPLE.started_at + timedelta(days=1)))
    store.record_plan(run_dir)
    assert "log-forked" in audited(tmp_path, signer)


def test_a_plan_that_never_reached_the_log_is_listed(tmp_path: Path, signer: LocalSigner) -> None:
    record(tmp_path, SAMPLE, signer)
    other = tmp_path / "runs" / "backup-0009"
    shutil.copytree(tmp_path / "runs" / SAMPLE.run_id, other)
    (other / layout.PROOFS["run"]).unlink()
    found = audit(tmp_path, "local", [signer.public_key])
    assert (found.problems, found.unlogged) == ((), ("backup-0009",))


def test_an_edited_log_fails_its_audit_with_the_logs_own_code(
    tmp_path: Path, signer: LocalSigner
) -> None:
    record(tmp_path, SAMPLE, signer)
    path = log_of(tmp_path).folder / "tile/entries/000.p/3"
    path.write_bytes(path.read_bytes().replace(b'"kind":"run"', b'"kind":"con"'))
    assert audited(tmp_path, signer) == {"log-entry"}


def test_no_log_at_all_is_a_problem(tmp_path: Path, signer: LocalSigner) -> None:
    assert audited(tmp_path, signer) == {"log-checkpoint"}
