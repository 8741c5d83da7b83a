"""Verbs of the ransomware drill: an attack with the database's own rights on a copy, and its worth.

The attacker holds what the database's machine holds: the service user, and the keys of the object
stores in pgBackRest's file. What the store should refuse is tried on the real repositories. What it
grants (to hide and to overwrite) is done to a copy of the newest backup in the same bucket, with
its WAL, under a COMPLIANCE lock of minutes: after that the copy can be removed without a trace.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from orchestrator.drivers.objectstore import ObjectVersion
from orchestrator.drivers.objectstore_attack import Attacker, Attempt
from orchestrator.drivers.pgbackrest import Backup
from orchestrator.drivers.twin import Twin
from orchestrator.drivers.twin_database import TwinDatabase
from orchestrator.drivers.twin_ransom import encrypt_data
from orchestrator.model.errors import InfrastructureError
from orchestrator.probes import ledger
from orchestrator.steps.backup import (
    await_archived,
    backups_in,
    chosen_repository,
    repositories,
    side_by_side,
    source_of,
    store_of,
)
from orchestrator.steps.context import Context, StepFailed
from orchestrator.steps.registry import verb
from orchestrator.steps.rescue import by_key, holds, sees_no_backup
from orchestrator.steps.restore import segment_now

_SEGMENT = re.compile(r"/([0-9A-F]{24})[-.]")
_LATER_SECONDS = 0.5
_SPARE_SECONDS = 5.0


@verb()
def archive_entries(context: Context) -> None:
    """The ledger's first entries come into the archive: when its time is up, or by a switch."""
    number = chosen_repository(context)
    segment = str(context.note("first_entries", {"wal": segment_now(context)})["wal"])
    if context.options["wal"] == "switch":
        context.primary.switch_wal()
    await_archived(context, number, segment)
    context.check("first_entries_archived", True, f"WAL {segment} is in repository {number}")


def _remove_copy(context: Context) -> None:
    copy = context.noted("copy")
    if copy is None:
        return
    store = store_of(context, repositories(context)[int(copy["repository"])])
    over = datetime.fromisoformat(str(copy["locked_until"])) + timedelta(seconds=30)
    while store.remove_all(str(copy["bucket"]), str(copy["prefix"])):
        if datetime.now(UTC) > over:
            raise InfrastructureError(
                f"{copy['bucket']}/{copy['prefix']} is still locked after its time",
                "remove it by hand when its retention is over",
            )
        time.sleep(0.5)


@verb(undo=_remove_copy)
def copy_repository(context: Context) -> None:
    """The moment of the attack: what is in the repository now is copied, under a short lock."""
    number = int(context.options["repository"])
    site = repositories(context)[number]
    store, bucket = store_of(context, site), site.object_store.buckets["backup"]
    if context.noted("copy") is None:
        newest = backups_in(context, number)[-1]
        at, t_ns = datetime.now(UTC), time.monotonic_ns()
        source = source_of(context, number)
        objects = [
            {"key": one.key, "version": one.version, "size": one.size_bytes}
            for one in store.versions(bucket, source)
            if one.is_latest
            and _is_needed(one.key, newest)
            and holds(store.own_lock(bucket, one))  # else the attacker can take it
        ]
        name = hashlib.sha256(context.run_id.encode()).hexdigest()[:12]
        lock = timedelta(seconds=float(context.options["lock_seconds"]))
        context.note(
            "copy",
            {
                "repository": number,
                "backup": newest.label,
                "backup_stopped": newest.stopped.isoformat(),
                "bucket": bucket,
                "source": source,
                "prefix": f"drill-{name}/",
                "locked_until": (at + lock).replace(microsecond=0).isoformat(),
                "utc": at.isoformat(),
                "t": t_ns,
                "objects": objects,
            },
        )
    copy = context.noted("copy") or {}
    for name in ("attacked", "target"):
        context.mark(name, int(copy["t"]))
    source, prefix = str(copy["source"]), str(copy["prefix"])
    done = {one.key for one in store.versions(bucket, prefix)}
    until = _locked_until(context)

    def copy_one(one: dict[str, Any]) -> None:
        key = prefix + str(one["key"]).removeprefix(source)
        if key not in done:
            version = ObjectVersion(str(one["key"]), str(one["version"]), 0, until, True)
            store.copy_locked(bucket, version, key, until)

    side_by_side(copy_one, copy["objects"])
    # Writes that came after the moment must be absent later.
    time.sleep(_LATER_SECONDS)
    ledger.ledger(context.probe_directory("ledger")).stop()
    size = sum(int(one["size"]) for one in copy["objects"])
    context.check(
        "repository_copied",
        True,
        f"{len(copy['objects'])} objects, {size} bytes: backup {copy['backup']} and its WAL as of "
        f"{copy['utc']}, locked until {copy['locked_until']}",
    )


def _is_needed(key: str, backup: Backup) -> bool:
    """Whether an object belongs to the backup: its files and WAL, those that it refers to."""
    if "/archive/" in key:
        segment = _SEGMENT.search(key)
        return segment is None or segment[1][8:] >= backup.start_wal[8:]
    if "/backup.info" in key:
        return True
    return any(f"/{label}/" in key for label in (backup.label, *backup.references))


def _locked_until(context: Context) -> datetime:
    """Until when the copy is locked. Raises StepFailed when that is over, or nearly."""
    until = datetime.fromisoformat(str((context.noted("copy") or {})["locked_until"]))
    if until < datetime.now(UTC) + timedelta(seconds=_SPARE_SECONDS):
        raise StepFailed("the copy's lock is over: run the drill again with more lock_seconds")
    return until


