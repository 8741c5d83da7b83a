"""Write the bundle of one environment over a period: its whole log, and every run of the period."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from orchestrator.evidence import bundle, dsse, layout, schedules
from orchestrator.evidence.keys import Signer, load_public_keys
from orchestrator.evidence.period import layout as period_layout
from orchestrator.evidence.period import logged, stored
from orchestrator.evidence.period.layout import Selection
from orchestrator.evidence.retained import kept, tombstones
from orchestrator.evidence.tlog import log, merkle, tiles
from orchestrator.evidence.tlog.entries import Entry
from orchestrator.evidence.tlog.note import Checkpoint
from orchestrator.model.canonical import sha256
from orchestrator.model.errors import InfrastructureError, InputError
from orchestrator.model.fact import timestamp

Progress = Callable[[int, int], None]
"""Called with how many of how many runs are done."""


@dataclass(frozen=True)
class Snapshot:
    """A log as it was at one checkpoint: `files` are path → content of checkpoint and tiles."""

    environment: str
    files: Mapping[str, bytes]
    entries: Sequence[Entry]
    checkpoint: Checkpoint


@dataclass(frozen=True)
class Exported:
    """What was written: the log's head, the runs, and the number of files."""

    checkpoint: Checkpoint
    selection: Selection
    files: int


def snapshot(state: Path, environment: str) -> Snapshot:
    """Return the log of an environment, after verifying it with the keys that the state kept.

    Raises InputError when there is none, InfrastructureError when it does not hold.
    """
    if environment not in log.environments(state):
        raise InputError(
            f"there is no evidence log of {environment!r}",
            "name an environment that ran a drill, and its state directory (--state-dir)",
            file=str(state / log.FOLDER),
        )
    keys = load_public_keys(state / layout.KEYS)

    def read_all(read: tiles.Read) -> Snapshot:
        entries, checkpoint = log.verify(read, keys)
        names = (tiles.CHECKPOINT, *tiles.paths(checkpoint.size))
        files = {name: content for name in names if (content := read(name)) is not None}
        if len(files) != len(names):
            raise ValueError("a tile is missing")
        return Snapshot(environment, files, entries, checkpoint)

    try:
        return log.log_of(state, environment).steadily(read_all)
    except (OSError, ValueError) as error:
        raise InfrastructureError(
            f"the evidence log of {environment} does not hold: {error}",
            "see `anlan evidence log verify`; restore the log from a copy",
        ) from error


def runs_without_bundle(state: Path, selection: Selection) -> list[str]:
    """Return the finished runs of a period whose own bundle is not there."""
    return [one for one in selection.finished if not _bundle(state, one).is_file()]


def checked_period(since: datetime, until: datetime, now: datetime) -> None:
    """Raise InputError for a period that is none, or that is not over."""
    if since >= until:
        raise InputError(
            f"the period begins at {timestamp(since)} and ends at {timestamp(until)}",
            "give a --from before --to; the day of --to is not in the period",
        )
    if until > now:
        raise InputError(
            f"the period ends at {timestamp(until)}, which is not over",
            f"what is due until then is not known yet: --to {timestamp(now)} is the latest",
        )


def export(
    state: Path,
    taken: Snapshot,
    since: datetime,
    until: datetime,
    signer: Signer,
    *,
    out: Path,
    progress: Progress = lambda done, total: None,
) -> Exported:
    """Write the bundle of [`since`, `until`) to `out`, and return what is in it.

    The same log, at one checkpoint, gives the same bytes when the signature does (Ed25519 does,
    ECDSA does not). One run is in memory at a time; until the bundle is whole, `out` is what it
    was. Raises InputError when a part is not there or is not what was logged.
    """
    selection = period_layout.select(taken.entries, since, until)
    if missing := runs_without_bundle(state, selection):
        raise InputError(
            f"no bundle of {', '.join(missing[:5])}{' …' if missing[5:] else ''}",
            "make it: `anlan evidence export RUN`",
            file=str(state / layout.BUNDLES),
        )
    files: list[dict[str, object]] = []
    with stored.written(out) as archive:
        for path, content in _contents(state, taken, selection, progress):
            archive.add(path, content)
            files.append({"path": path, "size_bytes": len(content), "sha256": sha256(content)})
        listed = period_layout.manifest(
            taken.environment, since, until, taken.checkpoint, selection, files=files
        )
        archive.add(layout.MANIFEST, listed)
        envelope = dsse.sign(listed, period_layout.MANIFEST_TYPE, signer)
        archive.add(layout.MANIFEST_ENVELOPE, envelope.to_bytes())
    return Exported(taken.checkpoint, selection, len(files) + len(period_layout.OWN))


