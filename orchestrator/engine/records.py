"""What the evidence log and the stack say of an environment, for the collectors of records."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.collect.records import LogReport, Records, ScheduleReport, StackReport
from orchestrator.drivers.signers import TRANSIT, signer_settings
from orchestrator.evidence import schedules
from orchestrator.evidence.audit import audit, has_evidence
from orchestrator.evidence.keys import PublicKey, parse_public_key
from orchestrator.evidence.tlog import log
from orchestrator.model.environment import Environment
from orchestrator.model.errors import InfrastructureError
from orchestrator.model.fact import parse_timestamp
from orchestrator.model.version import TOOL_VERSION
from stacks import places
from stacks.components.ansible import RoleError, programs_digest, role_digest

_ROLE, _DESCRIPTOR = "anlan:AnsibleRole", "anlan:DescriptorFile"


def records_of(environment: Environment, state: Path) -> Records:
    """The records of an environment in a state directory; nothing is read before it is asked."""
    return Records(
        state=state,
        log=partial(log_report, environment, state),
        schedule=partial(schedule_report, environment, state),
        stack=partial(stack_report, environment, state),
        now={
            "descriptor": environment.digest,
            "stack and roles": environment.deployment_digest,
            "version": TOOL_VERSION,
        },
    )


def log_report(environment: Environment, state: Path) -> LogReport:
    """Verify the log. Raises InfrastructureError, OSError.

    There is none before the first run; later its absence is a problem.
    """
    keys = _keys(environment, state)
    if not has_evidence(state, environment.name):
        return LogReport(0, (), {}, ())
    found = audit(state, environment.name, keys)
    return LogReport(
        entries=len(found.entries),
        problems=tuple(f"{one.code}: {one.path}: {one.message}" for one in found.problems),
        unfinished={entry.run_id: entry.time for entry in found.unfinished},
        unlogged=found.unlogged,
    )


def schedule_report(environment: Environment, state: Path) -> ScheduleReport:
    """Read the schedules of the log. Raises InfrastructureError, OSError."""
    name, keys = environment.name, _keys(environment, state)
    entries = log.log_of(state, name).entries()
    records = schedules.applied_to(state, name, entries, keys)
    if not records:
        return ScheduleReport(None, "", (), ())
    return ScheduleReport(
        applied_at=parse_timestamp(records[-1]["applied_at"]),
        applied_by=str(records[-1]["operator"]),
        drills=tuple(str(entry["drill"]) for entry in records[-1]["schedule"]["entries"]),
        unrecorded=tuple(
            problem.message for problem in schedules.missing(name, records, entries, log.utc_now())
        ),
    )


def stack_report(environment: Environment, state: Path) -> StackReport:
    """Compare the stack's state with the checkout. Raises InfrastructureError, OSError.

    The state's file is Pulumi's own (a checkpoint, version 3).
    """
    file = places.stack_file(state, environment.name)
    try:
        latest = json.loads(file.read_text())["checkpoint"]["latest"]
        resources: list[dict[str, Any]] = latest["resources"]
        outputs = next(one for one in resources if one["type"] == "pulumi:pulumi:Stack")["outputs"]
        described = [one for one in resources if one["type"].endswith(_DESCRIPTOR)]
        written = str(described[0]["outputs"]["content"])
        roles = {
            one["urn"].rpartition("::")[2]: one["outputs"]
            for one in resources
            if one["type"].endswith(_ROLE)
        }
        return StackReport(
            updated_at=parse_timestamp(f"{latest['manifest']['time'][:19]}Z"),
            resources=len(resources),
            changed_roles=tuple(sorted(_changed_roles(roles))),
            programs_changed=outputs.get("programs_digest") != programs_digest(places.PROGRAMS),
            descriptor_changed=written != (environment.root / "environment.json").read_text(),
            drift=tuple(f"{name}: {one}" for name, role in roles.items() for one in role["drift"]),
            pending=tuple(
                f"{one['type']} {one['resource']['urn'].rpartition('::')[2]}"
                for one in latest.get("pending_operations") or ()
            ),
        )
    except (KeyError, IndexError, StopIteration, ValueError) as error:
        raise InfrastructureError(
            f"{file} is no state of a stack that is up: {type(error).__name__} {error}",
            "run `anlan up`",
        ) from error


def _changed_roles(roles: dict[str, dict[str, Any]]) -> set[str]:
    """The roles whose files are not those that were applied."""
    return {
        str(one["role"]) for one in roles.values() if one["digest"] != _digest(str(one["role"]))
    }


def _digest(role: str) -> str:
    """The digest of a role of the checkout; empty when it is no longer there."""
    try:
        return role_digest(role)
    except RoleError:
        return ""


def _keys(environment: Environment, state: Path) -> list[PublicKey]:
    """Transit's evidence key, where it signs, and those that have signed in this directory."""
    transit = signer_settings(environment)["driver"] == TRANSIT
    files = [environment.evidence_public_key] if transit else []
    files += sorted((state / "evidence" / "keys").glob("*.pub"))
    return [parse_public_key(file.read_bytes()) for file in files]
