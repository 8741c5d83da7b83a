"""Findings for other tools: SARIF, JUnit, OCSF. Pure: same findings, same bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.model.policy import Policy
from orchestrator.report.findings_junit import to_junit
from orchestrator.report.findings_ocsf import to_ocsf
from orchestrator.report.findings_sarif import to_sarif

Renderer = Callable[[Mapping[str, Any], Mapping[str, Policy], str], str]
"""(findings document, its policies by id, name of the environment) → text with a last newline."""


def to_json(document: Mapping[str, Any], _: Mapping[str, Policy], __: str) -> str:
    """Return the findings document itself (schema `finding`)."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


RENDERERS: Mapping[str, Renderer] = {
    "json": to_json,
    "sarif": to_sarif,
    "junit": to_junit,
    "ocsf": to_ocsf,
}
"""Format to renderer."""
