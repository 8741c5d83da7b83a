"""What a verification is asked for and what it answers: values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from orchestrator.evidence.bindings import Problem
from orchestrator.evidence.status import Status, status_of
from orchestrator.model.fact import Fact
from orchestrator.model.waiver import Waiver


@dataclass(frozen=True)
class Rederive:
    """How verdicts are derived again; all are pure and run on the auditor's machine.

    `findings(rules, facts, environment, now, waivers)` returns the findings document;
    `drill(plan, raw)` the values that run.json holds under `derived`. `raw` is file stem → parsed
    content of raw/, and `findings` → the findings document as derived again (None without one).
    `recovered(rules, plan, document, facts, environment)` returns the one about what was recovered,
    which is in `raw` as `recovered_findings`; `facts()` those of the document, if they are judged.
    `report(contents)` renders the report of a bundle's files again; None for one that another
    version rendered.
    """

    findings: Callable[
        [Mapping[str, bytes], Iterable[Fact], Mapping[str, Any], datetime, Sequence[Waiver]],
        dict[str, Any],
    ]
    drill: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]
    recovered: Callable[
        [
            Mapping[str, bytes],
            Mapping[str, Any],
            Mapping[str, Any],
            Callable[[], Iterable[Fact]],
            Mapping[str, Any],
        ],
        dict[str, Any] | None,
    ]
    report: Callable[[Mapping[str, bytes]], bytes | None] | None = None


@dataclass(frozen=True)
class Expectation:
    """What the auditor asked for, so that an old or a foreign bundle is not taken for it.

    `approvals` is the rule (schema `approvals`) that a run with impact on production must have
    had, or a stricter one. `at` is the time that the run's age is counted to; without it, now.
    """

    run_id: str = ""
    environment: str = ""
    not_before: datetime | None = None
    approvals: Mapping[str, Any] | None = None
    at: datetime | None = None


@dataclass(frozen=True)
class Verification:
    """The outcome. `summary`: verdict, measurements and policy counts as derived again here.

    It is worth what `status` says: of a bundle neither VALID nor STALE it proves nothing.
    """

    status: Status
    problems: tuple[Problem, ...]
    summary: dict[str, Any] = field(default_factory=dict)

    def with_problems(self, more: Sequence[Problem]) -> Verification:
        """Return it with these problems too, and the status that all of them lead to."""
        problems = (*self.problems, *more)
        return Verification(status_of(one.code for one in problems), problems, self.summary)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "status": self.status,
            "problems": [problem.to_json() for problem in self.problems],
            "summary": self.summary,
        }
