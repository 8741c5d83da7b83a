"""Periods made of sample runs, as the state directory would give them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from run_samples import SAMPLES, Sample, dump, lines, record, write, write_plan

from orchestrator.evidence import EvidenceStore, LocalSigner
from orchestrator.evidence.layout import read_run_directory
from orchestrator.model.period import Due, Period, Planned, Removed
from orchestrator.model.schedule import applied, expected
from orchestrator.verdict import derive

SINCE = datetime(2026, 10, 1, tzinfo=UTC)
UNTIL = datetime(2027, 1, 1, tzinfo=UTC)
SCHEDULE: dict[str, Any] = {
    "schema": "anlan.schedule/v1",
    "title": {"en": "Weekly failovers", "zh": "每周切换"},
    "entries": [
        {"id": "weekly-failover", "drill": "failover", "cron": "0 3 * * 6"},
        {"id": "nightly-backup", "drill": "backup", "cron": "0 1 1,15 * *"},
    ],
}
"""Failovers on Saturdays, backups twice a month."""
Change = Callable[[Sample], Sample]


def record_of(at: datetime = SINCE - timedelta(days=3), tier: str = "VIP") -> dict[str, Any]:
    """The record of the schedule, applied at a moment."""
    return applied(SCHEDULE, "local", tier, "operator-1", at)


def empty(**changes: Any) -> Period:
    """A period in which nothing is on record."""
    period = Period("local", SINCE, UNTIL, "anlan.dev/log/local", 7, {})
    return replace(period, **changes)


@dataclass
class Maker:
    """Makes runs in a state directory, signed and logged."""

    state: Path
    signer: LocalSigner

    def run(self, run_id: str, at: datetime, name: str = "passed failover", **changes: Any) -> None:
        """Add a finished run that is like a sample of `run_samples.SAMPLES`."""
        record(
            self.state, replace(SAMPLES[name], run_id=run_id, started_at=at, **changes), self.signer
        )

    def missed(self, run_id: str, drill: str, at: datetime, reason: str) -> None:
        """Add a run that was recorded as missed, as the engine does: none of its steps began."""
        sample = Sample(drill=drill, run_id=run_id, started_at=at)
        run_dir = self.state / "runs" / run_id
        write_plan(run_dir, sample)
        store = EvidenceStore(self.state, self.signer, lambda: at)
        store.record_plan(run_dir)
        header = {
            "kind": "header",
            "schema": "anlan.journal/v1",
            "probe": "steps",
            "run": run_id,
            "boot_id": "5a7c3e1f-0000-4000-8000-000000000000",
            "t": 1,
            "utc": at.isoformat(),
            "settings": {},
        }
        journal = [header, {"kind": "missed", "t": 2, "reason": reason}]
        write(run_dir, {"raw/steps.jsonl": lines(journal)})
        plan = json.loads((run_dir / "plan.json").read_bytes())
        derived = derive(plan, {"steps": journal})
        moment = f"{at:%Y-%m-%dT%H:%M:%S}.000Z"
        run = {
            "schema": "anlan.run/v1",
            "run_id": run_id,
            "started_at": moment,
            "ended_at": moment,
            "attempts": 1,
            "verdict": derived["verdict"],
            "exit_code": derived["exit_code"],
            "derived": derived,
        }
        write(run_dir, {"run.json": dump(run)})
        store.record_run(run_dir)

    def runs(self) -> dict[str, Mapping[str, bytes]]:
        """Id → files, the oldest first."""
        found = {path.name: read_run_directory(path) for path in (self.state / "runs").iterdir()}
        return dict(
            sorted(
                found.items(), key=lambda one: json.loads(one[1]["plan/plan.json"])["created_at"]
            )
        )


def quarter(state: Path) -> Period:
    """A quarter with everything in it: passes, failures, gaps, a repair, a waiting finding."""
    maker = Maker(state, LocalSigner(Ed25519PrivateKey.generate()))
    record = record_of()
    slots = sorted(expected([record], SINCE, UNTIL), key=lambda one: one.at)
    failovers = [slot for slot in slots if slot.drill == "failover"]
    backups = [slot for slot in slots if slot.drill == "backup"]
    kinds = ["passed failover"] * len(failovers)
    kinds[2:4] = ["failed by loss", "failed in a step"]
    kinds[6] = "inconclusive"
    missing, unfinished = failovers[8], failovers[9]
    for slot, kind in zip(failovers, kinds, strict=True):
        if slot not in (missing, unfinished, failovers[5]):
            maker.run(slot.run_id, slot.at, kind)
    maker.missed(failovers[5].run_id, "failover", failovers[5].at, "the environment was locked")
    for slot in backups:
        maker.run(slot.run_id, slot.at, "passed backup")
    maker.run(
        "restore-20261120t100000-manual", datetime(2026, 11, 20, 10, tzinfo=UTC), "passed restore"
    )
    return Period(
        environment="local",
        since=SINCE,
        until=UNTIL,
        origin="anlan.dev/log/local",
        log_size=120,
        runs=maker.runs(),
        unfinished=(Planned(unfinished.run_id, "failover", unfinished.at),),
        missing=(Due(missing.run_id, "failover", missing.at),),
        removed=(
            Removed(
                "restore-20261003t100000-gone",
                "restore",
                datetime(2026, 12, 3, tzinfo=UTC),
                "its retention of 60 days was over",
            ),
        ),
        schedules=(record,),
    )
