"""A schedule in force: due drills run, others are recorded as missed, dead runs go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.drivers.secrets import Secrets, TransitSigner
from orchestrator.evidence import EvidenceStore
from orchestrator.model.environment import Environment
from orchestrator.model.schedule import applied, parse_schedule
from tests.commands import CHECKOUT, anlan, state_for

_SLOT_SECONDS, _WORK_SECONDS = 300, 90
SCHEDULE = """\
schema: anlan.schedule/v1
title: {en: Every five minutes, zh: 每五分钟}
entries:
  - {id: asked, drill: readiness, cron: "*/5 * * * *", start_within_minutes: 5}
  - {id: stopped, drill: backup, cron: "*/5 * * * *", start_within_minutes: 5}
"""


@pytest.fixture
def state(environment: Environment, tmp_path: Path) -> Path:
    """A state directory that knows the environment."""
    return state_for(environment, tmp_path / "state")


def log_status(state: Path, environment: Environment) -> dict[str, Any]:
    trust = str(environment.evidence_public_key)
    done = anlan(state, "evidence", "log", "verify", "--trust", trust, "--json")
    (answer,) = json.loads(done.stdout)
    assert (done.returncode == 0) == (answer["status"] == "VALID")
    return dict(answer)


def test_every_due_run_is_in_the_evidence_whether_it_ran_or_not(
    state: Path, environment: Environment
) -> None:
    # Not across a slot, which comes each five minutes: it would be one more.
    if (left := _SLOT_SECONDS - time.time() % _SLOT_SECONDS) < _WORK_SECONDS:
        time.sleep(left + 1)
    now = datetime.now(UTC)
    # As if applied a quarter of an hour ago, and no worker was there.
    record = applied(
        parse_schedule(SCHEDULE), environment.name, environment.tier, "t", now - timedelta(0, 900)
    )
    EvidenceStore(state, TransitSigner(Secrets(environment))).record_schedule(record)
    paused = anlan(state, "schedule", "pause", environment.name, "stopped", "--reason", "closing")
    assert paused.returncode == 0, paused.stderr
    before = log_status(state, environment)
    assert before["status"] == "INCOMPLETE"
    assert {one["code"] for one in before["problems"]} == {"missing-scheduled-run"}

    worked = anlan(state, "worker", "--once", timeout_seconds=300)
    assert worked.returncode == 0, worked.stderr
    runs = [json.loads(file.read_text()) for file in sorted((state / "runs").glob("*/run.json"))]
    reasons = {run["run_id"]: run["derived"]["reasons"][0] for run in runs}
    asked = [reasons[name] for name in sorted(reasons) if name.startswith("readiness")]
    stopped = [reasons[name] for name in sorted(reasons) if name.startswith("backup")]
    assert len(asked) == len(stopped) == 3
    missed = "missed: no worker was there in time"
    # The newest may still begin; a real failover was never drilled from this state directory.
    assert asked[:2] == [missed] * 2
    assert "failover_proven" in asked[2]
    assert all("paused by" in reason and "closing" in reason for reason in stopped)
    assert {run["exit_code"] for run in runs if run["derived"]["policies"] is None} == {5}
    assert log_status(state, environment)["status"] == "VALID"

    # What was missed has a bundle, which an officer verifies like any other.
    trust = str(environment.evidence_public_key)
    for run in runs:
        bundle = str(state / "evidence" / "bundles" / f"{run['run_id']}.zip")
        verified = anlan(state, "evidence", "verify", bundle, "--trust", trust, "--json")
        assert verified.returncode == 0, verified.stdout
    listed = json.loads(anlan(state, "schedule", "list", "--json").stdout)
    assert [row["entry"] for row in listed] == ["asked", "stopped"]
    assert "closing" in listed[1]["paused"]
    again = anlan(state, "worker", "--once")
    assert (again.returncode, again.stdout) == (0, "")


def test_a_run_of_a_dead_worker_is_taken_over_by_one_of_two(
    state: Path, environment: Environment
) -> None:
    variables = {**os.environ, "ANLAN_STATE_DIR": str(state)}
    crash = [sys.executable, "-m", "tests.faults.crash", "end:write-marker:before"]
    died = subprocess.run(
        [*crash, "drill", "run", "backup", environment.name, "-p", "type=incr"],
        env=variables,
        cwd=CHECKOUT,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert died.returncode == -signal.SIGKILL
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "orchestrator", "worker", "--once"],
            env=variables,
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    said = "".join(process.communicate(timeout=180)[0] for process in workers)
    (file,) = (state / "runs").glob("*/run.json")
    result = json.loads(file.read_text())
    assert (result["verdict"], result["attempts"]) == ("pass", 2), said
    assert log_status(state, environment)["status"] == "VALID"
