"""A drill ends itself when production suffers, before it breaks anything, and leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from orchestrator.drivers.host import Machine
from orchestrator.drivers.lease import LeaseFile
from orchestrator.drivers.processes import ProcessEntry, send
from orchestrator.model.environment import Environment
from tests.commands import CHECKOUT, anlan, only_run, run_of, state_for

DRILL = """\
schema: anlan.drill/v1
name: careful
title: {en: Careful, zh: 谨慎}
purpose: {en: It ends itself, zh: 自行终止}
scenario: {en: The front door hangs, zh: 前端入口停滞}
impact: production
abort: {error_rate: 0.5, over_seconds: 1}
steps:
  - id: start-erp-clients
    do: start_erp_clients
    phase: baseline
    timeout_seconds: 120
    title: {en: Start ERP clients, zh: 启动 ERP 客户端}
  - id: take-backup
    do: take_backup
    phase: baseline
    timeout_seconds: 600
    with: {type: incr}
    title: {en: Take a backup, zh: 执行备份}
  - id: kill-front-door
    do: kill_front_door
    phase: fault
    timeout_seconds: 60
    with: {interval_seconds: 0.1, misses: 3, grace_seconds: 3.5}
    title: {en: Kill the front door, zh: 终止前端入口}
"""


def test_a_drill_ends_itself_when_the_clients_suffer_before_its_fault(
    environment: Environment, tmp_path: Path
) -> None:
    state = state_for(environment, tmp_path / "state")
    drill = tmp_path / "careful.yaml"
    drill.write_text(DRILL)
    door = environment.front_door
    machine = Machine(door.machine, LeaseFile(environment.lease_file))
    stopped = partial(machine.program_processes, door.program)
    out, said = run_with_frozen(state, environment, drill, "take-backup", stopped)
    result = json.loads(out)
    assert result["verdict"] == "inconclusive", said
    assert result["derived"]["reasons"][0] == (
        "aborted before kill-front-door: abort budget: "
        "100% of the writes failed in 1 s, at most 50%"
    )
    steps = {one["id"]: one["status"] for one in result["derived"]["steps"]}
    assert steps["kill-front-door"] == "not_run"
    assert [one["status"] for one in result["derived"]["undo"]] == ["done"]
    assert not LeaseFile(environment.lease_file).current().is_held
    bundle = str(state / "evidence" / "bundles" / f"{only_run(state)}.zip")
    trust = ("--trust", str(environment.evidence_public_key))
    verified = anlan(state, "evidence", "verify", bundle, *trust)
    assert verified.returncode == 0, verified.stdout


def run_with_frozen(
    state: Path,
    environment: Environment,
    drill: Path,
    step: str,
    processes: Callable[[], Sequence[ProcessEntry]],
) -> tuple[str, str]:
    """Run a drill whose budget must end it: processes are stopped from a step on until it does.

    Returns what it said on standard output and error.
    """
    command = [sys.executable, "-m", "orchestrator", "drill", "run", str(drill), environment.name]
    with subprocess.Popen(
        [*command, "--json"],
        env={**os.environ, "ANLAN_STATE_DIR": str(state)},
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            _await_step(state, step, process)
            for one in processes():
                send(one.pid, signal.SIGSTOP)
            asked = state / "runs" / only_run(state) / "abort"
            while not asked.exists() and process.poll() is None:
                time.sleep(0.05)
        finally:
            for one in processes():
                send(one.pid, signal.SIGCONT)
        return process.communicate(timeout=180)


def _await_step(state: Path, step: str, process: subprocess.Popen[str]) -> None:
    """Wait until a step of the one run has begun."""
    while not any(one["kind"] == "begin" and one["step"] == step for one in run_of(state)):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
