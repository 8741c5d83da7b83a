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
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.collect.handshake import verify
from orchestrator.collect.tls_endpoint import endpoints
from orchestrator.drivers.certificates import server_certificates
from orchestrator.drivers.lease import LeaseFile
from orchestrator.model.environment import Environment
from orchestrator.steps import VERBS
from tests.commands import CHECKOUT, anlan, only_run, run_drill, run_of, state_for
from tests.faults.death import (
    ALL,
    SHORT,
    assert_as_it_began,
    die_at,
    name_of,
    resumed,
    run_command,
    steps_of,
)
from tests.faults.few import few_policies

MOMENTS = [
    # Between the intent and the deed, between the deed and its record, and in the middle.
    ("failover", "mark:fault:after"),
    ("failover", "end:break-primary:before"),
    ("failover", "promise:b:after"),
    ("failover", "end:promote-standby:before"),
    ("failover", "transition:rejoin:after"),
    ("failover", "rejoined:a:before"),
    ("failover", "transition:failback:after"),
    ("failover", "promise:a:before"),
    ("failover", "promise:a:after"),
    ("failover", "in:restore-topology:2.5"),
    ("failover", "mark:ended:after"),
    ("failover-frozen", "end:break-primary:before"),
    ("failover-frozen", "in:detect-failure:2.0"),
    ("failover-frozen", "end:power-off-primary:before"),
    ("failover-full", "in:break-primary:0.15"),
    ("failover-full", "mark:fault_done:before"),
    ("failover-full", "end:decide-failover:before"),
    ("false-failover", "in:blip-primary:1.0"),
    ("front-door-killed", "mark:fault:after"),
    ("front-door-killed", "in:kill-front-door:0.3"),
    ("certificate-expiry", "in:renew-certificates:2.0"),
    ("secrets-loss", "mark:secrets_lost:before"),
    ("secrets-loss", "in:restore-secrets:4.0"),
    ("secrets-loss", "mark:secrets_served:before"),
    ("partition", "mark:fault_done:before"),
    ("partition", "in:degrade-primary:2.0"),
    ("partition", "mark:exposed:after"),
    ("partition", "end:check-cut-off-standby:before"),
    ("partition", "mark:protected:before"),
    ("switchover", "mark:fault:after"),
    ("switchover", "in:drain-primary:0.3"),
    ("switchover", "end:drain-primary:before"),
    ("switchover", "promise:b:after"),
    ("restore", "in:restore-twin:0.6"),
    ("restore", "in:restore-twin:1.6"),
    # Side by side with the start of the ERP, which takes longer.
    ("restore", "end:check-twin-integrity:before"),
    ("restore", "end:check-twin-isolation:before"),
    ("restore", "begin:remove-twin:after"),
    ("restore", "mark:ended:before"),
    ("backup", "in:take-backup:1.0"),
    ("backup", "mark:ended:after"),
    ("failover-isolated", "in:clone-standby:1.0"),
    ("failover-isolated", "end:promote-clone:before"),
    ("upgrade-rehearsal", "in:update-twin-erp:4.0"),
    ("corruption", "end:damage-marker:before"),
    # In the middle of a twin's restore, or of its recovery, as the case may be.
    ("corruption", "in:locate-damage:4.2"),
    ("ransomware", "in:copy-repository:0.4"),
    ("ransomware", "end:attack-repository:before"),
]
# Neighbours of others: `make faults` runs them too.
LONG = {
    ("failover", "end:break-primary:before"),
    ("failover", "end:promote-standby:before"),
    ("failover", "rejoined:a:before"),
    ("failover", "promise:a:before"),
    ("failover", "transition:failback:after"),
    ("failover-frozen", "in:detect-failure:2.0"),
    ("failover-frozen", "end:power-off-primary:before"),
    ("front-door-killed", "in:kill-front-door:0.3"),
    ("failover-full", "mark:fault_done:before"),
    ("failover-isolated", "in:clone-standby:1.0"),
    ("upgrade-rehearsal", "in:update-twin-erp:4.0"),
    ("secrets-loss", "mark:secrets_lost:before"),
    ("partition", "in:degrade-primary:2.0"),
    ("partition", "mark:exposed:after"),
    ("partition", "end:check-cut-off-standby:before"),
    ("switchover", "mark:fault:after"),
    ("switchover", "end:drain-primary:before"),
    ("restore", "in:restore-twin:0.6"),
    ("restore", "end:check-twin-isolation:before"),
    ("ransomware", "in:copy-repository:0.4"),
    ("failover", "in:restore-topology:2.5"),
    ("failover-full", "end:decide-failover:before"),
    ("front-door-killed", "mark:fault:after"),
    ("secrets-loss", "mark:secrets_served:before"),
    ("partition", "mark:protected:before"),
    ("switchover", "in:drain-primary:0.3"),
    ("restore", "end:check-twin-integrity:before"),
    ("restore", "mark:ended:before"),
    ("corruption", "end:damage-marker:before"),
}
assert set(MOMENTS) >= LONG
if not ALL:
    MOMENTS = [moment for moment in MOMENTS if moment not in LONG]


