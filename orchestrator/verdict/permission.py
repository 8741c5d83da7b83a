"""Whether a run might begin: approved by enough persons, and in a change window. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from orchestrator.evidence.persons.approvals import Decisions, decisions_of, judge
from orchestrator.model import change_window
from orchestrator.model.fact import parse_timestamp, timestamp

PERMITTED = "permitted"
"""The journal's note of when a run with a rule was found to be permitted."""


def why_not(plan: Mapping[str, Any], said: Decisions, now: datetime) -> str:
    """Why a run of a plan with a rule may not begin now, in words; empty if it may."""
    if lack := said.lack(plan):
        return lack
    windows = plan["approvals"].get("change_windows", [])
    if change_window.is_open(windows, now):
        return ""
    opening = change_window.next_opening(windows, now)
    when = f"{opening.astimezone(UTC):%Y-%m-%dT%H:%MZ}" if opening else "not within 8 days"
    return f"outside of the change windows; the next opens {when}"


def checks(plan: Mapping[str, Any], raw: Mapping[str, Any]) -> list[tuple[str, bool, str]]:
    """Name, result and detail of what a run's raw data say about its permit. Pure.

    None without a rule in the plan, or when none of its steps began.
    """
    journal = raw.get("steps", [])
    if "approvals" not in plan or not any(one["kind"] == "begin" for one in journal):
        return []
    said, rule = judge(plan, decisions_of(raw)), plan["approvals"]
    lack, names = said.lack(plan), ", ".join(said.approved) or "none needed"
    detail = lack or f"{len(said.approved)} of {rule['required']}: {names}"
    found = [("approved", not lack, detail)]
    if windows := rule.get("change_windows"):
        noted = [e for e in journal if e["kind"] == "note" and e["name"] == PERMITTED]
        # A kill may come before the note; the attempt began a moment after it was permitted.
        at = parse_timestamp(noted[0]["data"]["utc"] if noted else journal[0]["utc"])
        is_open = change_window.is_open(windows, at)
        found.append(("in_change_window", is_open, f"began {timestamp(at)}"))
    return found
