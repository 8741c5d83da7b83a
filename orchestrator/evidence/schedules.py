"""Applied schedules in the evidence log: a drill that was due and never ran is a finding.

A schedule is stated, signed and logged when it is applied (kind `schedule`). From then on the log
says which runs there must be; each has a plan in the log, if only as one that was missed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestrator.evidence import dsse, statement
from orchestrator.evidence.bindings import Problem
from orchestrator.evidence.entries import Entry
from orchestrator.evidence.keys import PublicKey
from orchestrator.model.canonical import canonical, canonical_loads, sha256
from orchestrator.model.errors import InfrastructureError
from orchestrator.model.fact import parse_timestamp
from orchestrator.model.schema import check

KIND = "schedule"
FOLDER = "evidence/schedules"
MISSING = "missing-scheduled-run"
_PREDICATE = "https://anlan.dev/predicates/dr-schedule/v1"


def subject_of(environment: str) -> str:
    """What the log calls the schedule of an environment, where a run has its id."""
    return f"schedule-{environment}"


def payload_of(record: Mapping[str, Any]) -> bytes:
    """Return the canonical statement about an applied schedule. Raises InputError."""
    check(record["schedule"], "schedule")
    data = {
        "_type": statement.STATEMENT_TYPE,
        "subject": [{"name": "schedule", "digest": {"sha256": sha256(canonical(record))}}],
        "predicateType": _PREDICATE,
        "predicate": {"runId": subject_of(str(record["environment"])), "record": dict(record)},
    }
    check(data, "statement")
    return canonical(data)


def applied_to(
    state: Path,
    environment: str,
    entries: Sequence[Entry],
    keys: Sequence[PublicKey] | None = None,
) -> list[dict[str, Any]]:
    """Return the records of the schedules in an environment's log, the oldest first.

    With `keys` each signature must be one of theirs. Raises InfrastructureError when a statement
    is missing or is not what was logged.
    """
    return [_record(state, environment, entry, keys) for entry in entries if entry.kind == KIND]


def _record(
    state: Path, environment: str, entry: Entry, keys: Sequence[PublicKey] | None
) -> dict[str, Any]:
    path = state / FOLDER / f"{entry.statement}.dsse.json"
    try:
        envelope = dsse.parse(path.read_bytes())
        if keys is not None:
            dsse.verify(envelope, statement.PAYLOAD_TYPE, keys)
        data = canonical_loads(envelope.payload)
        same = sha256(envelope.payload) == entry.statement
    except (OSError, ValueError) as error:
        raise InfrastructureError(
            f"the schedule of log entry {entry.index} cannot be read: {error}",
            f"`anlan evidence restore {environment}` puts {FOLDER}/{path.name} back",
        ) from error
    same = same and data["predicateType"] == _PREDICATE
    if not same or data["predicate"]["record"]["environment"] != environment:
        raise InfrastructureError(
            f"{FOLDER}/{path.name} is not the schedule of log entry {entry.index}",
            "put back what was logged",
        )
    record: dict[str, Any] = data["predicate"]["record"]
    # Not from later on than it was logged: nothing could be due before.
    moment = min(parse_timestamp(record["applied_at"]), entry.time)
    return {**record, "applied_at": moment.isoformat()}


def missing(
    environment: str, records: Sequence[dict[str, Any]], entries: Sequence[Entry], now: datetime
) -> Iterator[Problem]:
    """Every run that these schedules made due, and whose time is over, has a plan in the log."""
    from orchestrator.model.schedule import expected  # noqa: PLC0415  (not in the verifier: cron)

    if not records:
        return
    planned = {entry.run_id for entry in entries if entry.kind == "plan"}
    for slot in expected(records, parse_timestamp(records[0]["applied_at"]), now):
        if slot.latest < now and slot.run_id not in planned:
            message = (
                f"{slot.drill} on {environment} was due at {slot.start:%Y-%m-%dT%H:%M:%SZ} "
                f"(entry {slot.entry} of the schedule); the log has neither a run nor its miss"
            )
            yield Problem(MISSING, f"runs/{slot.run_id}", message)
