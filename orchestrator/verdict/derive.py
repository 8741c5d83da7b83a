"""What a run proved, derived from its plan, its raw data and its findings alone. Pure.

The engine derives it to write run.json; an auditor derives it again, offline, from the bundle.
A verdict is pass, fail or inconclusive: what was not observed is never a pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from orchestrator.model.policy import BAD, STATUSES, is_waived
from orchestrator.model.recovered import judging_step
from orchestrator.verdict import permission
from orchestrator.verdict.critical_path import critical_path
from orchestrator.verdict.measure import Steps, check_of, measure, rounded

EXIT_CODES = {"pass": 0, "fail": 1, "inconclusive": 5}

_PREPARING = {"prepare", "baseline"}


def derive(plan: Mapping[str, Any], raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return what run.json holds under `derived` (schema `run`).

    `raw` maps the stem of each file in raw/ to its parsed content, `findings` to the findings
    document, and `recovered_findings` to the one about what was recovered (or None).
    """
    steps = Steps(raw.get("steps", []))
    reasons: list[str] = []
    doubts: list[str] = []
    rows = [_step_row(steps, step) for step in plan["steps"]]
    undo = _undo_rows(steps, plan)
    for row in rows:
        if row["status"] == "failed":
            ended = f"step {row['id']} failed: {row['error']}"
            # Before the fault nothing was put to the test: that proves nothing, either way.
            (doubts if row["phase"] in _PREPARING else reasons).append(ended)
    reasons += [f"undo of {one['step']} failed: {one['error']}" for one in undo if one["error"]]
    doubts += [f"missed: {e['reason']}" for e in steps.entries if e["kind"] == "missed"]
    doubts += [
        f"aborted before {e['before']}: {e['reason']}"
        for e in steps.entries
        if e["kind"] == "aborted" and "reason" in e  # not in evidence of earlier versions
    ]
    missed = [row["id"] for row in rows if row["status"] == "not_run"]
    if missed:
        doubts.append(f"steps not run: {', '.join(missed)}")
    measured = measure(plan, steps, raw, doubts)
    checks = (
        steps.checks()
        + [check_of("permit", *one) for one in permission.checks(plan, raw)]
        + measured.pop("checks")
        + _recovered_checks(plan, steps, raw.get("recovered_findings"))
    )
    preparing = {row["id"] for row in rows if row["phase"] in _PREPARING}
    for check in checks:
        if check["ok"] is False:
            words = f"check {check['name']}: {check['detail']}"
            (doubts if check["step"] in preparing else reasons).append(words)
    doubts += [f"not observed: {c['name']}: {c['detail']}" for c in checks if c["ok"] is None]
    targets = [_target(name, value, measured[name]) for name, value in plan["targets"].items()]
    for target in targets:
        words = f"{target['name']} is {target['measured']}, the target {target['target']:g}"
        if target["met"] is None:
            doubts.append(f"{target['name']} was not observed")
        elif not target["met"]:
            reasons.append(words)
    if not steps.one_boot:
        doubts.append("the run spans a reboot: its times do not compare")
    policies, waived = _policies(raw.get("findings")), _waived(raw.get("findings"))
    verdict = "fail" if reasons else "inconclusive" if doubts else "pass"
    return {
        "verdict": verdict,
        "reasons": reasons + doubts,
        "exit_code": _exit_code(verdict, policies, waived),
        **measured,
        "targets": targets,
        "checks": checks,
        "steps": rows,
        "critical_path": critical_path(plan["steps"], rows),
        "undo": undo,
        "policies": policies,
        "waived": waived,
    }


def _exit_code(
    verdict: str, policies: Mapping[str, int] | None, waived: Sequence[Mapping[str, str]]
) -> int:
    """The drill's verdict and the policies' together: one failure fails, one doubt leaves doubt.

    A policy that is waived wherever it does not hold makes neither.
    """
    counts = Counter(policies)
    counts.subtract(one["status"] for one in waived)
    if verdict == "fail" or counts["not-satisfied"]:
        return EXIT_CODES["fail"]
    if verdict == "inconclusive" or policies is None or counts["unknown"] or counts["expired"]:
        return EXIT_CODES["inconclusive"]
    return EXIT_CODES["pass"]


def _step_row(steps: Steps, step: Mapping[str, Any]) -> dict[str, Any]:
    began, end = steps.of("begin", "end", step["id"])
    status = "not_run" if end is None else str(end["status"])
    return {
        "id": step["id"],
        "phase": step["phase"],
        "status": status,
        "started_seconds": None if began is None else steps.seconds(began),
        "seconds": None if began is None or end is None else rounded((end["t"] - began) / 1e9),
        "error": "" if end is None else str(end["error"]),
    }


def _undo_rows(steps: Steps, plan: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Undo in the order it was made: the reverse of the plan's."""
    rows = []
    for step in reversed(plan["steps"]):
        began, end = steps.of("undo_begin", "undo_end", step["id"])
        if began is None:
            continue
        failed = end is None or end["status"] != "done"
        rows.append(
            {
                "step": step["id"],
                "status": "failed" if failed else "done",
                "seconds": None if end is None else rounded((end["t"] - began) / 1e9),
                "error": "it did not end" if end is None else str(end["error"]),
            }
        )
    return rows


def _target(name: str, target: float, measured: float | None) -> dict[str, Any]:
    met = None if measured is None else measured <= target
    return {"name": name, "target": target, "measured": measured, "met": met}


def _recovered_checks(
    plan: Mapping[str, Any], steps: Steps, findings: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    """A check for each policy that judges what was recovered; unknown and expired are no pass."""
    step = judging_step(plan)
    if step is None or steps.of("begin", "end", step["id"])[1] is None:
        return []
    if findings is None:
        return [check_of(step["id"], "recovered_judged", None, "no facts of it were kept")]
    outcomes = {"satisfied": True, "not-satisfied": False, "unknown": None, "expired": None}
    judged = [
        check_of(
            step["id"],
            f"policy_{one['policy'].replace('-', '_')}",
            outcomes[one["status"]],
            one["reason"] or f"{one['observed']} of {one['population_size']} observed",
        )
        for one in findings["findings"]
        if one["status"] in outcomes
    ]
    return judged or [check_of(step["id"], "recovered_judged", None, "no policy is about it")]


def _policies(findings: Any) -> dict[str, int] | None:
    if not isinstance(findings, dict):
        return None
    counts: dict[str, int] = dict.fromkeys(STATUSES, 0)
    for finding in findings["findings"]:
        counts[finding["status"]] += 1
    return counts


def _waived(findings: Any) -> list[dict[str, str]]:
    """The policies that do not hold, and are waived at each subject where they do not."""
    if not isinstance(findings, dict):
        return []
    return [
        {"policy": one["policy"], "status": one["status"]}
        for one in findings["findings"]
        if one["status"] in BAD and is_waived(one)
    ]


def started_at(raw_steps: Sequence[Mapping[str, Any]]) -> datetime:
    """When the run's first attempt began (UTC)."""
    return datetime.fromisoformat(str(raw_steps[0]["utc"]))
