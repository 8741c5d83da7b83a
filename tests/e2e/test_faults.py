"""Failures for which a failover is not always the right action."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.drivers.postgresql import PostgreSQL
from orchestrator.drivers.postgresql_room import give_room
from orchestrator.model.environment import Environment
from tests.commands import anlan, run_drill, state_for

SHORT = ["-p", "baseline_seconds=1"]


@pytest.fixture(scope="module")
def state(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory for the drills of this module."""
    return state_for(environment, tmp_path_factory.mktemp("faults"))


def drill(state: Path, environment: Environment, *arguments: str) -> dict[str, Any]:
    """Run a drill; returns what was derived."""
    derived: dict[str, Any] = run_drill(state, environment, *arguments)[1]["derived"]
    assert [one for one in derived["undo"] if one["status"] != "done"] == []
    return derived


def checks_of(derived: dict[str, Any]) -> dict[str, tuple[bool | None, str]]:
    return {check["name"]: (check["ok"], check["detail"]) for check in derived["checks"]}


def test_a_full_disk_is_failed_over_from_since_a_restart_needs_room(
    state: Path, environment: Environment
) -> None:
    derived = drill(state, environment, "failover", "-p", "fault=disk-full", *SHORT)
    assert derived["verdict"] == "pass", derived["reasons"]
    assert derived["rto_seconds"] <= environment.targets.rto_seconds
    assert derived["ledger"]["acknowledged"] == derived["ledger"]["recovered"] > 50
    checks = checks_of(derived)
    assert "could not write" in checks["primary_broken"][1]
    assert "could not write" in checks["restart_needs_room"][1]
    for name in ("standby_has_room", "site_powered_off", "room_given_back"):
        assert checks[name][0] is True
    assert checks["never_two_primaries"][0] is True


def test_a_cut_line_makes_nobody_fail_over_and_the_sites_come_together_again(
    state: Path, environment: Environment
) -> None:
    derived = drill(state, environment, "partition", *SHORT, "-p", "alone_seconds=1")
    assert derived["verdict"] == "pass", derived["reasons"]
    assert 5.0 < derived["rto_seconds"] <= environment.targets.rto_seconds
    assert [one["name"] for one in derived["phases"]] == ["detect", "degrade", "application"]
    assert derived["ledger"]["lost_keys"] == []
    checks = checks_of(derived)
    assert "0 of" in checks["no_failure_called"][1]
    assert "is not fenced" in checks["fence_refused"][1]
    for name in ("reads_served", "promise_kept", "standby_is_behind", "promotion_refused"):
        assert checks[name][0] is True
    for name in ("standby_has_every_key", "synchronous_again", "never_two_primaries"):
        assert checks[name][0] is True
    assert "one site alone" in checks["exposure_ended"][1]


@pytest.fixture
def full_standby(environment: Environment) -> Iterator[None]:
    """The standby may not write either."""
    server = PostgreSQL(environment, environment.sites["b"])
    pid = server.machine.program_processes(server.settings.program)[0].pid
    server.machine.run(
        ["prlimit", f"--pid={pid}", "--fsize=1073741824:"],
        as_user=server.site.machine.service_user,
        timeout_seconds=10,
    )
    yield
    give_room(server)


@pytest.mark.usefixtures("full_standby")
def test_nobody_fails_over_to_a_standby_without_room(state: Path, environment: Environment) -> None:
    derived = drill(state, environment, "failover", "-p", "fault=disk-full", *SHORT)
    assert derived["verdict"] == "fail"
    checks = checks_of(derived)
    assert checks["standby_has_room"][0] is False
    assert "standby_promoted" not in checks
    assert anlan(state, "env", "check", environment.name).returncode == 0
