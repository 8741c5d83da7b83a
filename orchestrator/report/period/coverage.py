"""The controls of the catalogues: what of this period is evidence for each, and what is not."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.model.catalogue import Catalogue, CatalogueControl
from orchestrator.model.policy import BAD, STATUSES
from orchestrator.report.period.view import Control, Coverage, DrillState, PolicyState
from orchestrator.report.rules import Rules

_ORDER: Mapping[str, int] = {status: number for number, status in enumerate(STATUSES)}
_DRILL: Mapping[str, str] = {"pass": "satisfied", "fail": "not-satisfied", "unknown": "unknown"}
"""State of a drill → the status of a control that it is evidence for."""


def coverage_of(
    rules: Rules | None,
    policies: Mapping[str, PolicyState],
    drills: Mapping[str, DrillState],
) -> tuple[Coverage, ...]:
    """Return every catalogue of the newest rules with all its controls, those without evidence too.

    A control is as its worst policy was last judged, and as its worst drill last ended.
    """
    if rules is None:
        return ()
    return tuple(_coverage(one, policies, drills) for one in rules.catalogues)


def _coverage(
    catalogue: Catalogue,
    policies: Mapping[str, PolicyState],
    drills: Mapping[str, DrillState],
) -> Coverage:
    controls = tuple(_control(one, policies, drills) for one in catalogue.controls)
    statuses = [one.status for one in controls]
    return Coverage(
        catalogue=catalogue.id,
        source=catalogue.name,
        edition=catalogue.edition,
        published=catalogue.source,
        satisfied=statuses.count("satisfied"),
        not_satisfied=statuses.count("not-satisfied"),
        not_proven=sum(status in BAD[1:] or status == "not-applicable" for status in statuses),
        without=statuses.count(None),
        controls=controls,
    )


def _control(
    one: CatalogueControl,
    policies: Mapping[str, PolicyState],
    drills: Mapping[str, DrillState],
) -> Control:
    judged = [policies[name] for name in one.policies if name in policies]
    drilled = [drills[name] for name in one.drills if name in drills]
    drilled = [drill for drill in drilled if drill.state in _DRILL]
    statuses = [policy.status for policy in judged] + [_DRILL[drill.state] for drill in drilled]
    runs = [policy.run_id for policy in judged]
    runs += [drill.last_run for drill in drilled if drill.last_run]
    return Control(
        id=one.id,
        title=one.title,
        threshold=one.threshold,
        status=min(statuses, key=_ORDER.__getitem__, default=None),
        policies=tuple(policy.policy for policy in judged),
        drills=tuple(drill.drill for drill in drilled),
        runs=tuple(dict.fromkeys(runs)),
        unproven=one.unproven,
    )
