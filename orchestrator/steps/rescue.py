"""Verbs that recover from an attack on a repository: the locked versions, whatever lies over them.

The times that a store tells are not relied on: an overwritten version may carry that of the
overwriting (seen with versitygw). The order of an object's versions is, and so are their locks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial

from orchestrator.drivers.files import keep_bytes
from orchestrator.drivers.objectstore import ObjectVersion
from orchestrator.drivers.postgresql_connection import value
from orchestrator.drivers.twin_database import TwinDatabase
from orchestrator.model.errors import InfrastructureError
from orchestrator.steps.backup import repositories, side_by_side, store_of
from orchestrator.steps.context import Context
from orchestrator.steps.registry import verb
from orchestrator.steps.restore import twin_database
from orchestrator.verdict.journal import read_journal

_INFO = re.compile(r"/(archive|backup)\.info(\.copy)?$")
_SPARE_SECONDS = 5.0


@verb()
def rescue_repository(context: Context) -> None:
    """Fetch the locked versions from under the attack into the twin: a repository of its own.

    What pgBackRest writes once has one true version, the oldest: nobody can put one under it. Its
    info files are written again and again: of these the newest that pgBackRest takes is true.
    """
    copy = context.noted("copy") or {}
    number, bucket, prefix = int(copy["repository"]), str(copy["bucket"]), str(copy["prefix"])
    context.note("rescued", {"folder": "rescued", "repository": number})
    database = twin_database(context)
    folder = database.twin.directory / "rescued"
    store = store_of(context, repositories(context)[number])
    found = by_key(store.versions(bucket, prefix))

    def fetch(one: ObjectVersion) -> int:
        content = store.get(bucket, one.key, one.version)
        path = folder / one.key.removeprefix(prefix)
        keep_bytes(path, content, below=folder, owner=database.twin.service_user)
        return len(content)

    infos = {key: found.pop(key) for key in list(found) if _INFO.search(key)}
    good = [versions[-1] for versions in found.values()]
    size = sum(side_by_side(fetch, good))
    database.configure()
    for number_ in range(max(map(len, infos.values()), default=0)):
        candidates = [versions[min(number_, len(versions) - 1)] for versions in infos.values()]
        side_by_side(fetch, candidates)
        if not sees_no_backup(database):
            good += candidates
            break
    locks = side_by_side(partial(store.own_lock, bucket), good)
    locked = sum(map(holds, locks))
    context.check(
        "rescued_versions_locked",
        None if not good else locked == len(good),
        f"{locked} of {len(good)} versions are under a COMPLIANCE lock that holds",
    )
    wanted = len(copy["objects"])
    context.require(
        "every_object_rescued", len(good) == wanted, f"{len(good)} of {wanted}, {size} bytes"
    )
    context.mark("rescued")
    context.note(
        "target",
        {
            "repository": number,
            "backup": copy["backup"],
            "backup_stopped": copy["backup_stopped"],
            "type": "default",
            "value": "",
            "entry": None,
            "utc": copy["utc"],
        },
    )


@verb()
def check_rescue_point(context: Context) -> None:
    """How old is the newest commit that was rescued: no older than the archive's time limit."""
    copy = context.noted("copy") or {}
    point = context.noted("recovered_until") or {}
    with context.primary.connect_local() as connection:
        limit = float(
            value(connection, "SELECT setting FROM pg_settings WHERE name = 'archive_timeout'")
        )
    age = (
        datetime.fromisoformat(str(copy["utc"])) - datetime.fromisoformat(str(point["utc"]))
    ).total_seconds()
    journal = read_journal(context.probe_directory("ledger"))
    written = sum(
        entry["kind"] == "acknowledged" and entry["t"] <= int(copy["t"])
        for entry in journal.entries
    )
    context.check(
        "rescue_point_within_archive_timeout",
        None if limit == 0 else age <= limit + _SPARE_SECONDS,
        f"the newest commit is {age:.1f} s older than the attack (archive_timeout {limit:g} s), "
        f"{written} keys had been acknowledged",
    )


def by_key(versions: Iterable[ObjectVersion]) -> dict[str, list[ObjectVersion]]:
    """The versions of each object, the newest first, as S3 lists them."""
    found: dict[str, list[ObjectVersion]] = {}
    for one in versions:
        found.setdefault(one.key, []).append(one)
    return found


def holds(lock: tuple[str, datetime] | None) -> bool:
    """Whether a version's own lock is one that nobody can take away, and is not over."""
    return lock is not None and lock[0] == "COMPLIANCE" and lock[1] > datetime.now(UTC)


def sees_no_backup(database: TwinDatabase) -> bool:
    """Whether pgBackRest finds no backup in the repository of a twin."""
    try:
        return not database.archive().info().get("backup")
    except InfrastructureError:
        return True
