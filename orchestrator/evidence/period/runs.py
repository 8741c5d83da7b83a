"""Verify the bundle of one run of a period, and say what it says of the log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.evidence import bundle
from orchestrator.evidence.bindings import Problem
from orchestrator.evidence.period import layout as period_layout
from orchestrator.evidence.period import logged, stored
from orchestrator.evidence.status import status_of
from orchestrator.evidence.trust.values import Trust
from orchestrator.evidence.verification import Expectation, Rederive, Verification
from orchestrator.evidence.verify import verify
from orchestrator.model.canonical import sha256


@dataclass(frozen=True)
class Examined:
    """What a run's bundle comes to, and what it says; None when it cannot be read."""

    run_id: str
    verification: Verification
    said: logged.Said | None


def row_of(run_id: str, one: Examined | None) -> dict[str, Any]:
    """Return a run of the summary; what is not known of it is empty. A miss has that verdict."""
    summary = one.verification.summary if one else {}
    verdict = summary.get("verdict") or "unknown"
    if one and one.said and one.said.is_missed and verdict == "inconclusive":
        verdict = "missed"  # never instead of a failure
    return {
        "run_id": run_id,
        "drill": summary.get("drill", ""),
        "started_at": summary.get("started_at"),
        "verdict": verdict,
        "status": one.verification.status if one else "missing",
    }


def examine(
    task: tuple[str, tuple[str, int] | None],
    *,
    archive: stored.Archive,
    trust: Trust,
    rederive: Rederive,
    rule: Mapping[str, Any] | None,
    limits: bundle.Limits,
) -> Examined:
    """Return what the bundle of one run comes to; in whatever process.

    `task`: its id, and the digest and size by which the manifest lists it, if it does.
    """
    run_id, listed = task
    path = period_layout.run_path(run_id)
    try:
        content = archive.read(path, limits.archive_bytes)
        said = logged.said_by(content, limits)
    except bundle.PackageError as error:
        problem = Problem(error.code, error.path if error.path != path else "", str(error))
        return Examined(run_id, Verification("INVALID", (problem,), {"signers": []}), None)
    except Exception as error:  # noqa: BLE001  (hostile input)
        problem = Problem("malformed", "", f"cannot be read: {error!r}")
        return Examined(run_id, Verification("INVALID", (problem,), {"signers": []}), None)
    expect = Expectation(approvals=rule)
    found = verify(content, trust, rederive, expect=expect, limits=limits)
    problems = found.problems
    if listed is not None and listed != (sha256(content), len(content)):
        problems = (Problem("digest-mismatch", "", "differs from its digest"), *problems)
    summary = {"signers": [], **found.summary}
    return Examined(
        run_id, Verification(status_of(one.code for one in problems), problems, summary), said
    )
