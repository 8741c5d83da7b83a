"""Which runs' evidence may be removed, and why each other one stays. Not observed is kept.

The retention of a run is over `evidence_days` after its end, by the longer of what its own
descriptor says and what the environment's says now.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from orchestrator.evidence.retained.holds import Hold
from orchestrator.model.fact import timestamp


@dataclass(frozen=True)
class Candidate:
    """A finished run whose signed result is in the log.

    `missed`: none of its steps ever began. `statements` maps kind to the sha256 in the log;
    `bundle` is the sha256 of the bundle in the state directory, if there is one.
    """

    run_id: str
    drill: str
    verdict: str
    missed: bool
    started_at: datetime
    ended_at: datetime
    evidence_days: int
    statements: Mapping[str, str]
    bundle: str | None

    @property
    def over_at(self) -> datetime:
        """When its retention is over."""
        return self.ended_at + timedelta(days=self.evidence_days)


@dataclass(frozen=True)
class AtSite:
    """What a site's store says of a run's bundle: when its last lock ends (None: it has none).

    `unknown` says why it could not be asked; empty if it answered.
    """

    locked_until: datetime | None = None
    unknown: str = ""


@dataclass(frozen=True)
class Reason:
    """Why a run stays: a stable code and a sentence."""

    code: str
    message: str

    def to_json(self) -> dict[str, str]:
        """Return the JSON form."""
        return {"code": self.code, "message": self.message}


@dataclass(frozen=True)
class Decision:
    """What becomes of a run: removed when there is no reason to keep it."""

    run_id: str
    reasons: tuple[Reason, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"run_id": self.run_id, "kept_because": [one.to_json() for one in self.reasons]}


def required(candidates: Iterable[Candidate]) -> dict[str, str]:
    """Return run id → why policies and controls depend on it.

    The fact `drill_history`, the drill `readiness` and the coverage of controls look at the last
    run of each drill, missed ones with and without, and at the last one that passed.
    """
    found: dict[tuple[str, str], str] = {}
    for one in sorted(candidates, key=lambda one: (one.ended_at, one.run_id)):
        found[one.drill, "it is the last run of"] = one.run_id
        if not one.missed:
            found[one.drill, "it is the last that began of"] = one.run_id
        if one.verdict == "pass":
            found[one.drill, "it is the last that passed of"] = one.run_id
    return {run_id: f"{why} {drill}" for (drill, why), run_id in sorted(found.items())}


def reasons_here(
    run: Candidate,
    wanted: Mapping[str, str],
    hold: Hold | None,
    now: datetime,
    before: datetime | None = None,
) -> tuple[Reason, ...]:
    """Return why a run stays, by what is known without its sites.

    `wanted` is what `required` returned; `before` narrows to runs that ended before it.
    """
    found = []
    if run.over_at >= now:
        message = f"{run.evidence_days} days after its end are {timestamp(run.over_at)}"
        found.append(Reason("young", message))
    if before is not None and run.ended_at >= before:
        message = f"it ended {timestamp(run.ended_at)}, not before {timestamp(before)}"
        found.append(Reason("not-asked", message))
    if run.run_id in wanted:
        found.append(Reason("required", wanted[run.run_id]))
    if hold is not None and hold.held:
        found.append(Reason("held", f"legal hold of {hold.by} since {hold.at}: {hold.reason}"))
    return tuple(found)


def reasons_at_sites(sites: Mapping[str, AtSite], now: datetime) -> tuple[Reason, ...]:
    """Return why a run stays, by the answers of its sites; one that does not answer keeps it."""
    found = []
    for name, one in sorted(sites.items()):
        if one.unknown:
            found.append(Reason("unknown", f"site {name} could not be asked: {one.unknown}"))
        elif one.locked_until is not None and one.locked_until >= now:
            until = timestamp(one.locked_until)
            found.append(Reason("locked", f"its bundle is locked at site {name} until {until}"))
    return tuple(found)
