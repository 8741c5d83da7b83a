"""What a report of one run says: every value that a format may show, and nothing to work out.

Made by `orchestrator.report.build` from the files of a run; the formats only lay it out, so they
cannot disagree. Its JSON form is report.json (schema `report`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

SCHEMA = "anlan.report/v1"
Text = Mapping[str, str]
"""The same text in English (`en`) and Chinese (`zh`)."""
Compliance = Literal["compliant", "not-compliant", "not-proven", "not-judged"]
State = Literal["pass", "fail", "unknown"]


@dataclass(frozen=True)
class Target:
    """A target against what was measured.

    `share` is measured ÷ target, None where it says nothing (not measured, or a target of 0).
    """

    name: str
    title: Text
    short: str
    unit: str
    target: float
    measured: float | None
    met: bool | None
    state: State
    share: float | None


@dataclass(frozen=True)
class Clock:
    """How a site's clock stood against the orchestrator's; None: not observed."""

    site: str
    offset_ms: float | None
    uncertainty_ms: float | None


@dataclass(frozen=True)
class Phase:
    """A part of the recovery time; seconds from its beginning, `percent` of the whole."""

    name: str
    from_seconds: float
    seconds: float
    percent: float


@dataclass(frozen=True)
class Outage:
    """No write was acknowledged; seconds since the first step, None: until the end."""

    from_seconds: float
    seconds: float | None
    failures: int


@dataclass(frozen=True)
class Rate:
    """Events per second over the run, in bins of `bin_seconds`; `most` is the highest."""

    name: str
    title: Text
    bin_seconds: float
    per_second: tuple[float, ...]
    most: float


@dataclass(frozen=True)
class Step:
    """A step; seconds since the first step. `percent` of the critical path, None beside it."""

    id: str
    title: Text
    phase: str
    status: str
    started_seconds: float | None
    seconds: float | None
    percent: float | None
    error: str
    retries: tuple[str, ...]


@dataclass(frozen=True)
class CriticalPath:
    """The steps that made the run as long as it was; seconds."""

    steps: int
    of_steps: int
    seconds: float
    between_seconds: float


@dataclass(frozen=True)
class Check:
    """A check of a step: failed ones come first, then those that were not observed."""

    step: str
    name: str
    state: State
    detail: str


@dataclass(frozen=True)
class Undo:
    """How a step was undone."""

    step: str
    status: str
    seconds: float | None
    error: str


@dataclass(frozen=True)
class Ledger:
    """Writes that were acknowledged, against what was recovered; `lost_keys` is all of them."""

    acknowledged: int
    recovered: int
    lost: int
    in_doubt_committed: int
    in_doubt_absent: int
    lost_keys: tuple[str, ...]


@dataclass(frozen=True)
class ControlRef:
    """A control that a policy is evidence for."""

    source: str
    id: str
    threshold: str


@dataclass(frozen=True)
class Value:
    """What a fact had where a condition looks; JSON, long ones cut."""

    field: str
    value: str


@dataclass(frozen=True)
class Observation:
    """What a policy says about one subject; `fact` is the id of a `Fact` of this report."""

    subject: str
    status: str
    reason: str
    fact: str | None
    collected_at: str | None
    valid_until: str | None
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Waiver:
    """A signed exception in force; the status of the policy stays what it is."""

    subject: str
    owner: str
    reason: str
    until: str
    digest: str


@dataclass(frozen=True)
class Finding:
    """What a policy says about its whole population."""

    policy: str
    title: Text
    rationale: Text
    remediation: Text
    severity: str
    status: str
    reason: str
    population_size: int
    observed: int
    observed_at: str | None
    valid_until: str | None
    parameters: Mapping[str, Any]
    controls: tuple[ControlRef, ...]
    observations: tuple[Observation, ...]
    waivers: tuple[Waiver, ...]
    facts: tuple[str, ...]


@dataclass(frozen=True)
class Control:
    """A control that this run's policies or its drill are evidence for, and what stays unproven.

    `status` is the worst of its policies here, None when the drill alone is its evidence.
    """

    catalogue: str
    source: str
    edition: str
    published: str
    id: str
    title: Text
    threshold: str
    status: str | None
    policies: tuple[str, ...]
    drill: bool
    unproven: Text


@dataclass(frozen=True)
class Gap:
    """Something that was not observed, and so is no pass."""

    kind: str
    what: Text
    why: Text


@dataclass(frozen=True)
class Fact:
    """A fact, where it came from, and its digest (that of its canonical JSON)."""

    id: str
    file: str
    kind: str
    subject: str
    status: str
    collected_at: str
    source: str
    query: str
    row_count: int | None
    duration_ms: float
    error: str
    digest: str


@dataclass(frozen=True)
class Action:
    """What to do, the most urgent first; `about` is a step, check, target or policy."""

    kind: str
    about: str
    text: Text


@dataclass(frozen=True)
class File:
    """A file of the bundle."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class LogEntry:
    """Where the evidence log holds this run."""

    kind: str
    index: int
    time: str
    digest: str


@dataclass(frozen=True)
class Evidence:
    """What an auditor verifies instead of believing a report."""

    keys: tuple[str, ...]
    log: tuple[LogEntry, ...]
    files: tuple[File, ...]
    environment_digest: str
    deployment_digest: str
    drill_digest: str


@dataclass(frozen=True)
class View:
    """One run. Times are UTC text as recorded, durations seconds, moments seconds since step 1.

    `policies` counts by status (None: not judged). `waived` policies do not hold, and are waived
    wherever they do not. `more_actions` is how many come after the first five, `not_observed` the
    number of gaps. One that was built for the page alone has no more than the page shows.
    """

    run_id: str
    drill: str
    title: Text
    purpose: Text
    scenario: Text
    impact: str
    environment: str
    tier: str
    parameters: Mapping[str, Any]
    operator: str
    trigger: str
    attempts: int
    tool: str
    tool_version: str
    rendered_by: str
    started_at: str
    ended_at: str
    duration_seconds: float
    verdict: str
    exit_code: int
    reasons: tuple[str, ...]
    compliance: Compliance
    evaluated_at: str | None
    policies: Mapping[str, int] | None
    waived: tuple[str, ...]
    rto_seconds: float | None
    rpo_seconds: float | None
    rpo_transactions: int | None
    targets: tuple[Target, ...]
    actions: tuple[Action, ...]
    more_actions: int
    gaps: tuple[Gap, ...]
    findings: tuple[Finding, ...]
    controls: tuple[Control, ...]
    phases: tuple[Phase, ...]
    fault_seconds: float | None
    until_seconds: float
    outages: tuple[Outage, ...]
    rates: tuple[Rate, ...]
    steps: tuple[Step, ...]
    critical_path: CriticalPath
    checks: tuple[Check, ...]
    checks_passed: int
    checks_made: int
    not_observed: int
    undo: tuple[Undo, ...]
    ledger: Ledger | None
    clocks: tuple[Clock, ...]
    facts: tuple[Fact, ...]
    evidence: Evidence

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form (schema `report`)."""
        return {"schema": SCHEMA, **asdict(self)}
