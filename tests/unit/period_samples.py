"""A state directory with runs of every kind around a period, made as the engine makes it.

The period is November 2026. A schedule of 1 November makes a backup due each Tuesday at 03:00:
the first passed, the second failed, the third was missed, the fourth (24 November) is not there.
A failover of 20 November never ended. One restore passed in October, another in December.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from run_samples import ORIGIN_NS, Clock, Sample, dump, lines, record, write, write_plan

from orchestrator.evidence import EvidenceStore, LocalSigner
from orchestrator.evidence.contents import raw_of
from orchestrator.evidence.layout import read_run_directory
from orchestrator.evidence.retained import holds, kept, tombstones
from orchestrator.evidence.retained.retention import Candidate
from orchestrator.evidence.tlog.log import log_of
from orchestrator.model.canonical import canonical
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


REMOVED = "restore-september"
REMOVED_AT = datetime(2027, 2, 1, tzinfo=UTC)
REMOVED_DAYS = 100


def bury(
    made: Made,
    sample: Sample,
    *,
    days: int = REMOVED_DAYS,
    at: datetime = REMOVED_AT,
    statements_of: str = "",
    change: Callable[[dict[str, Any]], Any] = lambda said: None,
) -> None:
    """Log a tombstone of a run as pruning does, and remove the run.

    Whoever holds the environment's key can sign any: with the statements of another run, with what
    `change` makes of it.
    """
    about = statements_of or sample.run_id
    entries = log_of(made.state, "local").entries()
    digests = {
        entry.kind: entry.statement
        for entry in entries
        if entry.run_id == about and entry.kind in tombstones.STATEMENTS
    }
    ended = sample.started_at + timedelta(minutes=2)
    run = Candidate(
        *(sample.run_id, sample.drill, "pass", False, sample.started_at, ended),
        *(days, digests, "ab" * 32),
    )
    payload = tombstones.payload_of("local", run, {"a": None}, by="operator-1", at=at)
    said = json.loads(payload)
    change(said["predicate"])
    one = kept.ToLog(tombstones.KIND, sample.run_id, canonical(said), None, tombstones.FOLDER)
    made.store(at).record_statement("local", one)
    shutil.rmtree(made.state / "runs" / sample.run_id, ignore_errors=True)
    (made.state / "evidence/bundles" / f"{sample.run_id}.zip").unlink(missing_ok=True)


def hold(made: Made, run_id: str, *, held: bool, at: datetime) -> None:
    """Log that a run is held from now on, or released."""
    plan = next(one for one in log_of(made.state, "local").entries() if one.run_id == run_id)
    payload = holds.payload_of("local", plan, held=held, by="counsel", reason="matter 4711", at=at)
    made.store(at).record_statement("local", kept.ToLog(holds.KIND, run_id, payload))


def september() -> Sample:
    """The run that `bury` is about in tests."""
    return _restore(REMOVED, datetime(2026, 9, 30, 9, tzinfo=UTC))
