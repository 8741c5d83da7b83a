"""Run directories: whole or not there, found by their id, worked on by one process at a time."""

from __future__ import annotations

import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.cli import drill_work
from orchestrator.engine import runs
from orchestrator.model.errors import InfrastructureError, InputError, Refused

NOW = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)


def make(state: Path, run_id: str) -> runs.Run:
    policies = {"tls.yaml": b"x", "baseline/erp.yaml": b"y"}
    return runs.create(state, {"run_id": run_id, "steps": []}, "drill", b"{}", policies)


def test_a_run_id_says_drill_and_time() -> None:
    first, second = (runs.new_run_id("failover", NOW) for _ in range(2))
    assert first.startswith("failover-20261125t030000-")
    assert first != second


def test_a_new_run_holds_all_that_its_plan_is_about(tmp_path: Path) -> None:
    run = make(tmp_path, "failover-20261125t030000-aaaa")
    names = {path.relative_to(run.directory).as_posix() for path in run.directory.rglob("*.*")}
    assert {"plan.json", "drill.yaml", "environment.json", "policies/tls.yaml"} <= names
    assert run.state == "planned"
    before = (run.directory / "plan.json").read_bytes()
    with pytest.raises(InfrastructureError):
        make(tmp_path, run.run_id)
    assert (run.directory / "plan.json").read_bytes() == before
    run.journal.open_attempt()
    assert run.state == "interrupted"


def test_a_directory_that_was_being_made_is_no_run(tmp_path: Path) -> None:
    half = tmp_path / "runs" / ".failover-20261125t030000-aaaa"
    half.mkdir(parents=True)
    assert runs.history(tmp_path) == []
    make(tmp_path, "failover-20261125t030000-aaaa")
    assert not half.exists()


def test_runs_are_listed_by_time_and_found_by_a_part_of_their_id(tmp_path: Path) -> None:
    for run_id in ("restore-20261125t040000-bbbb", "backup-20261125t050000-cccc"):
        make(tmp_path, run_id)
    make(tmp_path, "failover-20261125t030000-aaaa")
    order = [run.run_id.split("-")[0] for run in runs.history(tmp_path)]
    assert order == ["failover", "restore", "backup"]
    assert runs.load(tmp_path, "rest").run_id == "restore-20261125t040000-bbbb"
    make(tmp_path, "restore-20261126t040000-dddd")
    with pytest.raises(InputError, match="ambiguous"):
        runs.load(tmp_path, "rest")
    with pytest.raises(InputError, match="does not exist"):
        runs.load(tmp_path, "switchover")


def test_one_process_works_on_a_run_and_its_death_frees_it(tmp_path: Path) -> None:
    run = make(tmp_path, "failover-20261125t030000-aaaa")
    code = (
        "import sys, time; from pathlib import Path; from orchestrator.engine import runs\n"
        "with runs.locked(Path(sys.argv[1])): print('locked', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(run.directory)], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        assert run.is_alive
        assert run.state == "running"
        with pytest.raises(Refused, match=f"process {other.pid}"), runs.locked(run.directory):
            pass
        other.kill()
    assert not run.is_alive
    with runs.locked(run.directory):
        pass


def test_a_full_disk_is_said_before_anything_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.require_room(tmp_path / "new", "go on")
    full = shutil.disk_usage(tmp_path)._replace(free=2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with pytest.raises(InfrastructureError, match="make room"):
        runs.require_room(tmp_path, "make room")


@pytest.mark.parametrize("todo", ["unseal it", "", "make room, then `anlan drill resume {run}`"])
def test_a_run_that_a_server_stops_says_how_it_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, todo: str
) -> None:
    run_id = "failover-20261125t030000-aaaa"
    run, said = make(tmp_path, run_id), todo.format(run=run_id)

    def stopped(*_arguments: object) -> list[str]:
        raise InfrastructureError("the secret manager is sealed", said)

    monkeypatch.setattr("orchestrator.engine.execute.execute", stopped)
    with pytest.raises(InfrastructureError) as raised:
        drill_work.work(run, as_json=False, quiet=True)
    assert raised.value.todo.startswith(said)
    assert raised.value.todo.count(f"`anlan drill resume {run_id}`") == 1
