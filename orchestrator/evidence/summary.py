"""What a bundle says in short: its measurements, who signed it, and who vouches for its time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.evidence import layout
from orchestrator.evidence.contents import Contents
from orchestrator.evidence.proven import Logged
from orchestrator.evidence.trust.signatures import Signed
from orchestrator.evidence.trust.values import Trust
from orchestrator.model.fact import timestamp


def summarize(
    contents: Contents,
    trust: Trust,
    logged: Logged,
    signed: Sequence[Signed],
    *,
    derived: Mapping[str, Any] | None,
    findings: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return what a bundle says, as derived again here, and who signed and vouches for it."""
    plan, run, environment = (
        data if isinstance(data, dict) else {}
        for data in (
            contents.json_or_none(path) for path in (layout.PLAN, layout.RUN, layout.ENVIRONMENT)
        )
    )
    derived = derived or {}
    counts: dict[str, int] = {}
    for finding in (findings or {}).get("findings", []):
        counts[finding["status"]] = counts.get(finding["status"], 0) + 1
    return {
        "run_id": plan.get("run_id", ""),
        "drill": drill.get("name", "") if isinstance(drill := plan.get("drill"), dict) else "",
        "tool": tool.get("version", "") if isinstance(tool := plan.get("tool"), dict) else "",
        "environment": environment.get("name", ""),
        "started_at": run.get("started_at"),
        "ended_at": run.get("ended_at"),
        "verdict": derived.get("verdict"),
        "rto_seconds": derived.get("rto_seconds"),
        "rpo_seconds": derived.get("rpo_seconds"),
        "rpo_transactions": derived.get("rpo_transactions"),
        "targets": derived.get("targets", []),
        "policies": counts,
        "files": len(contents),
        "signers": sorted({one.key.id for one in signed if one.role != "log"}),
        **_whose(logged, signed, trust),
        "log": sorted(entry.index for entry in logged.entries.values()),
    }


def _whose(logged: Logged, signed: Sequence[Signed], trust: Trust) -> dict[str, Any]:
    """Who signed and who vouches, by name; and by when the result was there, by others' word."""
    vouched = logged.vouched
    proven = vouched["run"].proven(trust.thresholds) if "run" in vouched else None
    names = sorted({(one.key.name, one.role, one.key.id) for one in signed})
    heads = sorted(vouched.items())
    return {
        "signed_by": [{"name": name, "role": role, "key": key} for name, role, key in names],
        "witnesses": [
            {"name": name, "log": kind, "at": timestamp(at)}
            for kind, one in heads
            for name, at in sorted(one.witnesses.items())
        ],
        "timestamps": [
            {"name": name, "log": kind, "at": timestamp(at)}
            for kind, one in heads
            for name, at in sorted(one.timestamps.items())
        ],
        "existed_by": None if proven is None else timestamp(proven),
    }
