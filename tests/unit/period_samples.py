"""A state directory with runs of every kind around a period, made as the engine makes it.

The period is November 2026. A schedule of 1 November makes a backup due each Tuesday at 03:00:
the first passed, the second failed, the third was missed, the fourth (24 November) is not there.
A failover of 20 November never ended. One restore passed in October, another in December.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from run_samples import ORIGIN_NS, Clock, Sample, dump, lines, record, write, write_plan

from orchestrator.evidence import EvidenceStore, LocalSigner
from orchestrator.evidence.contents import raw_of
from orchestrator.evidence.layout import read_run_directory
from orchestrator.model.fact import timestamp
from orchestrator.model.schedule import applied, slots
from orchestrator.report import render
from orchestrator.verdict import derive

SINCE, UNTIL = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
NOW = datetime(2026, 12, 5, tzinfo=UTC)
SCHEDULE = {
    "schema": "anlan.schedule/v1",
    "title": {"en": "Weekly", "zh": "每周"},
    "entries": [{"id": "weekly", "drill": "backup", "cron": "0 3 * * 2"}],
}
RECORD = applied(SCHEDULE, "local", "VIP", "operator-1", datetime(2026, 11, 1, 12, tzinfo=UTC))
SLOTS = list(slots(RECORD, SINCE, UNTIL))
PASSED, FAILED, MISSED, ABSENT = (slot.run_id for slot in SLOTS)
OCTOBER, DECEMBER, UNFINISHED = "restore-october", "restore-december", "failover-unfinished"


@dataclass(frozen=True)
class Made:
    """A state directory and the key that its evidence is signed with."""

    state: Path
    signer: LocalSigner

    def store(self, now: datetime = NOW) -> EvidenceStore:
        """The store as it is at a moment."""
        return EvidenceStore(self.state, self.signer, Clock(now))

    def export(self, out: Path, since: datetime = SINCE, until: datetime = UNTIL) -> Path:
        """Write the bundle of the period."""
        self.store().export_period("local", since, until, out)
        return out


def make(state: Path, signer: LocalSigner) -> Made:
    """Make it; the log is in order of time."""
    made = Made(state, signer)
    finished(made, _restore(OCTOBER, datetime(2026, 10, 30, 9, tzinfo=UTC)))
    made.store(datetime(2026, 11, 1, 12, tzinfo=UTC)).record_schedule(RECORD)
    finished(made, Sample(drill="backup", run_id=PASSED, started_at=SLOTS[0].start))
    finished(
        made,
        Sample(drill="backup", run_id=FAILED, started_at=SLOTS[1].start, failed_check="encrypted"),
    )
    miss(made, Sample(drill="backup", run_id=MISSED, started_at=SLOTS[2].latest))
    unfinished(made, Sample(run_id=UNFINISHED, started_at=datetime(2026, 11, 20, 9, tzinfo=UTC)))
    finished(made, _restore(DECEMBER, datetime(2026, 12, 2, 9, tzinfo=UTC)))
    return made


def finished(made: Made, sample: Sample) -> Path:
    """Record a run that ended, and its bundle; returns the bundle."""
    return bundled(made, record(made.state, sample, made.signer))


def bundled(made: Made, run_dir: Path) -> Path:
    """Write report and bundle of a recorded run."""
    (run_dir / "report.html").write_text(render(run_dir))
    out = made.state / "evidence/bundles" / f"{run_dir.name}.zip"
    return made.store().export(run_dir, out)


def unfinished(made: Made, sample: Sample) -> None:
    """Record a plan alone."""
    write_plan(made.state / "runs" / sample.run_id, sample)
    store = made.store(sample.started_at - timedelta(milliseconds=500))
    store.record_plan(made.state / "runs" / sample.run_id)


def miss(made: Made, sample: Sample) -> Path:
    """Record a run that never began, as `orchestrator.engine.finish.miss` does."""
    unfinished(made, sample)
    run_dir = made.state / "runs" / sample.run_id
    ended = timestamp(sample.started_at)
    header = {
        **{"kind": "header", "schema": "anlan.journal/v1", "probe": "steps"},
        **{"run": sample.run_id, "boot_id": "5a7c3e1f-0000-4000-8000-000000000000"},
        **{"t": ORIGIN_NS, "utc": sample.started_at.isoformat(), "settings": {}},
    }
    missed = {"kind": "missed", "t": ORIGIN_NS + 1, "reason": "another run was at work"}
    write(run_dir, {"raw/steps.jsonl": lines([header, missed])})
    plan = json.loads((run_dir / "plan.json").read_bytes())
    derived = derive(plan, {**raw_of(read_run_directory(run_dir)), "findings": None})
    run = {
        **{"schema": "anlan.run/v1", "run_id": sample.run_id, "attempts": 1},
        **{"started_at": ended, "ended_at": ended, "derived": derived},
        **{"verdict": derived["verdict"], "exit_code": derived["exit_code"]},
    }
    write(run_dir, {"run.json": dump(run)})
    made.store(sample.started_at + timedelta(seconds=1)).record_run(run_dir)
    return bundled(made, run_dir)


def _restore(run_id: str, started_at: datetime) -> Sample:
    return Sample(drill="restore", run_id=run_id, started_at=started_at, rate=2)
