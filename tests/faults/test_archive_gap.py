"""A primary dies with WAL that it sent and did not archive: recoveries must get past it."""

from __future__ import annotations

from pathlib import Path

from orchestrator.drivers.pgbackrest import PgBackRest
from orchestrator.model.environment import Environment
from tests.commands import run_drill, state_for
from tests.faults.mutations import REPOSITORY, archiver_stuck


def test_what_a_dead_primary_did_not_archive_its_heir_does(
    environment: Environment, tmp_path: Path
) -> None:
    tool = PgBackRest(environment, environment.starting_primary)
    # What is restored must be from before the gap.
    tool.backup("incr", repository=REPOSITORY)
    with archiver_stuck(environment, tmp_path):
        _, failed_over = run_drill(
            state_for(environment, tmp_path / "failover"),
            environment,
            "failover",
            "-p",
            "baseline_seconds=1",
        )
    assert failed_over["verdict"] == "pass", failed_over["derived"]["reasons"]
    closed = [
        one for one in failed_over["derived"]["checks"] if one["name"] == "archive_gap_closed"
    ]
    assert closed, "the control: there was a gap"
    _, restored = run_drill(
        state_for(environment, tmp_path / "restore"),
        environment,
        "restore",
        "-p",
        "observe_seconds=1",
        "-p",
        f"repository={REPOSITORY}",
    )
    assert restored["verdict"] == "pass", restored["derived"]["reasons"]
