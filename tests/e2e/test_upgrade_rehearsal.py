"""The rehearsal of an upgrade: a version built beside the twin, and an advice with its reasons."""

from __future__ import annotations

from pathlib import Path

from orchestrator.drivers.pgbackrest import PgBackRest
from orchestrator.drivers.twin import twins_directory
from orchestrator.model.environment import Environment
from tests.commands import CHECKOUT, run_drill, state_for

LOCK = CHECKOUT / "roles" / "erp" / "files" / "requirements.txt"


def test_an_upgrade_that_takes_longer_than_its_window_is_a_no_go_and_nothing_else_is_wrong(
    environment: Environment, tmp_path: Path
) -> None:
    backups = PgBackRest(environment, environment.starting_primary)
    assert not backups.backup("incr", repository=2).error
    state = state_for(environment, tmp_path / "state")
    code, result = run_drill(
        state,
        environment,
        "upgrade-rehearsal",
        "-p",
        f"requirements={LOCK}",
        "-p",
        "window_seconds=1",
    )
    derived = result["derived"]
    assert (code, result["verdict"]) == (1, "fail")
    checks = {one["name"]: one for one in derived["checks"]}
    assert checks["advice_go"]["detail"] == "no-go: fits_the_window"
    assert {name for name, one in checks.items() if not one["ok"]} == {
        "advice_go",
        "fits_the_window",
    }
    assert "the window is 1 s" in checks["fits_the_window"]["detail"]
    assert checks["totals_unchanged"]["detail"] == "all 12 totals as before"
    assert "8.2" in checks["new_version_answers"]["detail"]
    phases = [phase["name"] for phase in derived["phases"]]
    assert phases == ["isolate", "fetch", "recover", "update", "application"]
    assert [step["status"] for step in derived["steps"] if step["status"] != "done"] == []
    assert not list(twins_directory(environment).iterdir())


def test_a_lock_file_that_is_not_there_is_said_before_anything_is_updated(
    environment: Environment, tmp_path: Path
) -> None:
    state = state_for(environment, tmp_path / "state")
    _, result = run_drill(
        state, environment, "upgrade-rehearsal", "-p", "requirements=/nowhere/lock.txt"
    )
    steps = {step["id"]: step for step in result["derived"]["steps"]}
    assert "there are no requirements /nowhere/lock.txt" in steps["build-erp-version"]["error"]
    assert steps["update-twin-erp"]["status"] == "not_run"
    assert not list(twins_directory(environment).iterdir())
