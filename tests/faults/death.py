"""Running a drill that dies at a chosen moment, and what must be true once it was resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from orchestrator.drivers.lease import LeaseFile
from orchestrator.drivers.processes import process_table
from orchestrator.drivers.twin import twins_directory
from orchestrator.model.environment import Environment
from tests.commands import CHECKOUT, anlan
from tests.faults.few import few_policies

ALL = os.environ.get("ANLAN_FAULTS") == "all"
CRASH = [sys.executable, "-m", "tests.faults.crash"]
SHORT = {
    "failover": ["-p", "baseline_seconds=1"],
    "failover-frozen": ["-p", "baseline_seconds=1", "-p", "fault=database-frozen"],
    "failover-full": ["-p", "baseline_seconds=1", "-p", "fault=disk-full"],
    "false-failover": ["-p", "baseline_seconds=1"],
    "front-door-killed": ["-p", "baseline_seconds=1"],
    "certificate-expiry": ["-p", "baseline_seconds=1", "-p", "ttl_seconds=35"],
    "secrets-loss": ["-p", "baseline_seconds=1"],
    "partition": ["-p", "baseline_seconds=1", "-p", "alone_seconds=1"],
    "switchover": ["-p", "baseline_seconds=1"],
    "restore": ["-p", "observe_seconds=1"],
    "backup": ["-p", "type=incr"],
    "upgrade-rehearsal": [],
    "failover-isolated": ["-p", "baseline_seconds=1"],
    "corruption": ["-p", "observe_seconds=1"],
    "ransomware": ["-p", "observe_seconds=1", "-p", "wal=switch", "-p", "lock_seconds=60"],
}


def name_of(drill: str) -> str:
    """The drill of a key of SHORT."""
    return drill.removesuffix("-frozen").removesuffix("-full")


def run_command(environment: Environment, drill: str) -> tuple[str, ...]:
    """What runs the drill of a key of SHORT, after `anlan drill`."""
    return "run", name_of(drill), environment.name, *SHORT[drill], *few_policies()


def steps_of(drill: str) -> list[dict[str, Any]]:
    """The steps of the drill of a key of SHORT, as its file has them."""
    steps: list[dict[str, Any]] = yaml.safe_load(
        (CHECKOUT / "drills" / f"{name_of(drill)}.yaml").read_text()
    )["steps"]
    return steps


def die_at(state: Path, moment: str, *arguments: str) -> None:
    """Run a command that dies at a moment, and see that it did."""
    died = subprocess.run(
        [*CRASH, moment, "drill", *arguments],
        env={**os.environ, "ANLAN_STATE_DIR": str(state)},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert died.returncode == -signal.SIGKILL, f"it was to die at {moment}: {died.stderr}"


def resumed(environment: Environment, state: Path, run: str) -> dict[str, Any]:
    """Resume a run to its end and check what must be true however it died; returns its result."""
    ended = anlan(state, "drill", "resume", run, "--json")
    assert ended.stdout, ended.stderr
    result: dict[str, Any] = json.loads(ended.stdout)
    derived = result["derived"]
    assert [one for one in derived["undo"] if one["status"] != "done"] == []
    assert [step for step in derived["steps"] if step["status"] != "done"] == []
    # Ransomware takes what was not archived yet.
    if derived["ledger"] and not result["run_id"].startswith("ransomware"):
        assert derived["ledger"]["acknowledged"] == derived["ledger"]["recovered"] > 0
        assert derived["ledger"]["lost_keys"] == []
    unwatched = (
        "backup",
        "corruption",
        "ransomware",
        "restore",
        "secrets-loss",
        "certificate-",
        "upgrade-",
        "failover-isolated",
    )
    if not result["run_id"].startswith(unwatched):
        checks = {check["name"]: check["ok"] for check in derived["checks"]}
        assert checks["never_two_primaries"] is True
        assert derived["rto_seconds"] > 0
    assert_as_it_began(environment, state)
    trust = str(environment.evidence_public_key)
    verified = anlan(state, "evidence", "verify", result["bundle"], "--trust", trust)
    assert verified.returncode == 0, verified.stdout
    return result


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
