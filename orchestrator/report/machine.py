"""report.json: the view itself, for programs (schema `report`)."""

from __future__ import annotations

import json

from orchestrator.report.view import View


def render_json(view: View) -> bytes:
    """Return the JSON document of a run's report."""
    return (json.dumps(view.to_json(), indent=2, ensure_ascii=False) + "\n").encode()
