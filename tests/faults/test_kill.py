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
import yaml

from orchestrator.collect.handshake import verify
from orchestrator.collect.tls_endpoint import endpoints
from orchestrator.drivers.certificates import server_certificates
from orchestrator.drivers.lease import LeaseFile
from orchestrator.drivers.processes import process_table
from orchestrator.drivers.twin import twins_directory
from orchestrator.model.environment import Environment
from orchestrator.steps import VERBS
from tests.commands import CHECKOUT, anlan, only_run, run_of

CRASH = [sys.executable, "-m", "tests.faults.crash"]
SHORT = {
    "failover": ["-p", "baseline_seconds=1"],
    "failover-frozen": ["-p", "baseline_seconds=1", "-p", "fault=database-frozen"],
    "failover-full": ["-p", "baseline_seconds=1", "-p", "fault=disk-full"],
    "false-failover": ["-p", "baseline_seconds=1"],
    "front-door-killed": ["-p", "baseline_seconds=1"],
    "certificate-expiry": ["-p", "baseline_seconds=1", "-p", "ttl_seconds=25"],
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


def steps_of(drill: str) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = yaml.safe_load(
        (CHECKOUT / "drills" / f"{drill}.yaml").read_text()
    )["steps"]
    return steps


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
ALL = os.environ.get("ANLAN_FAULTS") == "all"
if not ALL:
    MOMENTS = [moment for moment in MOMENTS if moment not in LONG]


def die_at(state: Path, moment: str, *arguments: str) -> None:
    """Run a command that dies at a moment, and see that it did."""
    died = subprocess.run(
        [*CRASH, moment, "drill", *arguments],
        env={**os.environ, "ANLAN_STATE_DIR": str(state)},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert died.returncode == -signal.SIGKILL, f"it was to die at {moment}: {died.stderr}"


@pytest.mark.parametrize(("drill", "moment"), MOMENTS)
def test_a_killed_run_is_resumed_and_loses_nothing(
    environment: Environment, state: Path, drill: str, moment: str
) -> None:
    name = drill.removesuffix("-frozen").removesuffix("-full")
    die_at(state, moment, "run", name, environment.name, *SHORT[drill])
    run = only_run(state)
    assert LeaseFile(environment.lease_file).current().run_id == run

    result = resumed(environment, state, run)
    assert result["verdict"] == "pass", result["derived"]["reasons"]
    # Once the result is written down, the journal is closed: the run is not told again.
    assert result["attempts"] == (1 if moment == "mark:ended:after" else 2)
    if moment == "mark:ended:after":
        assert resumed(environment, state, run) == result, "a finished run is only told again"


@pytest.mark.parametrize("drill", ["failover", "restore"] if ALL else ["failover"])
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
    die_at(state, moments[0], "run", drill, environment.name, *SHORT[drill])
    run = only_run(state)
    deaths = 1
    for moment in moments[1:]:
        kind, name, _ = moment.split(":")
        if not any(entry["kind"] == kind and entry["step"] == name for entry in run_of(state)):
            die_at(state, moment, "resume", run)
            deaths += 1
    assert deaths >= len(moments) - 2

    result = resumed(environment, state, run)
    assert result["attempts"] == deaths + 1
    # So many deaths cost time, and a client's RTO has them in it; nothing else may be wrong.
    reasons = result["derived"]["reasons"]
    assert [reason for reason in reasons if not reason.startswith("rto_seconds is")] == []


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
