"""What the orchestrator itself keeps about an environment, as the collectors of records see it.

Runs are read from the state directory. The evidence log and the stack are read by packages that
collectors do not know; who collects hands their reports over (`engine.records`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography import x509

from orchestrator.model.environment import Environment
from orchestrator.model.errors import InfrastructureError
from orchestrator.model.fact import parse_timestamp


@dataclass(frozen=True)
class LogReport:
    """What the evidence log is worth.

    `entries` counts its lines, `problems` are sentences, `unfinished` maps a run with a plan and
    without a result to when its plan was logged, `unlogged` are runs whose plan is not in the log.
    """

    entries: int
    problems: tuple[str, ...]
    unfinished: Mapping[str, datetime]
    unlogged: tuple[str, ...]


@dataclass(frozen=True)
class ScheduleReport:
    """The schedule in force: when it was applied and by whom (None: there is none), its drills.

    `unrecorded` are runs that were due, whose time is over, and of which the log knows nothing.
    """

    applied_at: datetime | None
    applied_by: str
    drills: tuple[str, ...]
    unrecorded: tuple[str, ...]


@dataclass(frozen=True)
class StackReport:
    """The stack's state against the checkout and the descriptor that is used.

    `changed_roles` and `programs_changed` compare digests, `drift` is what the last refresh found
    and no update repaired, `pending` are operations that an update began and did not end.
    """

    updated_at: datetime
    resources: int
    changed_roles: tuple[str, ...]
    programs_changed: bool
    descriptor_changed: bool
    drift: tuple[str, ...]
    pending: tuple[str, ...]


@dataclass(frozen=True)
class Records:
    """The state directory, and how to ask for the reports; `now` is what `drill run` would bind.

    `now` maps what a run is bound to (descriptor, stack and roles, version) to its digest.
    """

    state: Path
    log: Callable[[], LogReport]
    schedule: Callable[[], ScheduleReport]
    stack: Callable[[], StackReport]
    now: Mapping[str, str]


@dataclass(frozen=True)
class RunRecord:
    """A finished run: its plan and its result (plan.json, run.json)."""

    run_id: str
    plan: Mapping[str, Any]
    result: Mapping[str, Any]

    @property
    def ended_at(self) -> datetime:
        """When it ended (UTC)."""
        return parse_timestamp(self.result["ended_at"])

    @property
    def bound(self) -> dict[str, str]:
        """What it was bound to, by the names of `Records.now`."""
        environment = self.plan["environment"]
        return {
            "descriptor": environment["digest"],
            "stack and roles": environment["deployment_digest"],
            "version": self.plan["tool"]["version"],
        }

    @property
    def missed(self) -> bool:
        """Whether it was recorded as missed: none of its steps ever began."""
        return any(reason.startswith("missed: ") for reason in self.result["derived"]["reasons"])


def finished_runs(state: Path, environment: str) -> list[RunRecord]:
    """The finished runs on an environment, the oldest plan first. Raises InfrastructureError."""
    return sorted(_runs(state, environment), key=lambda run: str(run.plan["created_at"]))


def _runs(state: Path, environment: str) -> Iterator[RunRecord]:
    for path in (state / "runs").glob("[!.]*/run.json"):
        try:
            plan = json.loads((path.parent / "plan.json").read_text())
            if plan["environment"]["name"] == environment:
                yield RunRecord(path.parent.name, plan, json.loads(path.read_text()))
        except (OSError, ValueError, KeyError) as error:
            raise InfrastructureError(
                f"run {path.parent.name} cannot be read: {error}", f"look at {path.parent}"
            ) from error


def created_at(environment: Environment) -> datetime:
    """When the environment was made: its certificate authority is born with it."""
    pem = environment.tls.ca_file.read_bytes()
    return x509.load_pem_x509_certificate(pem).not_valid_before_utc
