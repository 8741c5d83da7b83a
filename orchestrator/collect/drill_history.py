"""Kind `drill_history`: when each drill last passed on the environment, and on what.

Data: `runs` (finished), `last_run` and `last_verdict` (of the newest finished one that was begun;
empty and `none` without one), `last_passed_run`, `last_passed_at` (null if it never passed),
`days_without_pass` (since then, or since the environment was made, whichever is later: a young
environment is judged truthfully), `changed_since_pass` (of descriptor, stack and roles, version and
drill: what is not what that run was bound to; empty if it never passed).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.collect.observe import Collector, Observation
from orchestrator.collect.records import Records, RunRecord, created_at, finished_runs
from orchestrator.model.canonical import sha256
from orchestrator.model.environment import Environment
from orchestrator.model.fact import timestamp
from orchestrator.model.folders import data_folder

KIND = "drill_history"


def collectors(environment: Environment, records: Records) -> list[Collector]:
    """One collector for each drill that comes with Anlan: `drills/failover`, …"""
    return [
        Collector(
            kind=KIND,
            subject=f"drills/{file.stem}",
            source=f"the runs in {records.state / 'runs'}",
            query=f"plan.json and run.json of every run of {file.stem} on {environment.name}; "
            f"the digest of {file.name}",
            look=partial(look, environment, records, file),
        )
        for file in sorted(data_folder("drills").glob("*.yaml"))
    ]


def look(environment: Environment, records: Records, file: Path) -> Observation:
    """Read the runs of one drill. Raises InfrastructureError, OSError."""
    runs = [
        run
        for run in finished_runs(records.state, environment.name)
        if run.plan["drill"]["name"] == file.stem
    ]
    begun = [run for run in runs if not run.missed]
    passed = [run for run in begun if run.result["verdict"] == "pass"]
    since = max([created_at(environment), *(run.ended_at for run in passed)])
    now = {**records.now, "drill": sha256(file.read_bytes())}
    data: dict[str, Any] = {
        "runs": len(runs),
        "last_run": begun[-1].run_id if begun else "",
        "last_verdict": begun[-1].result["verdict"] if begun else "none",
        "last_passed_run": passed[-1].run_id if passed else "",
        "last_passed_at": timestamp(passed[-1].ended_at) if passed else None,
        "days_without_pass": round((datetime.now(UTC) - since).total_seconds() / 86_400, 2),
        "changed_since_pass": _changed(passed, now),
    }
    return Observation(data, len(runs) + 1)


def _changed(passed: Sequence[RunRecord], now: dict[str, str]) -> list[str]:
    if not passed:
        return []
    then = {**passed[-1].bound, "drill": passed[-1].plan["drill"]["digest"]}
    return [name for name in now if now[name] != then[name]]
