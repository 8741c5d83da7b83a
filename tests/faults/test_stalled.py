"""A worker that is stopped in the middle of a failover, and wakes up when another has ended it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from orchestrator.drivers.lease import LeaseFile
from orchestrator.evidence import layout
from orchestrator.model.environment import Environment
from tests.commands import CHECKOUT, anlan, only_run, run_of
from tests.faults.death import assert_as_it_began, die_at

# Until it counts as stopped 15 s, until the dead run is taken over 10 s.
TAKEN_OVER_SECONDS = 30.0


@contextmanager
def worker(state: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "worker", *options],
        env={**os.environ, "ANLAN_STATE_DIR": str(state)},
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        process.wait(timeout=120)


def until(what: str, holds: Callable[[], bool], seconds: float) -> float:
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds, f"{what} did not come in {seconds:g} s"
        time.sleep(0.02)
    return time.monotonic() - began


def test_of_two_workers_one_stopped_in_a_failover_does_nothing_when_it_wakes(
    environment: Environment, state: Path
) -> None:
    lease = LeaseFile(environment.lease_file)
    die_at(
        state, "end:start-ledger:before", "run", "failover", environment.name,
        "-p", "baseline_seconds=1",
    )  # fmt: skip
    run = only_run(state)
    directory = state / "runs" / run

    def attempts() -> int:
        return sum(entry["kind"] == "header" for entry in run_of(state))

    def begun() -> bool:
        steps = [entry.get("step") for entry in run_of(state) if entry["kind"] == "begin"]
        return "promote-standby" in steps

    with worker(state, "--once") as first:
        until("the promotion", begun, 60)
        (child,) = psutil.Process(first.pid).children()
        for process in (first.pid, child.pid):
            os.kill(process, signal.SIGSTOP)
        token = lease.current().token
        status = json.loads(anlan(state, "drill", "status", run, "--json").stdout)
        assert status["state"] == "running"  # so far: it may be slow
        with worker(state) as second, worker(state) as third:
            took = until("the takeover", lambda: attempts() == 3, 2 * TAKEN_OVER_SECONDS)
            assert not psutil.pid_exists(child.pid) or child.status() == psutil.STATUS_ZOMBIE
            assert lease.current().token > token
            until("its end", (directory / layout.PROOFS["run"]).exists, 180)
            assert second.poll() is third.poll() is None
        journal = (directory / "raw" / "steps.jsonl").read_bytes()
        first.send_signal(signal.SIGCONT)
        said, _ = first.communicate(timeout=60)
    assert took < TAKEN_OVER_SECONDS + 15, said  # the processes' own start on a busy machine
    assert first.returncode == 0, said
    assert (directory / "raw" / "steps.jsonl").read_bytes() == journal
    assert not lease.current().is_held

    result = json.loads((directory / "run.json").read_text())
    derived = result["derived"]
    assert result["attempts"] == 3
    # A client's RTO has the pause in it; nothing else may be wrong.
    assert [one for one in derived["reasons"] if not one.startswith("rto_seconds is")] == []
    assert derived["ledger"]["lost_keys"] == []
    checks = {check["name"]: check["ok"] for check in derived["checks"]}
    assert checks["never_two_primaries"] is True
    assert_as_it_began(environment, state)
