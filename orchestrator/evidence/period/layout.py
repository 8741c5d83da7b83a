"""What is in a period's bundle, and which runs of a log belong to a period."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.evidence import layout, schedules
from orchestrator.evidence.retained import holds, tombstones
from orchestrator.evidence.tlog import tiles
from orchestrator.evidence.tlog.entries import Entry
from orchestrator.evidence.tlog.note import Checkpoint
from orchestrator.model.canonical import canonical, strict_loads
from orchestrator.model.fact import parse_timestamp, timestamp
from orchestrator.model.schema import check

SCHEMA = "anlan.period/v1"
MANIFEST_TYPE = "application/vnd.anlan.period-manifest+json"
LOG, RUNS, PLANS, SCHEDULES = "log/", "runs/", "plans/", "schedules/"
TOMBSTONES, STATEMENTS = "tombstones/", "statements/"
OWN = frozenset({layout.MANIFEST, layout.MANIFEST_ENVELOPE})


@dataclass(frozen=True)
class Selection:
    """The runs whose plan was logged in a period, by id with its plan's entry, the oldest first.

    `finished` have a result in the log, wherever; `unfinished` have none. `removed` have a
    tombstone in the log, whose entry it is here: their retention was over.
    """

    finished: Mapping[str, Entry]
    unfinished: Mapping[str, Entry]
    removed: Mapping[str, Entry]


def select(entries: Sequence[Entry], since: datetime, until: datetime) -> Selection:
    """Return which runs of a log belong to [`since`, `until`)."""
    begin, end = timestamp(since), timestamp(until)
    ended = {entry.run_id for entry in entries if entry.kind == "run"}
    buried = {entry.run_id: entry for entry in entries if entry.kind == tombstones.KIND}
    finished: dict[str, Entry] = {}
    unfinished: dict[str, Entry] = {}
    removed: dict[str, Entry] = {}
    for entry in entries:
        if entry.kind == "plan" and begin <= entry.time_text < end:
            if entry.run_id in buried:
                removed.setdefault(entry.run_id, buried[entry.run_id])
            else:
                (finished if entry.run_id in ended else unfinished).setdefault(entry.run_id, entry)
    return Selection(finished, unfinished, removed)


def run_path(run_id: str) -> str:
    """Where the bundle of a finished run is."""
    return f"{RUNS}{run_id}.zip"


def plan_path(run_id: str) -> str:
    """Where the statement of an unfinished run's plan is."""
    return f"{PLANS}{run_id}.dsse.json"


def schedule_path(entry: Entry) -> str:
    """Where the statement of a schedule is."""
    return f"{SCHEDULES}{entry.statement}.dsse.json"


def tombstone_path(entry: Entry) -> str:
    """Where the statement of a tombstone is."""
    return f"{TOMBSTONES}{entry.statement}.dsse.json"


def hold_path(entry: Entry) -> str:
    """Where the statement of a legal hold or of its release is."""
    return f"{STATEMENTS}{entry.statement}.dsse.json"


def before_removal(entries: Sequence[Entry], selection: Selection) -> dict[str, dict[str, Entry]]:
    """Return removed run → kind → the last entry about it that is older than its tombstone."""
    found: dict[str, dict[str, Entry]] = {run_id: {} for run_id in selection.removed}
    for entry in entries:
        tombstone = selection.removed.get(entry.run_id)
        if tombstone is not None and entry.index < tombstone.index:
            found[entry.run_id][entry.kind] = entry
    return found


def holds_of(entries: Sequence[Entry], selection: Selection) -> list[Entry]:
    """Return the entry that says last whether a removed run is held, of each that has one."""
    of_runs = before_removal(entries, selection).values()
    return [of_run[holds.KIND] for of_run in of_runs if holds.KIND in of_run]


def paths_of(entries: Sequence[Entry], selection: Selection) -> set[str]:
    """Return every path that the bundle of these runs of this log has, but its manifest's."""
    return {
        f"{LOG}{tiles.CHECKPOINT}",
        *(f"{LOG}{path}" for path in tiles.paths(len(entries))),
        *(schedule_path(entry) for entry in entries if entry.kind == schedules.KIND),
        *map(run_path, selection.finished),
        *map(plan_path, selection.unfinished),
        *map(tombstone_path, selection.removed.values()),
        *map(hold_path, holds_of(entries, selection)),
    }


def manifest(
    environment: str,
    since: datetime,
    until: datetime,
    checkpoint: Checkpoint,
    selection: Selection,
    *,
    files: Sequence[Mapping[str, Any]],
) -> bytes:
    """Return the canonical manifest; `files` as `orchestrator.evidence.bundle.manifest` has them.

    Raises InputError.
    """
    data = {
        "schema": SCHEMA,
        "environment": environment,
        "since": timestamp(since),
        "until": timestamp(until),
        "origin": checkpoint.origin,
        "log_size": checkpoint.size,
        "root": checkpoint.root.hex(),
        "runs": list(selection.finished),
        "unfinished": list(selection.unfinished),
        "removed": list(selection.removed),
        "files": sorted(files, key=lambda one: str(one["path"])),
    }
    check(data, "period", file=layout.MANIFEST)
    return canonical(data)


def in_force(
    records: Sequence[dict[str, Any]], since: datetime, until: datetime
) -> tuple[dict[str, Any], ...]:
    """Return the records (`schedules.record_of`, the oldest first) that were in force in it."""
    applied = [parse_timestamp(record["applied_at"]) for record in records]
    return tuple(
        record
        for number, record in enumerate(records)
        if applied[number] < until and (number + 1 == len(records) or applied[number + 1] > since)
    )


def drill_of(payload: bytes) -> str:
    """Return the drill that a plan's statement is about, by name. Raises ValueError, KeyError."""
    return str(strict_loads(payload)["predicate"]["plan"]["drill"]["name"])
