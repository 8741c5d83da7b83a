"""Facts about the orchestrator's own records: runs, schedule, evidence log."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.collect import drill_history, drill_schedule, evidence_log
from orchestrator.collect.kinds import OF_RECORDS, collect_kinds
from orchestrator.collect.records import LogReport, Records, ScheduleReport, finished_runs
from orchestrator.model.errors import InfrastructureError, InputError
from orchestrator.model.fact import timestamp
from orchestrator.model.fact_kinds import RECORD_KINDS
from orchestrator.model.folders import data_folder
from orchestrator.policy import rederive_findings

NOW = datetime.now(UTC)
BOUND = {"descriptor": "d" * 64, "stack and roles": "5" * 64, "version": "1"}
ENVIRONMENT: Any = SimpleNamespace(name="dev")
FAILOVER = data_folder("drills") / "failover.yaml"
Record = Callable[..., None]


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """Writes a finished run into the state directory."""

    def write(
        drill: str,
        verdict: str,
        days_ago: float,
        *,
        environment: str = "dev",
        reasons: tuple[str, ...] = (),
        descriptor: str = BOUND["descriptor"],
    ) -> None:
        ended = timestamp(NOW - timedelta(days=days_ago))
        directory = tmp_path / "runs" / f"{drill}-{days_ago}-{verdict}"
        directory.mkdir(parents=True)
        plan = {
            "created_at": ended,
            "drill": {"name": drill, "digest": "f" * 64},
            "environment": {
                "name": environment,
                "digest": descriptor,
                "deployment_digest": BOUND["stack and roles"],
            },
            "tool": {"version": "1"},
        }
        result = {"verdict": verdict, "ended_at": ended, "derived": {"reasons": list(reasons)}}
        (directory / "plan.json").write_text(json.dumps(plan))
        (directory / "run.json").write_text(json.dumps(result))

    return write


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Says how many days ago the environment was made."""

    def at(days: float) -> None:
        monkeypatch.setattr(drill_history, "created_at", lambda _: NOW - timedelta(days=days))

    at(100)
    return at


def records(state: Path, **reports: Any) -> Records:
    none = ScheduleReport(None, "", (), ())
    return Records(
        state,
        log=lambda: reports.get("log", LogReport(0, (), {}, ())),
        schedule=lambda: reports.get("schedule", none),
        stack=lambda: reports["stack"],
        now=BOUND,
    )


def history(state: Path) -> dict[str, Any]:
    return drill_history.look(ENVIRONMENT, records(state), FAILOVER).data


@pytest.mark.usefixtures("made")
def test_the_last_pass_counts_and_the_last_run_is_told(tmp_path: Path, record: Record) -> None:
    record("failover", "pass", 9)
    record("failover", "pass", 5)
    record("failover", "fail", 2)
    record("failover", "pass", 1, environment="other")
    record("restore", "pass", 0.5)
    found = history(tmp_path)
    assert (found["runs"], found["last_verdict"]) == (3, "fail")
    assert found["days_without_pass"] == pytest.approx(5, abs=0.1)


def test_a_young_environment_is_not_blamed_for_what_it_could_not_run(
    tmp_path: Path, made: Callable[[float], None]
) -> None:
    made(3)
    found = history(tmp_path)
    assert found["days_without_pass"] == pytest.approx(3, abs=0.1)
    assert (found["last_verdict"], found["last_passed_at"]) == ("none", None)
    assert found["changed_since_pass"] == []


@pytest.mark.usefixtures("made")
def test_what_changed_since_the_last_pass_is_named(tmp_path: Path, record: Record) -> None:
    record("failover", "pass", 1, descriptor="0" * 64)
    assert history(tmp_path)["changed_since_pass"] == ["descriptor", "drill"]


@pytest.mark.usefixtures("made")
def test_a_missed_run_is_no_last_run_and_counts_until_the_drill_passes(
    tmp_path: Path, record: Record
) -> None:
    record("failover", "inconclusive", 4, reasons=("missed: no worker",))
    record("restore", "inconclusive", 3, reasons=("missed: no worker",))
    record("restore", "pass", 2)
    record("switchover", "inconclusive", 40, reasons=("missed: no worker",))
    assert history(tmp_path)["last_verdict"] == "none"
    found = drill_schedule.look(ENVIRONMENT, records(tmp_path)).data
    assert found["missed"] == ["failover-4-inconclusive"]


def test_a_run_without_a_result_counts_after_a_day(tmp_path: Path) -> None:
    unfinished = {"old": NOW - timedelta(hours=25), "new": NOW - timedelta(hours=1)}
    report = LogReport(7, ("log-chain: broken",), unfinished, ("cut",))
    found = evidence_log.look(records(tmp_path, log=report)).data
    assert found == {
        "entries": 7,
        "problems": ["log-chain: broken"],
        "unlogged": ["cut"],
        "unfinished": ["old"],
    }


def test_a_run_that_cannot_be_read_is_no_missing_run(tmp_path: Path, record: Record) -> None:
    record("failover", "pass", 1)
    (tmp_path / "runs" / "failover-1-pass" / "plan.json").write_text("{")
    with pytest.raises(InfrastructureError, match="failover-1-pass cannot be read"):
        finished_runs(tmp_path, "dev")


def test_kinds_of_records_need_records(tmp_path: Path) -> None:
    secrets: Any = None
    assert set(OF_RECORDS) == RECORD_KINDS
    with pytest.raises(InputError, match="no kind of fact 'drill_schedule'"):
        collect_kinds(ENVIRONMENT, secrets, ["drill_schedule"])
    (fact,) = collect_kinds(ENVIRONMENT, secrets, ["drill_schedule"], records(tmp_path))
    assert fact.status == "observed", fact.error


def test_a_run_does_not_judge_the_records_that_it_is_a_part_of() -> None:
    folder = data_folder("policies")
    rules = {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.yaml")
    }
    descriptor = {
        "sites": {"a": {}, "b": {}},
        "retention": {"audit_days": 1, "backup_full": 1, "object_lock_days": 1},
        "tls": {"minimum_version": "TLSv1.3", "renew_before_hours": 1},
        "tier": "VIP",
    }
    found = rederive_findings(rules, [], descriptor, NOW)["findings"]
    names = {one["policy"] for one in found}
    assert "secrets-root-token" in names
    assert not names & {"drill-failover-recent", "schedule-kept", "change-drift"}