def _contents(
    state: Path, taken: Snapshot, selection: Selection, progress: Progress
) -> Iterator[tuple[str, bytes]]:
    """Path and content of every file but the manifest, in order of path."""
    for name, content in sorted(taken.files.items()):
        yield f"{period_layout.LOG}{name}", content
    for run_id, entry in sorted(selection.unfinished.items()):
        file = state / "runs" / run_id / "statements/plan.dsse.json"
        yield period_layout.plan_path(run_id), _statement(file, entry)
    by_run: dict[str, dict[str, Entry]] = {}
    for entry in taken.entries:
        by_run.setdefault(entry.run_id, {}).setdefault(entry.kind, entry)
    subtree = merkle.subtrees_of([merkle.leaf_hash(entry.leaf) for entry in taken.entries])
    root_at = partial(merkle.root, subtree=subtree)
    for number, run_id in enumerate(sorted(selection.finished)):
        progress(number, len(selection.finished))
        file = _bundle(state, run_id)
        content = _read(file)
        _check_run(file, run_id, content, taken, by_run[run_id], root_at=root_at)
        yield period_layout.run_path(run_id), content
    progress(len(selection.finished), len(selection.finished))
    applied = {
        period_layout.schedule_path(entry): entry
        for entry in taken.entries
        if entry.kind == schedules.KIND
    }
    held = {
        period_layout.hold_path(entry): entry
        for entry in period_layout.holds_of(taken.entries, selection)
    }
    buried = {period_layout.tombstone_path(entry): entry for entry in selection.removed.values()}
    for folder, entries in (
        (schedules.FOLDER, applied),
        (kept.FOLDER, held),
        (tombstones.FOLDER, buried),
    ):
        for path, entry in sorted(entries.items()):
            yield path, _statement(state / folder / Path(path).name, entry)


def _check_run(
    file: Path,
    run_id: str,
    content: bytes,
    taken: Snapshot,
    of_run: Mapping[str, Entry],
    *,
    root_at: Callable[[int], bytes],
) -> None:
    """A bundle that an auditor would refuse is not handed over. Raises InputError."""
    try:
        said = logged.said_by(content, bundle.Limits())
        problems = list(logged.check_said(said, of_run, taken.checkpoint, root_at))
    except ValueError as error:
        raise InputError(f"is no bundle: {error}", _TODO, file=str(file)) from error
    if problems or (said.run_id, said.environment) != (run_id, taken.environment):
        what = f"{problems[0].path} {problems[0].message}" if problems else "is another run's"
        raise InputError(f"is not what was logged: {what}", _TODO, file=str(file))


_TODO = "move it away and make it again: `anlan evidence export RUN`"


def _statement(file: Path, entry: Entry) -> bytes:
    """The signed statement of an entry. Raises InputError when it is not there or is another."""
    content = _read(file)
    try:
        same = sha256(dsse.parse(content).payload) == entry.statement
    except dsse.SignatureError:
        same = False
    if not same:
        raise InputError(
            f"is not the statement that was logged (entry {entry.index})",
            "put it back, from a copy of the state directory",
            file=str(file),
        )
    return content


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror}",
            "put it back, from a copy of the state directory",
            file=str(file),
        ) from error


def _bundle(state: Path, run_id: str) -> Path:
    return state / layout.BUNDLES / f"{run_id}.zip"
