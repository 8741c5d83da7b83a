"""What a run recovered, survivor or twin: which facts of it are kept, which policies judge it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

JUDGE = "judge_recovered"
"""The verb that keeps the facts; its options are `at` (PLACES) and `policies` (ids or files)."""
PLACES = ("survivor", "twin")
SCHEMA = "anlan.recovered-facts/v1"
TWIN = "twin"
"""What stands for a site in the subjects of facts about a twin."""
TWIN_KINDS = frozenset(
    {
        "audit_log",
        "database_access",
        "database_roles",
        "database_settings",
        "erp_access",
        "erp_accounts",
    }
)
"""Kinds of facts that a twin has: it has no endpoints that anybody but itself could reach."""


def judging_step(plan: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the step of a plan (schema `plan`) that keeps the facts; None when it has none."""
    return next((step for step in plan["steps"] if step["do"] == JUDGE), None)
