"""The one runner of subprocesses, and the processes of this host."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from orchestrator.drivers.process import masked, run, spawn
from orchestrator.drivers.processes import ancestry, process_table, processes_of, send
from orchestrator.model.errors import InfrastructureError


def test_a_failed_command_names_its_exit_code_and_the_end_of_its_errors() -> None:
    with pytest.raises(InfrastructureError, match=r"ended with 7: .*the disk is full") as caught:
        run(["sh", "-c", "echo the disk is full >&2; exit 7"], timeout_seconds=5)
    assert caught.value.exit_code == 4
    assert caught.value.todo


def test_secrets_are_masked_in_output_errors_and_the_command() -> None:
    done = run(["sh", "-c", "echo word=hunter22"], timeout_seconds=5, secrets=["hunter22"])
    assert done.output == "word=***\n"
    with pytest.raises(InfrastructureError) as caught:
        run(["sh", "-c", "echo hunter22 >&2; exit 1"], timeout_seconds=5, secrets=["hunter22"])
    assert "hunter22" not in str(caught.value)


def test_the_longer_of_two_secrets_is_masked_whole() -> None:
    assert masked("abcdef", ["abc", "abcdef", ""]) == "***"


def test_a_command_that_takes_too_long_is_killed() -> None:
    began = time.monotonic()
    with pytest.raises(InfrastructureError, match=r"did not end within 0.2 s"):
        run(["sleep", "20"], timeout_seconds=0.2)
    assert time.monotonic() - began < 5


def test_a_missing_program_is_an_infrastructure_error() -> None:
    with pytest.raises(InfrastructureError, match="no-such-program"):
        run(["no-such-program"], timeout_seconds=1)


def test_the_callers_environment_does_not_reach_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_SECRET", "x")
    assert "SOME_SECRET" not in run(["env"], timeout_seconds=5).output


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_command_runs_as_the_user_that_is_named() -> None:
    assert run(["id", "-un"], timeout_seconds=5, as_user="nobody").output == "nobody\n"


def test_an_unknown_user_is_an_infrastructure_error() -> None:
    with pytest.raises(InfrastructureError, match="no user nobody-at-all"):
        run(["id"], timeout_seconds=5, as_user="nobody-at-all")


def test_a_spawned_command_reads_its_input_and_outlives_the_call(tmp_path: Path) -> None:
    log = tmp_path / "log"
    entry = spawn(
        [
            sys.executable,
            "-c",
            "import sys,time; print(sys.stdin.read(), flush=True); time.sleep(60)",
        ],
        log_file=log,
        stdin="handed over",
    )
    try:
        deadline = time.monotonic() + 5
        while "handed over" not in log.read_text() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert log.read_text() == "handed over\n"
        assert entry.is_alive()
    finally:
        send(entry.pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while entry.is_alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not entry.is_alive()


def test_a_process_belongs_by_marker_by_directory_and_by_descent(tmp_path: Path) -> None:
    log = tmp_path.parent / "processes.log"
    marked = spawn(["sleep", "60"], log_file=log, environment={"ANLAN_TEST": str(tmp_path)})
    inside = spawn(["sleep", "60"], log_file=log, directory=tmp_path)
    parent = spawn(
        ["sh", "-c", "cd / && env -u ANLAN_TEST sleep 60 & wait"],
        log_file=log,
        environment={"ANLAN_TEST": str(tmp_path)},
    )
    stranger = spawn(["sleep", "60"], log_file=log, environment={"ANLAN_TEST": f"{tmp_path}x"})
    try:
        time.sleep(0.2)
        child = next(e.pid for e in process_table().values() if e.parent == parent.pid)
        found = {entry.pid for entry in processes_of(tmp_path, "ANLAN_TEST")}
        assert found == {marked.pid, inside.pid, parent.pid, child}
    finally:
        for entry in (marked, inside, parent, stranger):
            send(entry.pid, signal.SIGKILL)
        send(child, signal.SIGKILL)


def test_this_process_and_its_ancestors_are_never_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own = ancestry(os.getpid(), process_table())
    assert os.getppid() in own
    assert not own & {entry.pid for entry in processes_of(tmp_path, "ANLAN_TEST")}
