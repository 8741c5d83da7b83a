"""Controls in OSCAL: which a run reviewed, and the objectives that its policies are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from orchestrator.report.oscal_text import line, lines, prop, string
from orchestrator.report.view import Control, View

_NIST = re.compile(r"([A-Z]{2})-(\d+)(?:\((\d+)\))?")


def token(text: str) -> str:
    """Return a TokenDatatype: letters, digits, `.`, `-`, `_`, not beginning with a digit."""
    found = re.sub(r"[^\w.-]+", "-", text).strip("-.") or "none"
    return found if found[0].isalpha() or found[0] == "_" else f"_{found}"


def control_id(control: Control) -> str:
    """Return the id of a control: NIST's own (`CP-9(1)` is `cp-9.1`), elsewhere ours."""
    nist = _NIST.fullmatch(control.id) if control.catalogue.startswith("nist-800-53") else None
    if nist:
        family, number, enhancement = nist.groups()
        return f"{family.lower()}-{number}" + (f".{enhancement}" if enhancement else "")
    return token(f"{control.catalogue}_{control.id}".lower())


def reviewed_controls(view: View) -> dict[str, Any]:
    """Return the controls that the policies or the drill of a run are evidence for."""
    description = (
        "Controls that this run is evidence for. A control whose policies hold is not a fulfilled "
        "law: what stays unproven is said with its objectives."
    )
    if not view.controls:
        selection = {
            "description": "No catalogue of this run names what it judged.",
            "include-controls": [{"control-id": token(f"drill-{view.drill}")}],
        }
        return {"description": description, "control-selections": [selection]}
    return {"description": description, "control-selections": selections(view.controls)}


def selections(controls: Sequence[Control]) -> list[dict[str, Any]]:
    """Return the controls by catalogue."""
    ordered = sorted(controls, key=lambda one: one.catalogue)
    return [_selection(list(mine)) for _, mine in groupby(ordered, key=lambda one: one.catalogue)]


def _selection(controls: Sequence[Control]) -> dict[str, Any]:
    first = controls[0]
    ids = dict.fromkeys(sorted(control_id(one) for one in controls))
    return {
        "description": lines(f"{first.source}, {first.edition}"),
        "props": [
            prop("catalogue", first.catalogue),
            prop("published", first.published),
            *(prop("control", f"{control_id(one)} = {one.id}") for one in controls),
        ],
        "include-controls": [{"control-id": one} for one in ids],
    }


def objectives(view: View, lang: str) -> list[dict[str, Any]]:
    """Return the policies, and the drill, as objectives of the controls that they evidence.

    An objective has one id and one control in OSCAL: it stands at the first of its controls, and
    names the others.
    """
    names = {finding.policy: finding.title for finding in view.findings}
    found = []
    for policy, title in names.items():
        found += _objective(
            token(policy), title[lang], [one for one in view.controls if policy in one.policies]
        )
    drills = [one for one in view.controls if one.drill]
    found += _objective(token(f"drill-{view.drill}"), view.purpose[lang], drills)
    return found


def _objective(name: str, title: str, controls: Sequence[Control]) -> list[dict[str, Any]]:
    if not controls:
        return []
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
                    "title": line(title),
                    "prose": lines(string(title)),
                }
            ],
        }
    ]