def _victim(context: Context) -> TwinDatabase:
    """A twin that stands for the attacked machine; its repository is the copy."""
    copy = context.noted("copy") or {}
    number = int(copy["repository"])
    user = context.home.machine.service_user
    twin = Twin(context.environment, f"{context.run_id}-victim", user)
    path = "/" + str(copy["prefix"]).rstrip("/")
    site = repositories(context)[number]
    return TwinDatabase(context.environment, twin, site, number, repository_path=path)


def _remove_victim(context: Context) -> None:
    if context.noted("copy") is not None:
        _victim(context).twin.remove()


@verb(undo=_remove_victim)
def make_victim(context: Context) -> None:
    """A twin that stands for the primary is restored from the copy: it is a whole repository."""
    victim = _victim(context)
    victim.twin.create(ttl_seconds=float(context.options["ttl_seconds"]))
    seconds = victim.restore(timeout_seconds=context.seconds_left).seconds
    seconds += victim.start(timeout_seconds=context.seconds_left)
    context.check("copy_is_a_repository", True, f"control: restored and open in {seconds:.2f} s")


@verb()
def attack_database(context: Context) -> None:
    """Kill the victim's database, and encrypt its files with a key that nobody keeps."""
    victim = _victim(context)
    files, size = encrypt_data(victim.twin)
    try:
        victim.start(timeout_seconds=30.0)
    except InfrastructureError as error:
        why = error.what.rpartition(": ")[2].split(" | ")[0]
        context.require("database_encrypted", files > 0, f"{files} files, {size} bytes: {why}")
        return
    context.require("database_encrypted", False, f"{files} files encrypted, and it still opens")


@verb()
def attack_repository(context: Context) -> None:
    """With the database's keys: delete, shorten, downgrade, unlock, overwrite and hide."""
    copy = context.noted("copy") or {}
    number, bucket, prefix = int(copy["repository"]), str(copy["bucket"]), str(copy["prefix"])
    until = _locked_until(context)
    machine = context.primary.site
    attempts: list[Attempt] = []
    for there, site in repositories(context).items():
        attacker = Attacker(context.environment, site, machine, there, context.token)
        real = site.object_store.buckets["backup"]
        label = backups_in(context, there)[-1].label
        mine = [
            one
            for one in attacker.versions(real)
            if f"/{label}/" in one.key and holds(attacker.own_lock(real, one))
        ]
        # One is risked: what can be deleted is the finding, and is gone.
        for victim in sorted(mine, key=lambda one: one.size_bytes)[:1]:
            attempts += [
                attacker.delete(real, victim),
                attacker.shorten(real, victim),
                attacker.downgrade(real, victim, until + timedelta(days=1)),
            ]
        attempts += [
            attacker.suspend_versioning(real),
            attacker.remove_bucket(real),
            attacker.set_default_lock(real),
        ]
    attacker = Attacker(
        context.environment, repositories(context)[number], machine, number, context.token
    )
    locked = [versions[-1] for versions in by_key(attacker.versions(bucket, prefix)).values()]

    def attack(numbered: tuple[int, ObjectVersion]) -> list[Attempt]:
        index, one = numbered
        made = [
            attacker.delete(bucket, one),
            attacker.shorten(bucket, one),
            attacker.downgrade(bucket, one, until),
        ]
        if index % 2 or one.key.endswith((".info", ".copy", "manifest")):
            return [*made, attacker.overwrite(bucket, one.key, until)]
        return [*made, attacker.hide(bucket, one.key)]

    for some in side_by_side(attack, enumerate(locked)):
        attempts += some
    granted = Counter(one.act for one in attempts if not one.refused)
    refused = Counter(one.act for one in attempts if one.refused)
    codes = sorted({f"{one.act}: {one.code}" for one in attempts if one.refused})
    context.note("attempts", {"granted": dict(granted), "refused": dict(refused), "codes": codes})
    kept = {(one.key, one.version) for one in attacker.versions(bucket, prefix)}
    lost = [one.key for one in locked if (one.key, one.version) not in kept]
    for name, act in (
        ("deletion_refused", "delete a locked version"),
        ("shortening_refused", "shorten a retention"),
        ("downgrade_refused", "downgrade to governance"),
        ("unversioning_refused", "suspend versioning"),
        ("bucket_removal_refused", "remove the bucket"),
    ):
        total = granted[act] + refused[act]
        ok = None if not total else not granted[act]
        context.check(name, ok, f"{act}: {refused[act]} of {total} refused")
    context.check(
        "locked_versions_kept",
        None if not locked else not lost,
        f"{len(locked) - len(lost)} of {len(locked)} locked versions are still there",
    )
    words = ", ".join(f"{act} {count}" for act, count in sorted(granted.items()))
    context.check(
        "newest_hidden", sees_no_backup(_victim(context)), f"control: granted were {words}"
    )


@verb()
def remove_copy(context: Context) -> None:
    """When its locks are over, remove the copy and what the attacker put over it."""
    copy = context.noted("copy") or {}
    bucket, prefix, source = str(copy["bucket"]), str(copy["prefix"]), str(copy["source"])
    _remove_copy(context)
    store = store_of(context, repositories(context)[int(copy["repository"])])
    left = len(store.versions(bucket, prefix)) + len(store.delete_markers(bucket, prefix))
    context.check("no_copy_left", left == 0, f"{left} versions or markers are left of it")
    there = {(one.key, one.version) for one in store.versions(bucket, source)}
    missing = [o["key"] for o in copy["objects"] if (o["key"], o["version"]) not in there]
    context.check(
        "repository_untouched",
        not missing,
        f"{len(copy['objects']) - len(missing)} of {len(copy['objects'])} objects of the real "
        "repository are there",
    )
