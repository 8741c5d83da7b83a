"""The local stack as it runs: no change is no change, drift is found and repaired, locks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from orchestrator.drivers.host import Machine
from orchestrator.drivers.lease import LeaseFile
from orchestrator.model.environment import Environment
from stacks import locks, places
from stacks.automation import PROJECT
from stacks.components.ansible import run_role
from stacks.components.ansible_role import _whole
from tests.commands import CHECKOUT, anlan
from tests.conftest import Place

pytestmark = pytest.mark.usefixtures("stack")


def changed(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """The counts of changes that `anlan up --json` prints."""
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(done.stdout)["changes"])


def roles(stack: Path) -> list[dict[str, Any]]:
    """Role and variables of every AnsibleRole in the stack's state."""
    resources = json.loads(stack.read_text())["checkpoint"]["latest"]["resources"]
    return [one["outputs"] for one in resources if one["type"].endswith("/anlan:AnsibleRole")]


def test_an_up_without_change_changes_nothing(place: Place) -> None:
    counts = changed(anlan(place.state, "up", place.name, "--json"))
    assert counts["same"] > 20
    assert counts["create"] == counts["update"] == counts["delete"] == 0


def test_the_stacks_state_holds_no_secret(place: Place, stack: Path) -> None:
    text = stack.read_text()
    for file in (place.link / "common" / "secrets").glob("*.json"):
        for secret in json.loads(file.read_text()).values():
            for value in secret if isinstance(secret, list) else [secret]:
                assert not (isinstance(value, str) and len(value) > 8 and value in text), file


def test_a_second_run_of_every_role_changes_nothing(stack: Path) -> None:
    def again(role: dict[str, Any]) -> tuple[str, Any]:
        variables = {**_whole(role["variables"]), "state": "present"}
        return f"{role['role']} in {variables['machine']}", run_role(role["role"], variables)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = dict(pool.map(again, roles(stack)))
    assert len(results) == len(roles(stack)) > 10
    failed = {name: result.message for name, result in results.items() if result.failed_task}
    assert failed == {}
    assert {name: one.changed for name, one in results.items() if one.changed} == {}


def test_drift_is_found_and_repaired(place: Place, environment: Environment) -> None:
    rules = environment.sites["b"].machine.directory / "etc" / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text(before.replace("scram-sha-256\n", "trust\n"))
    common = Machine(environment.secrets.machine, LeaseFile(environment.lease_file))
    common.program_stop("frontdoor")

    found = anlan(place.state, "refresh", place.name, "--json")
    assert found.returncode == 1, found.stdout + found.stderr
    drift = json.loads(found.stdout)["drift"]
    written = "Write its configuration and make its data directory: pg_hba.conf"
    assert written in drift["postgresql-b"]
    assert [task.partition(":")[0] for task in drift["frontdoor"]] == ["Run the front door"]
    assert sorted(drift) == ["frontdoor", "postgresql-b"]

    counts = changed(anlan(place.state, "up", place.name, "--json"))
    assert counts["update"] == 2
    assert counts["create"] == counts["delete"] == 0
    assert rules.read_text() == before
    assert common.program_status("frontdoor").is_up


def test_up_brings_back_a_machine_that_is_down_unless_a_drill_holds_it(
    place: Place, environment: Environment
) -> None:
    machine, lease = Machine.of_site(environment, "b"), LeaseFile(environment.lease_file)
    token = lease.acquire("test-up")
    try:
        machine.kill(token)
        refused = anlan(place.state, "up", place.name)
    finally:
        lease.release("test-up")
    assert refused.returncode == 3, refused.stdout + refused.stderr
    assert "machine b is down, and run test-up holds" in refused.stderr

    counts = changed(anlan(place.state, "up", place.name, "--json"))
    assert counts["update"] > 0
    checked = anlan(place.state, "env", "check", place.name)
    assert checked.returncode == 0, checked.stdout


@pytest.fixture
def refreshing(place: Place) -> Iterator[locks.Lock]:
    """A refresh in its midst: the lock that its pulumi holds."""
    folder = place.state / "pulumi" / ".pulumi" / "locks" / "organization" / PROJECT / place.name
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "refresh", place.name],
        env={**os.environ, "ANLAN_STATE_DIR": str(place.state)},
        cwd=CHECKOUT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 30
        while not (held := locks.locks(folder)):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        yield held[0]
    finally:
        process.kill()
        process.wait()


def test_a_stack_is_changed_by_one_at_a_time_and_a_killed_pulumi_blocks_nobody(
    place: Place, refreshing: locks.Lock
) -> None:
    second = anlan(place.state, "up", place.name)
    assert second.returncode == 3, second.stdout + second.stderr
    assert f"process {refreshing.pid}" in second.stderr

    os.kill(refreshing.pid, signal.SIGKILL)
    time.sleep(1.0)  # its providers look for it four times a second
    assert refreshing.file.exists(), "the kill left no lock: this proves nothing"
    counts = changed(anlan(place.state, "up", place.name, "--json"))
    assert counts["update"] == counts["create"] == counts["delete"] == 0
    assert not refreshing.file.exists()


def test_a_value_that_is_not_allowed_ends_with_2_and_names_the_key(place: Place) -> None:
    done = anlan(place.state, "up", place.name, "-c", "tlsLifetimeHours=0")
    assert done.returncode == 2
    assert "tlsLifetimeHours" in done.stderr
    assert "1 to 87600" in done.stderr


def test_down_is_refused_while_a_drill_holds_the_environment(
    place: Place, environment: Environment
) -> None:
    lease = LeaseFile(environment.lease_file)
    lease.acquire("test-down")
    try:
        done = anlan(place.state, "down", place.name, "--yes")
    finally:
        lease.release("test-down")
    assert done.returncode == 3
    assert "test-down" in done.stderr
    assert environment.root.exists()


def test_pulumi_by_hand_removes_nothing_while_a_drill_holds_the_environment(
    place: Place, environment: Environment
) -> None:
    lease = LeaseFile(environment.lease_file)
    lease.acquire("test-destroy")
    try:
        done = pulumi(place, f"destroy --yes --stack {place.name}")
    finally:
        lease.release("test-destroy")
    assert done.returncode != 0
    assert "run test-destroy holds the environment" in done.stdout + done.stderr
    assert changed(anlan(place.state, "up", place.name, "--json"))["create"] == 0
    checked = anlan(place.state, "env", "check", place.name)
    assert checked.returncode == 0, checked.stdout


def test_the_shell_gets_the_same_settings_as_the_command(place: Place) -> None:
    done = pulumi(place, "stack ls")
    assert place.name in done.stdout, done.stderr
    assert str(places.cache_directory()) in places.pulumi_environment(place.state)["PATH"]


def pulumi(place: Place, arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of `pulumi` as the docs say for a state that is not in the checkout."""
    project = place.state / "pulumi" / "local"
    return subprocess.run(
        [
            *("bash", "-c"),
            f"source {CHECKOUT}/stacks/local/env.sh; cd {project}; pulumi {arguments}",
        ],
        env={**os.environ, "ANLAN_STATE_DIR": str(place.state)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
