"""A restore onto the kept twin: what changed is fetched, what was damaged in it is found."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.model.environment import Environment
from tests.commands import anlan, run_drill, state_for

SCHEDULE = """\
schema: anlan.schedule/v1
title: {en: Each backup is restored, zh: 每个备份都被恢复}
entries:
  - id: proof
    drill: restore
    cron: "0 0 1 1 *"
    after_backup_minutes: 30
    parameters: {twin: kept, observe_seconds: 1}
"""


@pytest.fixture(scope="module")
def state(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A state directory with a schedule in force, and a backup made after that."""
    made = state_for(environment, tmp_path_factory.mktemp("kept"))
    schedule = made / "schedule.yaml"
    schedule.write_text(SCHEDULE)
    applied = anlan(made, "schedule", "apply", str(schedule), environment.name)
    assert applied.returncode == 0, applied.stderr
    code, result = run_drill(made, environment, "backup", "-p", "type=incr")
    assert (code, result["verdict"]) == (0, "pass"), result["derived"]["reasons"]
    yield made
    shutil.rmtree(environment.root / "kept", ignore_errors=True)


def _restore(state: Path, environment: Environment) -> dict[str, Any]:
    """A restore that must pass onto the kept twin; returns what was fetched and what was there."""
    arguments = ("-p", "twin=kept", "-p", "observe_seconds=1")
    code, result = run_drill(state, environment, "restore", *arguments)
    assert code == 0, result["derived"]["reasons"]
    return _proven(state, environment, result)


def _proven(state: Path, environment: Environment, result: dict[str, Any]) -> dict[str, Any]:
    """What a restore that passed fetched and what was there."""
    assert result["verdict"] == "pass", result["derived"]["reasons"]
    checks = {check["name"]: check["ok"] for check in result["derived"]["checks"]}
    names = ("backup_restored", "data_checksums", "twin_isolated", "no_residue")
    assert [checks[name] for name in names] == [True] * 4
    assert not list((environment.root / "twins").iterdir())
    journal = state / "runs" / result["run_id"] / "raw" / "steps.jsonl"
    notes = [json.loads(line) for line in journal.read_text().splitlines()]
    found: dict[str, Any] = next(
        n["data"] for n in notes if n["kind"] == "note" and n["name"] == "restored"
    )
    return found


def test_a_kept_twin_gets_what_differs_alone_and_is_never_trusted(
    state: Path, environment: Environment
) -> None:
    data = environment.root / "kept" / "data"
    worked = anlan(state, "worker", "--once")
    assert worked.returncode == 0, worked.stderr
    (result,) = (json.loads(file.read_text()) for file in state.glob("runs/restore-*/run.json"))
    assert json.loads((state / "runs" / result["run_id"] / "plan.json").read_text())["trigger"] == (
        "backup"
    )
    first = _proven(state, environment, result)
    again = anlan(state, "worker", "--once")
    assert (again.returncode, again.stdout) == (0, ""), "one run for one backup"
    assert data.stat().st_mode & 0o777 == 0o700
    assert data.owner() == environment.starting_primary.machine.service_user

    again = _restore(state, environment)
    assert again["present_files"] > 10 * again["fetched_files"] > 0
    files = [found["fetched_files"] + found["present_files"] for found in (first, again)]
    assert files[0] == files[1], "of the same backup"

    # Same size and time, another byte, in a file that no query of the drill reads; and a server
    # that ended without its word: the pid is of a living process, which nobody may signal.
    victim = data / "base" / "1" / "PG_VERSION"
    times = victim.stat()
    victim.write_text("1X\n")
    os.utime(victim, ns=(times.st_atime_ns, times.st_mtime_ns))
    (data / "leftover").write_text("of a restore that was killed")
    with subprocess.Popen(["sleep", "600"], user=data.owner(), cwd="/") as bystander:
        try:
            (data / "postmaster.pid").write_text(f"{bystander.pid}\n{data}\n")
            _restore(state, environment)
            assert bystander.poll() is None, "a process of that pid was signalled"
        finally:
            bystander.kill()
    assert victim.read_text() == "15\n"
    assert not (data / "leftover").exists()

    # What is no database any more is made anew.
    (data / "PG_VERSION").unlink()
    (data / "backup.manifest").unlink(missing_ok=True)
    anew = _restore(state, environment)
    assert anew["present_files"] == 0
