"""A copy of the standby is promoted; production works on, and ends the drill when it suffers."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import yaml

from orchestrator.drivers.host import Machine
from orchestrator.drivers.lease import LeaseFile
from orchestrator.drivers.postgresql import PostgreSQL
from orchestrator.drivers.twin import twins_directory
from orchestrator.model.environment import Environment
from tests.commands import CHECKOUT, run_drill, run_of, state_for
from tests.e2e.test_abort_budget import run_with_frozen


def test_a_promoted_copy_has_every_acknowledged_write_and_production_noticed_nothing(
    environment: Environment, tmp_path: Path
) -> None:
    state = state_for(environment, tmp_path / "state")
    timelines = {n: PostgreSQL(environment, s).timeline() for n, s in environment.sites.items()}
    _, result = run_drill(state, environment, "failover-isolated", "-p", "baseline_seconds=1")
    derived = result["derived"]
    assert result["verdict"] == "pass", derived["reasons"]
    assert derived["ledger"]["acknowledged"] == derived["ledger"]["recovered"] > 0
    assert [phase["name"] for phase in derived["phases"]] == ["promote", "application"]
    checks = {one["name"]: one for one in derived["checks"]}
    for name in ("production_unchanged", "ledger_undisturbed", "availability_undisturbed"):
        assert checks[name]["ok"] is True
    assert checks["nothing_after_target"]["ok"] is True
    assert "a_timeline" in checks["production_unchanged"]["detail"]
    assert " 0 of " not in checks["standby_lag"]["detail"]
    now = {n: PostgreSQL(environment, s).timeline() for n, s in environment.sites.items()}
    assert now == timelines
    assert not list(twins_directory(environment).iterdir())


def test_it_ends_when_production_s_standby_lags_more_than_the_budget(
    environment: Environment, tmp_path: Path
) -> None:
    state = state_for(environment, tmp_path / "state")
    drill = yaml.safe_load((CHECKOUT / "drills" / "failover-isolated.yaml").read_text())
    drill["abort"] = {"lag_bytes": 0, "over_seconds": 1}
    observe = next(step for step in drill["steps"] if step["id"] == "observe-baseline")
    observe["with"] = {"seconds": 6}
    mine = tmp_path / "mine.yaml"
    mine.write_text(json.dumps(drill))
    line = environment.line
    machine = Machine(line.machine, LeaseFile(environment.lease_file))
    stopped = partial(machine.program_processes, line.program)
    out, said = run_with_frozen(state, environment, mine, "observe-baseline", stopped)
    result = json.loads(out)
    assert result["verdict"] == "inconclusive", said
    reasons = [one for one in result["derived"]["reasons"] if "abort budget" in one]
    assert len(reasons) == 1
    assert "the standby's lag is" in reasons[0]
    steps = {step["id"]: step["status"] for step in result["derived"]["steps"]}
    assert (steps["clone-standby"], steps["promote-clone"]) == ("not_run", "not_run")
    lags = [entry["bytes"] for entry in run_of(state) if entry["kind"] == "lag"]
    assert max(one for one in lags if one is not None) > 0
