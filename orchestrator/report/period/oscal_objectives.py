"""Controls of a period in OSCAL: what it reviewed, and the objectives that are evidence for it."""

from __future__ import annotations

from typing import Any

from orchestrator.report import view as single
from orchestrator.report.oscal_controls import control_id, selections, token
from orchestrator.report.oscal_text import line, lines, prop
from orchestrator.report.period.view import PeriodView

PROGRAMME = "drill-programme"
"""The objective that every drill that was due was done."""


def _controls(view: PeriodView) -> list[single.Control]:
    """The controls that something of the period is evidence for, as a run's report has them."""
    return [
        single.Control(
            catalogue=catalogue.catalogue,
            source=catalogue.source,
            edition=catalogue.edition,
            published=catalogue.published,
            id=one.id,
            title=one.title,
            threshold=one.threshold,
            status=one.status,
            policies=one.policies,
            drill=bool(one.drills),
            unproven=one.unproven,
        )
        for catalogue in view.coverage
        for one in catalogue.controls
        if one.status is not None
    ]


def reviewed_controls(view: PeriodView) -> dict[str, Any]:
    """Return the controls that the period is evidence for, by catalogue."""
    controls = _controls(view)
    none = {
        "description": "No catalogue of this period names what was judged.",
        "include-controls": [{"control-id": PROGRAMME}],
    }
    return {
        "description": "Controls that this period is evidence for. A control whose policies hold "
        "is not a fulfilled law: what stays unproven is said with its objectives.",
        "control-selections": selections(controls) or [none],
    }


def objectives(view: PeriodView, lang: str) -> list[dict[str, Any]]:
    """Return policies and drills as objectives of their first control, which name the others."""
    titles = {one.policy: (token(one.policy), one.title[lang]) for one in view.policies}
    drills = {one.drill: (token(f"drill-{one.drill}"), one.title[lang]) for one in view.drills}
    of: dict[str, list[single.Control]] = {}
    named: dict[str, str] = {}
    evidenced = [one for catalogue in view.coverage for one in catalogue.controls if one.status]
    for control, shown in zip(evidenced, _controls(view), strict=True):
        for name, title in (
            *(titles[one] for one in control.policies),
            *(drills[one] for one in control.drills),
        ):
            of.setdefault(name, []).append(shown)
            named[name] = title
    return [
        {
            "control-id": control_id(controls[0]),
            "props": [
                prop("control", control_id(one), f"Unproven: {one.unproven['en']}")
                for one in controls
            ],
            "parts": [
                {
                    "id": name,
                    "name": "assessment-objective",
                    "title": line(named[name]),
                    "prose": lines(named[name]),
                }
            ],
        }
        for name, controls in of.items()
    ]
