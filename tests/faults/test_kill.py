"""kill -9 of the orchestrator at every boundary of a drill: resumed, it always ends well.

After each death: the run is resumed by its id; nothing that was acknowledged is lost, never are
there two primaries, every undo succeeded, the environment is as it began and nothing is left.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from orchestrator.drivers.lease import LeaseFile
from orchestrator.drivers.processes import process_table
from orchestrator.drivers.twin import twins_directory
from orchestrator.model.environment import Environment
from tests.commands import CHECKOUT, anlan, only_run, run_of

CRASH = [sys.executable, "-m", "tests.faults.crash"]
SHORT = {
    "failover": ["-p", "baseline_seconds=1"],
    "restore": ["-p", "observe_seconds=1"],
    "backup": ["-p", "type=incr"],
}


def steps_of(drill: str) -> list[str]:
    text = (CHECKOUT / "drills" / f"{drill}.yaml").read_text()
    return [step["id"] for step in yaml.safe_load(text)["steps"]]


def crashes() -> list[tuple[str, str]]:
    boundaries = [
        (drill, f"end:{step}:before") for drill in ("failover", "restore") for step in steps_of(drill)
    ]
    inside = [
        # Between the intent and the deed, and between the deed and its record.
        ("failover", "mark:fault:after"),
        ("failover", "promise:b:after"),
        ("failover", "transition:start_machine:after"),
        ("failover", "transition:rejoin:after"),
        ("failover", "rejoined:a:before"),
        ("failover", "transition:failback:after"),
        ("failover", "promise:a:before"),
        ("failover", "promise:a:after"),
        ("failover", "in:restore-topology:2.5"),
        ("failover", "undo_begin:start-ledger:after"),
        ("failover", "undo_end:start-erp-clients:before"),
        ("failover", "mark:ended:after"),
        ("restore", "in:restore-twin:0.6"),
        ("restore", "in:restore-twin:1.6"),
        ("restore", "begin:remove-twin:after"),
        ("restore", "mark:ended:before"),
        ("backup", "in:take-backup:1.0"),
    ]
    return boundaries + inside


@pytest.mark.parametrize(("drill", "moment"), crashes())
def test_a_killed_run_is_resumed_and_loses_nothing(
    environment: Environment, state: Path, drill: str, moment: str
) -> None:
    died = subprocess.run(
        [*CRASH, moment, "drill", "run", drill, environment.name, *SHORT[drill]],
        env={**os.environ, "ANLAN_STATE_DIR": str(state)},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert died.returncode == -signal.SIGKILL, f"it was to die at {moment}: {died.stderr}"
    run = only_run(state)
    assert LeaseFile(environment.lease_file).current().run_id == run

    resumed = anlan(state, "drill", "resume", run, "--json")
    result = json.loads(resumed.stdout)
    derived = result["derived"]
    assert (resumed.returncode, result["verdict"]) == (0, "pass"), derived["reasons"]
    assert result["attempts"] == 2 or moment.startswith("mark:ended:after")
    assert [one for one in derived["undo"] if one["status"] != "done"] == []
    if derived["ledger"]:
        assert derived["ledger"]["acknowledged"] == derived["ledger"]["recovered"] > 0
        assert derived["ledger"]["lost_keys"] == []
    if drill == "failover":
        checks = {check["name"]: check["ok"] for check in derived["checks"]}
        assert checks["never_two_primaries"] is True
        assert 0 < derived["rto_seconds"] < 60

    assert_as_it_began(environment, state)
    trust = str(environment.evidence_public_key)
    verified = anlan(state, "evidence", "verify", result["bundle"], "--trust", trust)
    assert verified.returncode == 0, verified.stdout


def assert_as_it_began(environment: Environment, state: Path) -> None:
    """Every part is as it starts, nobody holds the environment, no probe or twin is left."""
    checked = anlan(state, "env", "check", environment.name)
    assert checked.returncode == 0, checked.stdout
    assert not LeaseFile(environment.lease_file).current().is_held
    twins = twins_directory(environment)
    assert not twins.exists() or not list(twins.iterdir())
    probes = [entry for entry in process_table().values() if _is_probe(entry.pid, state)]
    assert probes == []


def _is_probe(pid: int, state: Path) -> bool:
    try:
        words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return any(word.startswith(f"ANLAN_PROBE={state}".encode()) for word in words)


def test_a_run_that_died_before_it_had_a_plan_is_let_go(
    environment: Environment, state: Path
) -> None:
    lease = LeaseFile(environment.lease_file)
    lease.acquire("failover-20260101t000000-dead")
    refused = anlan(state, "drill", "run", "backup", environment.name)
    assert refused.returncode == 3
    assert "failover-20260101t000000-dead" in refused.stderr
    freed = anlan(state, "drill", "resume", "failover-20260101t000000-dead")
    assert (freed.returncode, "nothing was touched" in freed.stdout) == (0, True)
    assert not lease.current().is_held


def test_an_interrupt_ends_the_run_with_its_undo(environment: Environment, state: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "drill", "run", "failover", environment.name]
        + ["-p", "baseline_seconds=5", "--json"],
        env={**os.environ, "ANLAN_STATE_DIR": str(state)},
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        while not any(
            entry["kind"] == "begin" and entry["step"] == "observe-baseline"
            for entry in run_of(state)
        ):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=120)
    result = json.loads(output)
    assert (process.returncode, result["verdict"]) == (5, "inconclusive")
    done = {step["id"]: step["status"] for step in result["derived"]["steps"]}
    assert (done["observe-baseline"], done["kill-site"]) == ("done", "not_run")
    assert_as_it_began(environment, state)
