"""Verbs of the backup drill: back up, verify, and prove encryption, locks and the archive."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar

from orchestrator.drivers.objectstore import ObjectStore
from orchestrator.drivers.pgbackrest import Backup, PgBackRest
from orchestrator.drivers.postgresql_connection import value
from orchestrator.drivers.wal_names import ArchivedWal, archived_wal, timeline_of
from orchestrator.model.environment import Site
from orchestrator.model.errors import InfrastructureError, InputError
from orchestrator.probes.availability import MODEL, cleanup, marker
from orchestrator.steps.context import Context, StepFailed
from orchestrator.steps.registry import verb

_CHUNK_BYTES = 1 << 20
_PARALLEL = 4
_T = TypeVar("_T")
_R = TypeVar("_R")

# Of a backup, in the name of a file that is its own.
_LABEL = re.compile(r"/(\d{8}-\d{6}F(?:_\d{8}-\d{6}[DI])?)/")


def repositories(context: Context) -> dict[int, Site]:
    """pgBackRest's repository numbers, and the site whose store holds each."""
    return dict(enumerate(context.environment.sites.values(), start=1))


def backups_of(context: Context) -> PgBackRest:
    """pgBackRest at the primary's site."""
    return PgBackRest(context.environment, context.primary.site)


def chosen_repository(context: Context) -> int:
    """The repository that the step's options name. Raises InputError."""
    number = int(context.options["repository"])
    if number not in repositories(context):
        raise InputError(f"there is no repository {number}", "1 or 2")
    return number


def backups_in(context: Context, number: int) -> list[Backup]:
    """The backups that a repository holds, the oldest first. Raises StepFailed without one."""
    there = [one for one in backups_of(context).backups() if one.repository == number]
    if not there:
        raise StepFailed(f"repository {number} holds no backup: run the drill `backup` first")
    return there


def store_of(context: Context, site: Site) -> ObjectStore:
    """The object store of a site, with its own keys."""
    keys = context.secrets.kv(site.object_store.secret)
    return ObjectStore(context.environment, site, keys)


def source_of(context: Context, number: int) -> str:
    """Where in its bucket a repository is."""
    return backups_of(context).option(f"repo{number}-path").strip("/") + "/"


def archive_of(context: Context, number: int) -> ArchivedWal:
    """The WAL that a repository holds, by the list of its objects."""
    site = repositories(context)[number]
    store, bucket = store_of(context, site), site.object_store.buckets["backup"]
    there = store.versions(bucket, f"{source_of(context, number)}archive/")
    return archived_wal(one.key for one in there if one.is_latest)


def side_by_side(act: Callable[[_T], _R], things: Iterable[_T]) -> list[_R]:
    """What `act` returns for each thing, in their order; a few at a time."""
    with ThreadPoolExecutor(_PARALLEL) as pool:
        return list(pool.map(act, things))


def _remove_marker(context: Context) -> None:
    erp = context.erp()
    cleanup(erp, context.run_id)
    erp.logout()


def marker_text(context: Context) -> str:
    """The name of the party that `write_marker` makes."""
    return f"{marker(context.run_id)}marker"


@verb(undo=_remove_marker)
def write_marker(context: Context) -> None:
    """Write a record with an unmistakable name through the ERP; no backup may show it in clear."""
    erp = context.erp()
    name = marker_text(context)
    if not erp.search(MODEL, [["name", "=", name]]):
        erp.create(MODEL, [{"name": name}])
    erp.logout()
    primary = context.primary
    primary.checkpoint()
    context.note("marker_lsn", {"lsn": primary.switch_wal()})


@verb()
def take_backup(context: Context) -> None:
    """Take a backup into every repository."""
    type_ = str(context.options["type"])
    for number, site in repositories(context).items():
        name = f"backup_{number}"
        if context.noted(name) is not None:
            continue
        taken = backups_of(context).backup(
            type_, repository=number, timeout_seconds=context.seconds_left
        )
        context.require(
            f"backup_in_repository_{number}",
            not taken.error,
            f"{taken.label} ({taken.type}) at site {site.name}: {taken.size_bytes} bytes, "
            f"{taken.stored_bytes} stored, {(taken.stopped - taken.started).total_seconds():g} s",
        )
        context.note(name, {"label": taken.label, "stored_bytes": taken.stored_bytes})


