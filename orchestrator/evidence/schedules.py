"""Applied schedules in the evidence log: a drill that was due and never ran is a finding.

A schedule is stated, signed and logged when it is applied (kind `schedule`). From then on the log
says which runs there must be; each has a plan in the log, if only as one that was missed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.evidence import dsse, predicates, statement
from orchestrator.evidence.bindings import Problem
from orchestrator.evidence.keys import PublicKey
from orchestrator.evidence.tlog.entries import Entry
from orchestrator.model.canonical import canonical, canonical_loads, sha256
from orchestrator.model.errors import InfrastructureError, InputError
from orchestrator.model.fact import parse_timestamp

if TYPE_CHECKING:
    from orchestrator.model.schedule import Slot

KIND = "schedule"
FOLDER = "evidence/schedules"
MISSING = "missing-scheduled-run"
_LONGEST = timedelta(minutes=1440 + 10080)
"""What jitter and patience of a slot may come to (schema `schedule`)."""


def subject_of(environment: str) -> str:
    """What the log calls the schedule of an environment, where a run has its id."""
    return f"schedule-{environment}"


def payload_of(record: Mapping[str, Any]) -> bytes:
    """Return the canonical statement about an applied schedule. Raises InputError."""
    data = {
        "_type": statement.STATEMENT_TYPE,
        "subject": [{"name": "schedule", "digest": {"sha256": sha256(canonical(record))}}],
        "predicateType": predicates.SCHEDULE,
        "predicate": {"runId": subject_of(str(record["environment"])), "record": dict(record)},
    }
    predicates.check_statement(data)
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
        return record_of(path.read_bytes(), environment, entry, keys)
    except NotLoggedError as error:
        raise InfrastructureError(
            f"{FOLDER}/{path.name} {error}", "put back what was logged"
        ) from error
    except (OSError, ValueError, InputError) as error:
        raise InfrastructureError(
            f"the schedule of log entry {entry.index} cannot be read: {error}",
            f"`anlan evidence restore {environment}` puts {FOLDER}/{path.name} back",
        ) from error


class NotLoggedError(ValueError):
    """A statement that is not the one of its log entry."""


def record_of(
    content: bytes, environment: str, entry: Entry, keys: Sequence[PublicKey] | None
) -> dict[str, Any]:
    """Return the record of the schedule whose signed statement was logged as this entry.

    With `keys` the signature must be one of theirs. Raises ValueError: NotLoggedError when it is
    another statement; what `dsse.verify` raises. Raises InputError when it is no statement.
    """
    envelope = dsse.parse(content)
    if keys is not None:
        dsse.verify(envelope, statement.PAYLOAD_TYPE, keys)
    data = canonical_loads(envelope.payload)
    predicates.check_statement(data)
    same = sha256(envelope.payload) == entry.statement
    same = same and data["predicateType"] == predicates.SCHEDULE
    if not same or data["predicate"]["record"]["environment"] != environment:
        raise NotLoggedError(f"is not the schedule of log entry {entry.index}")
    record: dict[str, Any] = data["predicate"]["record"]
    # Not from later on than it was logged: nothing could be due before.
    moment = min(parse_timestamp(record["applied_at"]), entry.time)
    return {**record, "applied_at": moment.isoformat(), "logged_at": entry.time.isoformat()}


def missing(
    environment: str, records: Sequence[dict[str, Any]], entries: Sequence[Entry], now: datetime
) -> Iterator[Problem]:
    """Every run that these schedules made due, and whose time is over, has a plan in the log."""
    for slot in overdue(records, entries, None, now):
        message = (
            f"{slot.drill} on {environment} was due at {slot.start:%Y-%m-%dT%H:%M:%SZ} "
            f"(entry {slot.entry} of the schedule); the log has neither a run nor its miss"
        )
        yield Problem(MISSING, f"runs/{slot.run_id}", message)


def overdue(
    records: Sequence[dict[str, Any]],
    entries: Sequence[Entry],
    since: datetime | None,
    until: datetime,
) -> Iterator[Slot]:
    """Yield the slots of these schedules whose time was over in [`since`, `until`) without a plan.

    `since` None: ever. A slot's time is over at its `latest`; its plan may be anywhere in the log.
    """
    from orchestrator.model.schedule import expected  # noqa: PLC0415  (slow import)

    if not records:
        return
    planned = {entry.run_id for entry in entries if entry.kind == "plan"}
    begin = parse_timestamp(records[0]["applied_at"])
    if since is not None:
        begin = max(begin, since - _LONGEST)
    for slot in expected(records, begin, until):
        is_over = slot.latest < until and (since is None or since <= slot.latest)
        if is_over and slot.run_id not in planned:
            planned.add(slot.run_id)  # two schedules may have called for it
            yield slot
