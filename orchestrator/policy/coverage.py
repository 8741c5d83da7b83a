"""How far the controls of a catalogue are covered: findings and drills → a status each. Pure.

Everything that a control names is needed: one bad part makes the control bad. A control of which
nothing is looked at is `unproven`, which is never counted as satisfied.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from orchestrator.model.catalogue import Catalogue, CatalogueControl
from orchestrator.model.fact import timestamp
from orchestrator.model.policy import STATUSES, Finding, Status

Coverage = Status | Literal["unproven"]
COVERAGES: tuple[Coverage, ...] = (*STATUSES, "unproven")


@dataclass(frozen=True)
class DrillRun:
    """A finished run of a drill, by its signed result."""

    drill: str
    run_id: str
    verdict: str
    ended_at: datetime


@dataclass(frozen=True)
class Part:
    """One policy or drill that a control names, and what it says; status None: nobody asked."""

    kind: Literal["policy", "drill"]
    name: str
    status: Status | None
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "kind": self.kind,
            "name": self.name,
            "status": self.status,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class ControlCoverage:
    """One control; `status` is None when the mapping alone was asked for."""

    control: CatalogueControl
    status: Coverage | None
    parts: tuple[Part, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "id": self.control.id,
            "title": dict(self.control.title),
            "condition": dict(self.control.condition),
            "threshold": self.control.threshold,
            "status": self.status,
            "evidence": [part.to_json() for part in self.parts],
            "unproven": dict(self.control.unproven),
        }


@dataclass(frozen=True)
class CatalogueCoverage:
    """A catalogue with its controls in its own order."""

    catalogue: Catalogue
    controls: tuple[ControlCoverage, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many controls have each status; without a status those that have evidence."""
        found = [one.status or _mapped(one) for one in self.controls]
        return {name: found.count(name) for name in (*COVERAGES, "mapped") if name in found}

    @property
    def satisfied_percent(self) -> float:
        """Satisfied controls of all that apply, the unproven among them, in percent."""
        applicable = [one for one in self.controls if one.status != "not-applicable"]
        good = sum(one.status == "satisfied" for one in applicable)
        return _percent(good, len(applicable))

    @property
    def mapped_percent(self) -> float:
        """Controls that a policy or drill is evidence for, in percent of all."""
        return _percent(sum(bool(one.parts) for one in self.controls), len(self.controls))

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        asked = any(one.status for one in self.controls)
        return {
            "id": self.catalogue.id,
            "name": self.catalogue.name,
            "title": dict(self.catalogue.title),
            "edition": self.catalogue.edition,
            "source": self.catalogue.source,
            "summary": {
                "controls": len(self.controls),
                "counts": self.counts,
                "mapped_percent": self.mapped_percent,
                "satisfied_percent": self.satisfied_percent if asked else None,
            },
            "controls": [one.to_json() for one in self.controls],
        }


def _percent(part: int, whole: int) -> float:
    """Cut, not rounded: 100 % is all of them."""
    return int(1000 * part / whole) / 10 if whole else 0.0


def _mapped(one: ControlCoverage) -> str:
    return "mapped" if one.parts else "unproven"


def mapping(catalogue: Catalogue) -> CatalogueCoverage:
    """Return what would be evidence for each control; nothing was asked."""
    return CatalogueCoverage(
        catalogue,
        tuple(
            ControlCoverage(
                one,
                None,
                tuple(
                    [Part("policy", name, None, "") for name in one.policies]
                    + [Part("drill", name, None, "") for name in one.drills]
                ),
            )
            for one in catalogue.controls
        ),
    )


def cover(
    catalogue: Catalogue,
    findings: Iterable[Finding],
    runs: Sequence[DrillRun],
    now: datetime,
    drill_days: float,
) -> CatalogueCoverage:
    """Return the status of each control.

    A policy without a finding is unknown. Of a drill its last conclusive run counts: a pass holds
    for `drill_days`, then it is expired.
    """
    found = {one.policy.id: one for one in findings}
    drills = {name: _drill(name, runs, now, drill_days) for name in _drills(catalogue)}
    return CatalogueCoverage(
        catalogue, tuple(_control(one, found, drills) for one in catalogue.controls)
    )


def _drills(catalogue: Catalogue) -> set[str]:
    return {name for one in catalogue.controls for name in one.drills}


def _control(
    control: CatalogueControl, findings: Mapping[str, Finding], drills: Mapping[str, Part]
) -> ControlCoverage:
    parts = [_policy(name, findings.get(name)) for name in control.policies]
    parts += [drills[name] for name in control.drills]
    return ControlCoverage(control, _total(parts), tuple(parts))


def _policy(name: str, finding: Finding | None) -> Part:
    if finding is None:
        return Part("policy", name, "unknown", "it was not judged")
    return Part("policy", name, finding.status, finding.reason)


def _drill(name: str, runs: Sequence[DrillRun], now: datetime, days: float) -> Part:
    told = [one for one in runs if one.drill == name and one.verdict in ("pass", "fail")]
    if not told:
        return Part("drill", name, "unknown", "no conclusive run is on record")
    last = max(told, key=lambda one: one.ended_at)
    when = f"{timestamp(last.ended_at)} (run {last.run_id})"
    if last.verdict == "fail":
        return Part("drill", name, "not-satisfied", f"failed {when}")
    if now - last.ended_at > timedelta(days=days):
        return Part("drill", name, "expired", f"passed {when}, more than {days:g} days ago")
    return Part("drill", name, "satisfied", f"passed {when}")


def _total(parts: Sequence[Part]) -> Coverage:
    statuses = {part.status for part in parts}
    if not statuses:
        return "unproven"
    return next(status for status in STATUSES if status in statuses)
