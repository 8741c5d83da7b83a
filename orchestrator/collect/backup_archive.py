"""Kind `backup_archive`: whether a restore finds all that it needs, by the list of the objects.

Data: `repository`, `full_backups` (count), `oldest_full`, `broken_chains` (backups whose earlier
ones are gone), `needed_from` (the first WAL segment of the oldest full backup; empty without one),
`newest_segment`, `segments` (count), `missing_segments` (between these two, on any timeline),
`backups_without_log` (the segment in which their recovery begins is not there).
Only the log of the database that is archived now is looked at: one that was made anew begins an
archive of its own, beside the former one's.
A segment that is there may still be damaged: the drill `backup` reads every one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from orchestrator.collect.backup_repository import repository_of
from orchestrator.collect.handshake import endpoint_of, reach
from orchestrator.collect.observe import Collector, Observation, secret_entry
from orchestrator.drivers.objectstore import ObjectStore
from orchestrator.drivers.pgbackrest import Backup, PgBackRest, backups_in
from orchestrator.drivers.postgresql import PostgreSQL, Role
from orchestrator.drivers.postgresql_connection import value
from orchestrator.drivers.secrets import Secrets
from orchestrator.drivers.wal_names import archived_wal, segment_name, segment_number
from orchestrator.model.environment import Environment, Site
from orchestrator.model.errors import InfrastructureError

KIND = "backup_archive"
# Segments are pushed side by side, so that a later one may be there first.
_AGAIN_SECONDS = 3.0
_SEGMENT_BYTES = "SELECT setting::bigint FROM pg_settings WHERE name = 'wal_segment_size'"


def collectors(environment: Environment, secrets: Secrets) -> list[Collector]:
    """One collector for each site's repository."""
    return [
        Collector(
            kind=KIND,
            subject=f"{name}/backup_repository",
            source=f"pgBackRest of site {name}; {site.object_store.url}, with the application's "
            "keys; a database server",
            query=f"pgbackrest --stanza={site.backup.stanza} --repo=N --output=json info; "
            f"ListObjectVersions below archive/; {_SEGMENT_BYTES}",
            look=partial(look, environment, secrets, site),
        )
        for name, site in environment.sites.items()
    ]


def look(environment: Environment, secrets: Secrets, site: Site) -> Observation:
    """Compare the catalogue with what is there. Raises InfrastructureError, OSError."""
    # pgBackRest would try for a minute where nobody listens, and ask every repository.
    reach(endpoint_of(site.object_store.url))
    number, _ = repository_of(site)
    tool = PgBackRest(environment, site)
    store = ObjectStore(environment, site, secret_entry(secrets, site.object_store.secret))
    info = tool.info(number)
    archive, own = current_archive(info, number)
    there = [one for one in backups_in(info) if one.repository == number and not one.error]
    backups = [one for one in there if one.label in own]
    size = _segment_bytes(environment)
    segments = _segments(store, site, tool, number, archive)
    if missing_segments(backups, segments, size):
        time.sleep(_AGAIN_SECONDS)
        segments = _segments(store, site, tool, number, archive)
    labels = {one.label for one in there}
    fulls = [one for one in backups if one.type == "full"]
    data: dict[str, Any] = {
        "repository": number,
        "full_backups": len(fulls),
        "oldest_full": fulls[0].label if fulls else "",
        "broken_chains": [one.label for one in there if not labels.issuperset(one.references)],
        "needed_from": fulls[0].start_wal if fulls else "",
        "newest_segment": max(segments, key=lambda name: name[8:], default=""),
        "segments": len(segments),
        "missing_segments": missing_segments(backups, segments, size),
        "backups_without_log": [one.label for one in backups if one.start_wal not in segments],
    }
    return Observation(data, len(backups) + len(segments))


def current_archive(info: Mapping[str, Any], number: int) -> tuple[str, frozenset[str]]:
    """The archive that is written to now, and the backups of the same database.

    A database that was made anew begins another archive; empty before the first segment.
    """
    archives = [one for one in info.get("archive", []) if one["database"]["repo-key"] == number]
    if not archives:
        return "", frozenset()
    database = archives[-1]["database"]
    backups = (one for one in info.get("backup", []) if one["database"] == database)
    return str(archives[-1]["id"]), frozenset(str(one["label"]) for one in backups)


def _segments(
    store: ObjectStore, site: Site, tool: PgBackRest, number: int, archive: str
) -> frozenset[str]:
    """The segments of an archive."""
    folder = tool.option(f"repo{number}-path").strip("/")
    prefix = f"{folder}/archive/{site.backup.stanza}/{archive}/"
    there = store.versions(site.object_store.buckets["backup"], prefix)
    return archived_wal(one.key for one in there if one.is_latest).segments


def missing_segments(backups: Sequence[Backup], segments: frozenset[str], size: int) -> list[str]:
    """The numbers between the oldest full backup's first segment and the newest that no timeline
    has: a recovery that follows the timelines stops before it."""
    fulls = [one for one in backups if one.type == "full"]
    numbers = {segment_number(name, size) for name in segments}
    if not numbers:
        return [fulls[0].start_wal] if fulls else []
    first = segment_number(fulls[0].start_wal, size) if fulls else min(numbers)
    return [
        segment_name(number, size)
        for number in range(first, max(numbers) + 1)
        if number not in numbers
    ]


def _segment_bytes(environment: Environment) -> int:
    for site in environment.sites.values():
        server = PostgreSQL(environment, site)
        if server.role() in {Role.PRIMARY, Role.STANDBY}:
            with server.connect_local() as connection:
                return int(str(value(connection, _SEGMENT_BYTES)))
    raise InfrastructureError("no database server says how large a segment is", "start one")
