"""What a report over a period says: every value that a format may show, and nothing to work out.

Made by `orchestrator.report.period.build` from the files of the runs. Its JSON form is the period's
report.json (schema `period-report`). Times are UTC text; None is always "not observed".
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from orchestrator.report.view import Action, LogEntry, Text

SCHEMA = "anlan.period-report/v1"
Kind = Literal["period", "service"]
KINDS: tuple[Kind, ...] = ("period", "service")
State = Literal["pass", "fail", "unknown", "none"]
"""`unknown`: not proven either way; `none`: nothing there to judge."""
AGES = (7, 30, 90)
"""Upper bounds of the buckets of findings by age, in days; the last bucket has none."""


@dataclass(frozen=True)
class TargetResult:
    """A numeric target of a run: measured None, met None when it was not observed."""

    name: str
    target: float
    measured: float | None
    met: bool | None


@dataclass(frozen=True)
class Availability:
    """Writes of the ERP's clients while a drill ran, and at no other time.

    `observed_seconds` is from the first to the last write that the probe noted; `outage_seconds`
    are those of it in which no write was acknowledged.
    """

    tried: int
    acknowledged: int
    acknowledged_percent: float
    observed_seconds: float
    outage_seconds: float
    longest_outage_seconds: float


@dataclass(frozen=True)
class Run:
    """A finished run. `verdict` is `missed` for one that never began.

    `entries` are its places in the log; `result_sha256` is the digest of its
    result (runs/run.json).
    """

    run_id: str
    drill: str
    title: Text
    tier: str
    trigger: str
    due_at: str | None
    started_at: str
    ended_at: str
    verdict: str
    reasons: tuple[str, ...]
    compliance: str
    rto_seconds: float | None
    rpo_seconds: float | None
    rpo_transactions: int | None
    targets: tuple[TargetResult, ...]
    operator: str
    approval: str
    approved_by: tuple[str, ...]
    availability: Availability | None
    entries: tuple[LogEntry, ...]
    result_sha256: str


@dataclass(frozen=True)
class Attention:
    """Something that must not be overlooked.

    `kind` is `missing`, `missed`, `unfinished`, `failed`, `inconclusive`, `removed`,
    `not-satisfied`, `unknown`, `expired` or `waived`; `about` a run or a policy, `drill`
    that of a run.
    """

    kind: str
    about: str
    drill: str
    title: Text
    at: str
    text: Text


@dataclass(frozen=True)
class DrillState:
    """A kind of drill: its last result, and what was due after it and is not known.

    `state` is that of the last result that passed or failed; `unknown` as soon as something later
    was missing, missed, unfinished or inconclusive.
    """

    drill: str
    title: Text
    state: State
    last_verdict: str | None
    last_at: str | None
    last_run: str | None
    reason: str
    open_after: tuple[str, ...]


@dataclass(frozen=True)
class PolicyState:
    """A policy as it was last judged in the period.

    `lapsed`: its facts were no longer valid at the end of the period.
    """

    policy: str
    title: Text
    remediation: Text
    severity: str
    status: str
    reason: str
    judged_at: str
    run_id: str
    observed: int
    population_size: int
    valid_until: str | None
    lapsed: bool
    waived_until: str | None
    waived_by: str


@dataclass(frozen=True)
class Due:
    """How many runs of a drill were due, and what came of them; `unplanned` were not due.

    `pending` are in no list of the period: planned before it began, or still possible at its end.
    due = done + missed + missing + unfinished + removed + pending.
    """

    name: str
    due: int
    done: int
    missed: int
    missing: int
    unfinished: int
    removed: int
    pending: int
    unplanned: int


@dataclass(frozen=True)
class Slot:
    """One due run; `state` is the verdict of its run, or why there is none."""

    run_id: str
    drill: str
    tier: str
    due_at: str
    state: str


@dataclass(frozen=True)
class Episode:
    """A policy that does not hold, or of which nobody knows, from run to run.

    It is closed by the first run that found it satisfied (or not applicable: then without a time
    to repair). `before`: it was so already when the period first judged it, so it is older.
    """

    policy: str
    title: Text
    severity: str
    status: str
    first_seen_at: str
    last_seen_at: str
    runs: int
    before: bool
    closed_at: str | None
    closed_by: str | None
    repair_seconds: float | None
    age_days: float


@dataclass(frozen=True)
class Repair:
    """A drill that failed, until it next passed: from the end of one run to that of the other."""

    drill: str
    failed_run: str
    failed_at: str
    runs_failed: int
    passed_run: str | None
    passed_at: str | None
    repair_seconds: float | None


@dataclass(frozen=True)
class Mean:
    """A mean time to repair, and how many it is of; None without any."""

    repaired: int
    open: int
    mean_seconds: float | None
    longest_seconds: float | None


@dataclass(frozen=True)
class Sla:
    """A target over the runs of a tier that had it."""

    tier: str
    target: str
    title: Text
    short: str
    unit: str
    met: int
    missed: int
    not_observed: int
    limit: float
    worst: float | None
    median: float | None


@dataclass(frozen=True)
class Point:
    """A run in a trend; `value` None: not observed."""

    run_id: str
    at: str
    value: float | None
    target: float | None


@dataclass(frozen=True)
class Trend:
    """A measurement of a drill, run by run.

    `measured` of the points have a value, `met` of those with a target met it (None: no point has
    a target); `target` is the newest. The other figures are of the values, None without any.
    """

    drill: str
    title: Text
    measure: str
    unit: str
    measured: int
    met: int | None
    target: float | None
    least: float | None
    median: float | None
    most: float | None
    last: float | None
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Month:
    """One calendar month (UTC) of the period, or the part of it that lies in the period."""

    month: str
    due: int
    done: int
    missed: int
    missing: int
    passed: int
    failed: int
    inconclusive: int
    targets_met: int
    targets_missed: int
    targets_not_observed: int
    median_rto_seconds: float | None
    worst_rto_seconds: float | None
    opened: int
    closed: int
    open_at_end: int
    mean_repair_seconds: float | None
    acknowledged: int
    tried: int


@dataclass(frozen=True)
class Control:
    """A control and what this period is evidence for; `status` None: nothing evidences it here.

    Its evidence are `runs`: those that last judged its policies, and the last of its drills.
    """

    id: str
    title: Text
    threshold: str
    status: str | None
    policies: tuple[str, ...]
    drills: tuple[str, ...]
    runs: tuple[str, ...]
    unproven: Text


@dataclass(frozen=True)
class Coverage:
    """A catalogue: how many of its controls have evidence in the period, by status."""

    catalogue: str
    source: str
    edition: str
    published: str
    satisfied: int
    not_satisfied: int
    not_proven: int
    without: int
    controls: tuple[Control, ...]


@dataclass(frozen=True)
class Bucket:
    """Open findings by age; `up_to_days` None: older than all others."""

    up_to_days: int | None
    count: int


@dataclass(frozen=True)
class PeriodView:
    """All that a report over a period shows.

    `recovery` is over the last results of all drills, `compliance` over the policies as last
    judged, `programme` over what was due. `recorded_until` is the end of the last run on record.
    """

    kind: Kind
    environment: str
    since: str
    until: str
    tiers: tuple[str, ...]
    origin: str
    log_size: int
    rendered_by: str
    recorded_until: str | None
    recovery: State
    compliance: str
    programme: State
    verdicts: dict[str, int]
    statuses: dict[str, int]
    attention: tuple[Attention, ...]
    actions: tuple[Action, ...]
    drills: tuple[DrillState, ...]
    policies: tuple[PolicyState, ...]
    due: Due
    calendar: tuple[Due, ...]
    by_tier: tuple[Due, ...]
    slots: tuple[Slot, ...]
    runs: tuple[Run, ...]
    trends: tuple[Trend, ...]
    findings: tuple[Episode, ...]
    ages: tuple[Bucket, ...]
    finding_repair: Mean
    repairs: tuple[Repair, ...]
    drill_repair: Mean
    sla: tuple[Sla, ...]
    availability: Availability | None
    measured_runs: int
    months: tuple[Month, ...]
    coverage: tuple[Coverage, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form (schema `period-report`)."""
        return {"schema": SCHEMA, **asdict(self)}
