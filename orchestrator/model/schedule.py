"""When which drill is due on an environment: a pure function of the schedule that was applied.

So the worker that runs drills and the auditor who counts them come to the same list.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from croniter import croniter

from orchestrator.model.errors import InputError
from orchestrator.model.fact import parse_timestamp, timestamp
from orchestrator.model.schema import check
from orchestrator.model.yaml_text import load_yaml

APPLIED_SCHEMA = "anlan.applied-schedule/v1"
_SHORTEST_MINUTES = 5


@dataclass(frozen=True)
class Slot:
    """One due run: `at` as the cron line says, begun from `start` (jitter) to `latest`; UTC.

    `run_id` follows from environment, entry and moment: no slot has two runs. The plan is made
    from `ask` on. `applied_by` put the schedule in force.
    """

    entry: str
    drill: str
    parameters: Mapping[str, Any]
    at: datetime
    ask: datetime
    start: datetime
    latest: datetime
    run_id: str
    applied_by: str

    def to_json(self) -> dict[str, Any]:
        """Return what a plan says of the slot that it is for."""
        return {
            "entry": self.entry,
            "at": timestamp(self.at),
            "start": timestamp(self.start),
            "latest": timestamp(self.latest),
            "applied_by": self.applied_by,
        }


def parse_schedule(text: str, *, file: str = "") -> dict[str, Any]:
    """Return a checked schedule (schema `schedule`). Raises InputError with file and path."""
    data: dict[str, Any] = load_yaml(text, file=file)
    check(data, "schedule", file=file)

    def wrong(what: str, todo: str, path: str) -> InputError:
        return InputError(what, todo, file=file, path=path)

    try:
        ZoneInfo(data.get("timezone", "UTC"))
    except (ZoneInfoNotFoundError, ValueError) as error:
        todo = "name one such as Asia/Shanghai"
        raise wrong(f"there is no time zone {data['timezone']!r}", todo, "$.timezone") from error
    seen: set[str] = set()
    for number, entry in enumerate(data["entries"]):
        path = f"$.entries[{number}]"
        if entry["id"] in seen:
            raise wrong(f"id {entry['id']!r} is used twice", "name each once", f"{path}.id")
        seen.add(entry["id"])
        for tier in ("VIP", "standard"):
            cron = cron_of(entry, tier)
            if problem := _cron_problem(cron):
                todo = "five fields: minute hour day month weekday, as in 0 3 * * 6"
                raise wrong(f"cron line {cron!r} {problem}", todo, f"{path}.cron")
    for number, blackout in enumerate(data.get("blackouts", [])):
        begin, end = (_moment(blackout[key]) for key in ("from", "until"))
        if begin is None or end is None or begin >= end:
            todo = "give two moments with their zone, the earlier first"
            raise wrong("is no span of time", todo, f"$.blackouts[{number}]")
    return data


def applied(
    schedule: Mapping[str, Any], environment: str, tier: str, operator: str, now: datetime
) -> dict[str, Any]:
    """Return the record of a schedule that is applied to an environment of this tier."""
    return {
        "schema": APPLIED_SCHEMA,
        "environment": environment,
        "tier": tier,
        "operator": operator,
        "applied_at": timestamp(now),
        "schedule": dict(schedule),
    }


def slots(record: Mapping[str, Any], after: datetime, until: datetime) -> Iterator[Slot]:
    """Yield the slots with `after` < `at` ≤ `until` that an applied schedule makes due.

    By entry, each in order of time. What lies in a blackout is not due.
    """
    schedule = record["schedule"]
    zone = ZoneInfo(schedule.get("timezone", "UTC"))
    blackouts = [
        (datetime.fromisoformat(one["from"]), datetime.fromisoformat(one["until"]))
        for one in schedule.get("blackouts", [])
    ]
    for entry in schedule["entries"]:
        ticks = croniter(cron_of(entry, record["tier"]), after.astimezone(zone))
        while (at := ticks.get_next(datetime).astimezone(UTC)) <= until:
            if not any(begin <= at < end for begin, end in blackouts):
                yield slot(record, entry, at)


def slot(
    record: Mapping[str, Any], entry: Mapping[str, Any], at: datetime, cause: str = ""
) -> Slot:
    """Return the slot of an entry at a moment; `cause` tells apart two of one moment."""
    seed = sha256(f"{record['environment']}/{entry['id']}/{timestamp(at)}/{cause}".encode())
    drawn = int.from_bytes(seed.digest()[:4], "big") / 2**32
    start = at + timedelta(seconds=int(drawn * 60 * entry.get("jitter_minutes", 0)))
    moment = f"{at.astimezone(UTC):%Y%m%dt%H%M%S}"
    return Slot(
        entry=entry["id"],
        drill=entry["drill"],
        parameters=entry.get("parameters", {}),
        at=at,
        ask=at - timedelta(minutes=entry.get("ask_before_minutes", 0)),
        start=start,
        latest=start + timedelta(minutes=entry.get("start_within_minutes", 60)),
        run_id=f"{entry['drill']}-{moment}-{seed.hexdigest()[:6]}",
        applied_by=record["operator"],
    )


def expected(
    records: Sequence[Mapping[str, Any]], since: datetime, until: datetime
) -> Iterator[Slot]:
    """Yield the slots in a span of time of one environment's schedules, in order of application.

    Each is in force from its application until the next one is logged (`logged_at`; without one,
    applied): who dates a schedule back does not end the one before it any sooner.
    """
    for number, record in enumerate(records):
        begin = max(parse_timestamp(record["applied_at"]), since)
        end = until
        if number + 1 < len(records):
            following = records[number + 1]
            end = min(end, parse_timestamp(following.get("logged_at", following["applied_at"])))
        yield from slots(record, begin, end)


def cron_of(entry: Mapping[str, Any], tier: str) -> str:
    """The cron line of an entry for environments of a tier."""
    cron = entry["cron"]
    return str(cron if isinstance(cron, str) else cron[tier])


def _cron_problem(cron: str) -> str:
    """What is wrong with a cron line; empty if nothing is."""
    if len(cron.split()) != 5 or not croniter.is_valid(cron):
        return "is none"
    ticks = croniter(cron, datetime(2026, 1, 1, tzinfo=UTC))
    try:
        moments = [ticks.get_next(float) for _ in range(100)]
    except ValueError:
        return "never comes"
    shortest = min(b - a for a, b in pairwise(moments))
    return f"comes within {_SHORTEST_MINUTES} minutes" if shortest < _SHORTEST_MINUTES * 60 else ""


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
