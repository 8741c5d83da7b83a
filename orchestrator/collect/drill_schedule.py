"""Kind `drill_schedule`: whether what the applied schedule made due was run.

Data: `applied_at` and `applied_by` (null and empty without a schedule), `drills` (that it names),
`unrecorded` (runs that were due and of which the evidence log knows nothing), `missed` (runs that
were recorded as missed in the last `window_days`, whose drill has not passed since).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from orchestrator.collect.observe import Collector, Observation
from orchestrator.collect.records import Records, RunRecord, finished_runs
from orchestrator.model.environment import Environment
from orchestrator.model.fact import timestamp

KIND = "drill_schedule"
_WINDOW_DAYS = 31


def collectors(environment: Environment, records: Records) -> list[Collector]:
    """One collector: `common/schedule`."""
    return [
        Collector(
            kind=KIND,
            subject="common/schedule",
            source=f"the evidence log and the runs in {records.state}",
            query=f"the schedules of {environment.name} in the log, and every run that they made "
            "due; run.json of the runs that were missed",
            look=partial(look, environment, records),
        )
    ]


def look(environment: Environment, records: Records) -> Observation:
    """Read log and runs. Raises InfrastructureError, InputError."""
    schedule = records.schedule()
    runs = finished_runs(records.state, environment.name)
    begin = datetime.now(UTC) - timedelta(days=_WINDOW_DAYS)
    missed = [run for run in runs if run.missed and run.ended_at >= begin]
    applied = schedule.applied_at
    data: dict[str, Any] = {
        "applied_at": timestamp(applied) if applied else None,
        "applied_by": schedule.applied_by,
        "drills": sorted(set(schedule.drills)),
        "unrecorded": list(schedule.unrecorded),
        "missed": [run.run_id for run in missed if not _made_up(run, runs)],
        "window_days": _WINDOW_DAYS,
    }
    return Observation(data, len(runs) + 1)


def _made_up(missed: RunRecord, runs: list[RunRecord]) -> bool:
    """Whether the same drill passed after it should have."""
    return any(
        run.plan["drill"]["name"] == missed.plan["drill"]["name"]
        and run.result["verdict"] == "pass"
        and run.ended_at > missed.ended_at
        for run in runs
    )