@verb(repeatable=True)
def verify_repositories(context: Context) -> None:
    """Read every repository whole and compare every checksum; the tool's exit code is no proof."""
    for number in repositories(context):
        found = backups_of(context).verify(number, timeout_seconds=context.seconds_left)
        detail = f"{found.backups} backups, {found.wal_segments} WAL segments"
        if found.problems:
            detail += ": " + "; ".join(found.problems[:5])
        context.check(f"repository_{number}_sound", found.is_sound, detail)


@verb()
def check_encryption(context: Context) -> None:
    """Look for the marker in the repositories' bytes, and in the database's as the control."""
    needle = marker_text(context).encode()
    data = _Scan(context.primary.settings.data_directory / "base", needle)
    context.check(
        "marker_in_database_files",
        True if data.found else None,
        f"control: the marker is readable in {len(data.found)} of {data.files} unencrypted files",
    )
    for number, site in repositories(context).items():
        store, bucket = store_of(context, site), site.object_store.buckets["backup"]
        label = (context.noted(f"backup_{number}") or {})["label"]
        seen, size, readable = 0, 0, []
        for version in store.versions(bucket):
            if not version.is_latest or (
                label not in version.key and version.modified < _run_started(context)
            ):
                continue
            content = store.get(bucket, version.key, version.version)
            seen, size = seen + 1, size + len(content)
            if needle in content:
                readable.append(version.key)
        context.check(
            f"repository_{number}_encrypted",
            None if seen == 0 else not readable,
            f"marker readable in {len(readable)} of {seen} objects of this backup and its WAL "
            f"({size} bytes)" + "".join(f"; {key}" for key in readable[:3]),
        )
        cipher = {str(one["repo"][number - 1]["cipher"]) for one in [backups_of(context).info()]}
        context.check(f"repository_{number}_cipher", cipher == {"aes-256-cbc"}, ", ".join(cipher))


@verb(repeatable=True)
def lock_repository(context: Context) -> None:
    """Give every version in the repositories a lock of its own, which no setting can take away."""
    days = timedelta(days=context.environment.retention.object_lock_days)
    for number, site in repositories(context).items():
        store, bucket = store_of(context, site), site.object_store.buckets["backup"]
        source = source_of(context, number)
        there = store.versions(bucket, source)
        locks = side_by_side(partial(store.own_lock, bucket), there)
        bare = [one for one, lock in zip(there, locks, strict=True) if lock is None]
        side_by_side(partial(store.lock, bucket, until=datetime.now(UTC) + days), bare)
        context.check(
            f"repository_{number}_locked_by_itself",
            None if not there else True,
            f"{len(there)} versions; {len(bare)} of them had the bucket's lock alone before",
        )


@verb()
def check_object_lock(context: Context) -> None:
    """The backup's objects are under a compliance lock; a real attempt to delete one is refused."""
    days = context.environment.retention.object_lock_days
    for number, site in repositories(context).items():
        store, bucket = store_of(context, site), site.object_store.buckets["backup"]
        label = str((context.noted(f"backup_{number}") or {})["label"])
        mine = [one for one in store.versions(bucket) if label in one.key]
        if not mine:
            raise StepFailed(f"repository {number} holds no object of backup {label}")
        locks = [store.retained_until(bucket, one.key, one.version) for one in mine]
        shortest = min(until for _, until in locks)
        hours = (shortest - datetime.now(UTC)).total_seconds() / 3600
        context.check(
            f"repository_{number}_locked",
            {mode for mode, _ in locks} == {"COMPLIANCE"} and hours > days * 24 - 1,
            f"{len(mine)} objects of {label}, the shortest lock ends in {hours:.1f} h "
            f"(configured: {days} d)",
        )
        # One is risked at a time: an object that can be deleted is the finding, and is gone.
        victim = min(mine, key=lambda one: one.size_bytes)
        attempt = store.try_delete_locked(bucket, victim.key, victim.version)
        context.check(
            f"repository_{number}_deletion_refused",
            attempt.refused,
            f"delete of {victim.key}: {attempt.code or 'it was deleted'}",
        )