@pytest.mark.parametrize(("drill", "moment"), MOMENTS)
def test_a_killed_run_is_resumed_and_loses_nothing(
    environment: Environment, state: Path, drill: str, moment: str
) -> None:
    die_at(state, moment, *run_command(environment, drill))
    run = only_run(state)
    assert LeaseFile(environment.lease_file).current().run_id == run

    result = resumed(environment, state, run)
    assert result["verdict"] == "pass", result["derived"]["reasons"]
    # Once the result is written down, the journal is closed: the run is not told again.
    assert result["attempts"] == (1 if moment == "mark:ended:after" else 2)
    if moment == "mark:ended:after":
        assert resumed(environment, state, run) == result, "a finished run is only told again"


# Each drill that changes something and needs no stack; the long version kills them all.
DRILLS = list(SHORT) if ALL else ["failover"]
# What many deaths cost is time, and targets are about time; nothing else may be wrong.
LATE = ("rto_seconds is",)
# The copy's lock is to outlast all the deaths.
LASTING = {"ransomware": ("-p", "lock_seconds=240")}
# A shorter step may be over before its killer strikes.
LONG_STEP_SECONDS = 0.2


@pytest.mark.parametrize("drill", DRILLS)
def test_a_run_killed_at_every_boundary_is_resumed_each_time_and_loses_nothing(
    environment: Environment, state: Path, drill: str
) -> None:
    """Each step is done, and killed before that is written down; so is each undo.

    A step that ended beside one that was killed is done: it has no more boundary to die at.
    """
    steps = steps_of(drill)
    undone = [step["id"] for step in reversed(steps) if VERBS[step["do"]].undo]
    moments = [f"end:{step['id']}:before" for step in steps]
    moments += [f"undo_end:{step}:before" for step in undone]
    die_at(state, moments[0], *run_command(environment, drill))
    run, deaths = only_run(state), 1
    for moment in moments[1:]:
        kind, name, _ = moment.split(":")
        if not any(entry["kind"] == kind and entry["step"] == name for entry in run_of(state)):
            die_at(state, moment, "resume", run)
            deaths += 1
    assert deaths >= len(moments) - 2
    assert_ends_well(environment, state, deaths)


@pytest.mark.skipif(not ALL, reason="make faults")
@pytest.mark.parametrize("drill", DRILLS)
def test_a_run_killed_inside_every_step_is_resumed_each_time_and_loses_nothing(
    environment: Environment, state: Path, tmp_path: Path, drill: str
) -> None:
    """Each step is killed when half of the time is over that it took in a run without a death."""
    _, whole = run_drill(
        state_for(environment, tmp_path / "whole"),
        environment,
        name_of(drill),
        *SHORT[drill],
        *few_policies(),
    )
    assert whole["verdict"] == "pass", whole["derived"]["reasons"]
    took = {step["id"]: step["seconds"] for step in whole["derived"]["steps"]}
    inside: set[str] = set()
    command, deaths = (*run_command(environment, drill), *LASTING.get(drill, ())), 0
    for step in steps_of(drill):
        if step["id"] not in entries(state, "end"):
            die_at(state, f"in:{step['id']}:{took[step['id']] / 2:.3f}", *command)
            inside |= entries(state, "begin") - entries(state, "end")
            command, deaths = ("resume", only_run(state)), deaths + 1
    # What a death left done is quick when it is resumed: its killer then strikes a later step.
    long = {step for step, seconds in took.items() if seconds > LONG_STEP_SECONDS}
    assert len(long & inside) >= len(long) / 2
    result = assert_ends_well(environment, state, deaths)
    # Not one check went with a death: what is not there cannot be red.
    assert _checks(whole) <= _checks(result)


def _checks(result: dict[str, Any]) -> set[tuple[str, str]]:
    return {(one["step"], one["name"]) for one in result["derived"]["checks"]}


def entries(state: Path, kind: str) -> set[str]:
    """The steps that the one run's journal has an entry of a kind about."""
    return {entry["step"] for entry in run_of(state) if entry["kind"] == kind}


def assert_ends_well(environment: Environment, state: Path, deaths: int) -> dict[str, Any]:
    result = resumed(environment, state, only_run(state))
    assert result["attempts"] == deaths + 1
    reasons = result["derived"]["reasons"]
    assert [reason for reason in reasons if not reason.startswith(LATE)] == []
    return result


