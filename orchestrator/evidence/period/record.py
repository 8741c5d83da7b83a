"""What is on record over a period, read from its bundle or from a state directory: for reports.

Nothing is verified here: who trusts nobody verifies the bundle first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestrator.evidence import bundle, dsse, layout, schedules
from orchestrator.evidence.period import bundle as period_bundle
from orchestrator.evidence.period import layout as period_layout
from orchestrator.evidence.period import stored
from orchestrator.evidence.period.layout import Selection
from orchestrator.evidence.retained import kept, tombstones
from orchestrator.evidence.tlog import note, tiles
from orchestrator.evidence.tlog.entries import Entry, parse_entry
from orchestrator.evidence.tlog.note import Checkpoint
from orchestrator.model.canonical import strict_loads
from orchestrator.model.errors import InputError
from orchestrator.model.fact import parse_timestamp
from orchestrator.model.period import Due, Period, Planned, Removed
from orchestrator.model.schema import check

_MOST_BYTES = 256 * 2**20


class Runs(Mapping[str, Mapping[str, bytes]]):
    """The files of finished runs by id, the oldest first; one run is in memory at a time.

    Iterate over the ids once: `items()` and `runs[id]` read a bundle each time another is asked.
    """

    def __init__(self, ids: Sequence[str], read: Callable[[str], Mapping[str, bytes]]) -> None:
        self._ids = dict.fromkeys(ids)
        self._read = read
        self._last: tuple[str, Mapping[str, bytes]] | None = None

    def __getitem__(self, run_id: str) -> Mapping[str, bytes]:
        if run_id not in self._ids:
            raise KeyError(run_id)
        if self._last is None or self._last[0] != run_id:
            self._last = None  # before the next is read: two may not fit
            self._last = (run_id, self._read(run_id))
        return self._last[1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)


def period_of(file: Path) -> Period:
    """Return what a period's bundle holds; its runs are read from the file when they are asked.

    Raises InputError when it is no such bundle.
    """
    try:
        archive = stored.opened(file)

        def read(path: str) -> bytes | None:
            return archive.read(path, _MOST_BYTES) if path in archive.members else None

        manifest = strict_loads(read(layout.MANIFEST) or b"")
        check(manifest, "period")
        head = note.parse(read(f"{period_layout.LOG}{tiles.CHECKPOINT}") or b"")
        leaves = tiles.entries(head.size, lambda path: read(f"{period_layout.LOG}{path}"))
        entries = [parse_entry(leaf, index) for index, leaf in enumerate(leaves)]
        environment = manifest["environment"]
        records = [
            schedules.record_of(
                archive.read(period_layout.schedule_path(entry), _MOST_BYTES),
                environment,
                entry,
                None,
            )
            for entry in entries
            if entry.kind == schedules.KIND
        ]

        def run(run_id: str) -> dict[str, bytes]:
            limits = bundle.Limits()
            path = period_layout.run_path(run_id)
            return bundle.unpack(archive.read(path, limits.archive_bytes), limits)

        return made(
            environment,
            (parse_timestamp(manifest["since"]), parse_timestamp(manifest["until"])),
            (head, entries),
            records,
            plan=lambda run_id: archive.read(period_layout.plan_path(run_id), _MOST_BYTES),
            run=run,
            tombstone=lambda entry: archive.read(period_layout.tombstone_path(entry), _MOST_BYTES),
        )
    except (InputError, ValueError, KeyError) as error:
        raise InputError(
            f"is no bundle of a period: {error}",
            "give the file that `anlan evidence export --environment` wrote",
            file=str(file),
        ) from error


def period_from_state(state: Path, environment: str, since: datetime, until: datetime) -> Period:
    """Return what a state directory holds of an environment over a period.

    A run whose bundle is not there is read from its directory. Raises InputError when there is no
    log or a plan's statement is gone, InfrastructureError when the log does not hold.
    """
    taken = period_bundle.snapshot(state, environment)
    folder = state / layout.BUNDLES

    def run(run_id: str) -> dict[str, bytes]:
        file = folder / f"{run_id}.zip"
        if file.is_file():
            return bundle.unpack(file.read_bytes())
        return layout.read_run_directory(state / "runs" / run_id)

    def plan(run_id: str) -> bytes:
        return (state / "runs" / run_id / "statements/plan.dsse.json").read_bytes()

    try:
        return made(
            environment,
            (since, until),
            (taken.checkpoint, taken.entries),
            schedules.applied_to(state, environment, taken.entries),
            plan=plan,
            run=run,
            tombstone=lambda entry: (
                state / kept.file_of(entry.statement, tombstones.FOLDER)
            ).read_bytes(),
        )
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"the plan of a run cannot be read: {error}",
            "put it back, from a copy of the state directory",
            file=str(state / "runs"),
        ) from error


def made(
    environment: str,
    span: tuple[datetime, datetime],
    of_log: tuple[Checkpoint, Sequence[Entry]],
    records: Sequence[dict[str, Any]],
    *,
    plan: Callable[[str], bytes],
    run: Callable[[str], Mapping[str, bytes]],
    tombstone: Callable[[Entry], bytes],
) -> Period:
    """Return the period of these parts.

    `plan` and `run` read a run's plan statement and files, `tombstone` the statement of an entry.
    """
    since, until = span
    head, entries = of_log
    selection: Selection = period_layout.select(entries, since, until)
    return Period(
        environment,
        since,
        until,
        head.origin,
        head.size,
        Runs(list(selection.finished), run),
        tuple(
            Planned(run_id, period_layout.drill_of(dsse.parse(plan(run_id)).payload), entry.time)
            for run_id, entry in selection.unfinished.items()
        ),
        tuple(
            Due(slot.run_id, slot.drill, slot.start)
            for slot in schedules.overdue(records, entries, since, until)
        ),
        tuple(
            _removed(run_id, kept.parse(tombstone(entry)).predicate)
            for run_id, entry in selection.removed.items()
        ),
        period_layout.in_force(records, since, until),
    )


def _removed(run_id: str, said: Mapping[str, Any]) -> Removed:
    return Removed(run_id, said["drill"], parse_timestamp(said["at"]), said["reason"])