@verb()
def check_retention(context: Context) -> None:
    """No more full backups than configured are kept; what expired is hidden, and still locked."""
    keep = context.environment.retention.backup_full
    for number, site in repositories(context).items():
        there = backups_in(context, number)
        full = [one for one in there if one.type == "full"]
        context.check(
            f"repository_{number}_retention",
            1 <= len(full) <= keep,
            f"{len(full)} full backups in the catalogue, {keep} are kept",
        )
        store, bucket = store_of(context, site), site.object_store.buckets["backup"]
        labels = {one.label for one in there}
        expired = [
            one
            for one in store.versions(bucket, source_of(context, number))
            if (found := _LABEL.search(one.key)) and found[1] not in labels
        ]
        locks = side_by_side(partial(store.own_lock, bucket), expired)
        now = datetime.now(UTC)
        held = [one for one, lock in zip(expired, locks, strict=True) if lock and lock[1] > now]
        if held:  # else nothing has expired that is still under its lock
            victim = min(held, key=lambda one: one.size_bytes)
            attempt = store.try_delete_locked(bucket, victim.key, victim.version)
            context.check(
                f"repository_{number}_expired_is_locked",
                attempt.refused,
                f"{len(held)} of {len(expired)} versions of backups that expired are locked; "
                f"delete of {victim.key}: {attempt.code or 'it was deleted'}",
            )


@verb(repeatable=True)
def check_archive(context: Context) -> None:
    """The WAL that holds the marker is in every repository's archive."""
    backups_of(context).check()
    lsn = str((context.noted("marker_lsn") or {})["lsn"])
    with context.primary.connect_local() as connection:
        row = connection.execute("SELECT pg_walfile_name(%s::pg_lsn)", (lsn,)).fetchone()
    segment = str(row[0]) if row else ""
    for number in repositories(context):
        await_archived(context, number, segment)
        first, last = backups_of(context).archived(number)
        context.check(
            f"repository_{number}_archives",
            bool(last) and last >= segment > "",
            f"the marker's WAL is {segment}, archived are {first} to {last}",
        )
        _check_complete(context, number, last)


def _check_complete(context: Context, number: int, last: str) -> None:
    """No segment is missing up to `last` that a recovery replays, from whichever backup.

    Those of the server's timeline are looked at. pgBackRest's `check` looks for the newest segment
    alone, and its `verify` passes over a gap.
    """
    starts = [one.start_wal for one in backups_in(context, number)]
    first = min((wal for wal in starts if wal[:8] == last[:8]), default=None)
    if first is None:
        context.check(
            f"repository_{number}_wal_complete", None, f"no backup is on timeline {last[:8]}"
        )
        return
    with context.primary.connect_local() as connection:
        size = int(value(connection, "SELECT pg_size_bytes(current_setting('wal_segment_size'))"))
    gone = archive_of(context, number).missing(first, last, size)
    detail = f"{len(gone)} segments are missing from {first} to {last} {' '.join(gone[:3])}"
    context.check(f"repository_{number}_wal_complete", not gone, detail.strip())


def await_archived(context: Context, repository: int, segment: str) -> None:
    """Wait until a repository's archive reaches a WAL segment, or the step's time is over.

    Raises StepFailed when the archive knows a newer timeline than the server that wrote the
    segment: somebody else archives there, and a recovery would follow that one.
    """
    backups, own = backups_of(context), timeline_of(segment)
    while (last := backups.archived(repository)[1]) < segment:
        if time.monotonic() > context.deadline:
            raise InfrastructureError(
                f"WAL {segment} is not in repository {repository}: {backups.archived(repository)}",
                "see archive_command in the primary's log, and the object store",
            )
        time.sleep(0.2)
    newest = archive_of(context, repository).newest_timeline
    context.require(
        f"repository_{repository}_timeline",
        newest <= own,
        f"the archive goes to {last} and knows timeline {newest}, the server writes {own}",
    )


def _run_started(context: Context) -> datetime:
    return datetime.fromisoformat(str(context.journal.entries[0]["utc"]))


class _Scan:
    """Which files below a directory hold some bytes."""

    def __init__(self, directory: Path, needle: bytes) -> None:
        self._directory = directory
        self._needle = needle
        self.files = 0

    @cached_property
    def found(self) -> list[Path]:
        """The files that hold them."""
        hits = []
        for path in self._directory.rglob("*"):
            if path.is_file():
                self.files += 1
                if self._holds(path):
                    hits.append(path)
        return hits

    def _holds(self, path: Path) -> bool:
        before = b""
        with path.open("rb") as stream:
            while part := stream.read(_CHUNK_BYTES):
                if self._needle in before + part:
                    return True
                before = part[-len(self._needle) :]
        return False