def test_a_run_that_died_before_it_had_a_plan_is_let_go(
    environment: Environment, state: Path
) -> None:
    lease = LeaseFile(environment.lease_file)
    lease.acquire("failover-20260101t000000-dead", {"phase": "planning"})
    refused = anlan(state, "drill", "run", "backup", environment.name)
    assert refused.returncode == 3
    assert "failover-20260101t000000-dead" in refused.stderr
    freed = anlan(state, "drill", "resume", "failover-20260101t000000-dead")
    assert (freed.returncode, "nothing was touched" in freed.stdout) == (0, True)
    assert not lease.current().is_held


def test_a_run_that_began_and_lost_its_directory_is_not_just_let_go(
    environment: Environment, state: Path
) -> None:
    lease, run = LeaseFile(environment.lease_file), "failover-20260101t000000-gone"
    lease.acquire(run)
    refused = anlan(state, "drill", "resume", run)
    assert refused.returncode == 3
    assert f"--take-over {run}" in refused.stderr
    assert lease.current().run_id == run
    wrong = anlan(state, "env", "restore", environment.name, "--take-over", "another")
    assert (wrong.returncode, lease.current().run_id) == (2, run)
    taken = anlan(state, "env", "restore", environment.name, "--take-over", run)
    assert taken.returncode == 0, taken.stderr
    assert_as_it_began(environment, state)


def test_a_run_that_is_aborted_while_the_secret_manager_is_away_puts_its_storage_back(
    environment: Environment, state: Path
) -> None:
    died = ("run", "secrets-loss", environment.name, *SHORT["secrets-loss"])
    die_at(state, "in:restore-secrets:2.0", *died)
    run = only_run(state)
    storage = environment.secrets.storage_directory
    assert storage.with_name(f"{storage.name}.lost").is_dir()
    assert anlan(state, "drill", "abort", run).returncode == 0

    ended = anlan(state, "drill", "resume", run, "--json")
    derived = json.loads(ended.stdout)["derived"]
    undone = {one["step"]: one["status"] for one in derived["undo"]}
    assert undone["lose-secrets"] == "done"
    assert [path.name for path in storage.parent.glob("secrets*")] == [storage.name]
    assert_as_it_began(environment, state)


def test_no_client_meets_a_certificate_that_ran_out_when_nobody_resumes_the_run(
    environment: Environment, state: Path
) -> None:
    died = ("run", "certificate-expiry", environment.name, *SHORT["certificate-expiry"])
    die_at(state, "end:shorten-certificates:before", *died)
    run = only_run(state)
    door = server_certificates(environment)["common/front_door"]
    endpoint = endpoints(environment)[door.subject]
    assert door.kept is not None
    until = door.certificate.not_valid_after_utc
    while datetime.now(UTC) < until + timedelta(seconds=3):
        seen = verify(endpoint, environment.tls.ca_file)
        assert seen.chain, seen.error
        time.sleep(0.2)
    assert door.kept is None
    assert door.certificate.not_valid_after_utc > until

    result = json.loads(anlan(state, "drill", "resume", run, "--json").stdout)
    assert result["verdict"] == "fail"
    assert any("nobody renewed in time" in reason for reason in result["derived"]["reasons"])
    checks = {check["name"]: check["ok"] for check in result["derived"]["checks"]}
    assert checks["no_erp_request_failed"] is True
    assert not list(environment.root.rglob("*.kept"))
    assert_as_it_began(environment, state)


def test_an_interrupt_ends_the_run_with_its_undo(environment: Environment, state: Path) -> None:
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "orchestrator", "drill", "run", "failover", environment.name),
            *("-p", "baseline_seconds=5", "--json"),
        ],
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
    assert (done["observe-baseline"], done["break-primary"]) == ("done", "not_run")
    assert_as_it_began(environment, state)


def test_a_run_is_watched_by_another_process_through_its_death_and_to_its_end(
    environment: Environment, state: Path
) -> None:
    die_at(state, "end:write-marker:before", "run", "backup", environment.name, *SHORT["backup"])
    run = only_run(state)
    dead = anlan(state, "drill", "watch", "--json")
    assert (dead.returncode, f"anlan drill resume {run}" in dead.stderr) == (5, True)
    with subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "drill", "resume", run, "--json"],
        env={**os.environ, "ANLAN_STATE_DIR": str(state)},
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        while sum(entry["kind"] == "header" for entry in run_of(state)) < 2:
            assert process.poll() is None
        watched = anlan(state, "drill", "watch", run, "--json")
        process.communicate(timeout=120)
    assert watched.returncode == process.returncode
    events = [json.loads(line) for line in watched.stdout.splitlines()]
    assert [event["data"] for event in events] == run_of(state)
    assert [event["id"] for event in events] == [f"{run}/{n}" for n in range(len(events))]
    assert events[0]["time"] < events[-1]["time"]
    shown = anlan(state, "drill", "watch", run)
    assert "attempt 2" in shown.stderr
    assert_as_it_began(environment, state)
