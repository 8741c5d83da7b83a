"""Verbs of the restore drill: an isolated twin, recovered to a point in time, and proven usable."""

from __future__ import annotations

import random
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from orchestrator.drivers.pgbackrest import Backup
from orchestrator.drivers.postgresql_connection import value
from orchestrator.drivers.postgresql_integrity import amcheck, checksums
from orchestrator.drivers.twin import Twin
from orchestrator.drivers.twin_database import Restored, TwinDatabase
from orchestrator.drivers.twin_egress import egress
from orchestrator.drivers.twin_erp import TwinErp
from orchestrator.model.errors import InputError
from orchestrator.model.fact import parse_timestamp
from orchestrator.probes import ledger
from orchestrator.probes.invariants import check_invariants, compare_rows
from orchestrator.probes.twin_client import transact
from orchestrator.steps.backup import await_archived, backups_in, chosen_repository, repositories
from orchestrator.steps.context import Context, StepFailed
from orchestrator.steps.failover import keep_recovered
from orchestrator.steps.registry import verb
from orchestrator.verdict.journal import read_journal


def twin_of(context: Context) -> Twin:
    """The run's twin."""
    kept = context.noted("kept") is not None
    return Twin(context.environment, context.run_id, context.home.machine.service_user, kept=kept)


def twin_database(context: Context) -> TwinDatabase:
    """The database of the run's twin, of the repository that is restored from."""
    if clone := context.noted("clone"):
        site = context.environment.sites[clone["site"]]
        return TwinDatabase(context.environment, twin_of(context), site, 0, local=True)
    rescued = context.noted("rescued")  # from the locked versions, into the twin's own directory
    chosen = context.noted("target") or context.noted("search") or rescued or {}
    number = int(chosen["repository"])
    # The twin restores as the site that holds the repository would.
    twin, site = twin_of(context), repositories(context)[number]
    if rescued is None:
        return TwinDatabase(context.environment, twin, site, number)
    path = str(twin.directory / rescued["folder"])
    return TwinDatabase(context.environment, twin, site, number, repository_path=path, local=True)


def _remove(context: Context) -> None:
    twin_of(context).remove()


@verb()
def choose_target(context: Context) -> None:
    """Choose backup, repository and point in time: while the ledger writes, half a second ago.

    Then the ledger ends, so that what is measured next has the machine to itself.
    """
    if context.noted("target") is None:
        number = chosen_repository(context)
        there = backups_in(context, number)
        entry = _ledger_entry(context) if context.options["target"] == "ledger" else None
        moment, backup = _choose(context, there, entry)
        primary = context.primary
        target = {
            "repository": number,
            "backup": backup.label,
            "backup_stopped": backup.stopped.isoformat(),
            "type": "xid" if entry else "time",
            "value": entry.xid if entry else f"{moment:%Y-%m-%d %H:%M:%S.%f}+00",
            "entry": asdict(entry) if entry else None,
            "utc": moment.isoformat(),
            "wal": segment_now(context),
        }
        context.note("target", target)
        primary.switch_wal()
    chosen = context.noted("target") or {}
    if chosen["entry"]:
        # What was acknowledged before it was sent came before it, what was sent after its
        # acknowledgement came after it; in between the order of commits is not known.
        context.mark("target", int(chosen["entry"]["sent_ns"]))
        context.mark("target_end", int(chosen["entry"]["acknowledged_ns"]))
    ledger.ledger(context.probe_directory("ledger")).stop()
    await_archived(context, int(chosen["repository"]), str(chosen["wal"]))
    detail = f"{chosen['utc']} from backup {chosen['backup']} of repository {chosen['repository']}"
    context.check("target_chosen", True, detail)


@dataclass(frozen=True)
class _Entry:
    """One entry of the ledger: its transaction, and when it was sent and acknowledged (UTC too)."""

    key: str
    xid: str
    sent_ns: int
    acknowledged_ns: int
    acknowledged_at: str


def ledger_entries(context: Context) -> dict[str, _Entry]:
    """The acknowledged entries of this run's ledger, by their transaction on the primary.

    Raises StepFailed when the primary does not hold one of them.
    """
    journal = read_journal(context.probe_directory("ledger"))
    sent = {e["key"]: int(e["t"]) for e in journal.entries if e["kind"] == "sent"}
    ends = {e["key"]: int(e["t"]) for e in journal.entries if e["kind"] == "acknowledged"}
    with context.primary.connect_local(context.home.database.name) as connection:
        rows = connection.execute(
            "SELECT xmin::text, key FROM anlan.ledger WHERE run = %s", (context.run_id,)
        ).fetchall()
    if missing := sorted(ends.keys() - {key for _, key in rows}):
        raise StepFailed(f"acknowledged keys are not in the ledger's table: {missing[:3]}")
    return {
        str(xid): _Entry(key, str(xid), sent[key], ends[key], journal.utc(ends[key]).isoformat())
        for xid, key in rows
        if key in ends
    }


def _ledger_entry(context: Context) -> _Entry:
    """Any acknowledged entry of this run's ledger."""
    entries = ledger_entries(context)
    return entries[random.SystemRandom().choice(sorted(entries))]


def _choose(context: Context, there: list[Backup], entry: _Entry | None) -> tuple[datetime, Backup]:
    """The moment, and the newest backup that ended before it."""
    text = str(context.options["target"])
    # The ledger goes on after the target, so that what came later must be absent.
    now = datetime.now(UTC)
    time.sleep(0.5)
    if entry is not None:
        moment = datetime.fromisoformat(entry.acknowledged_at)
    elif text == "latest":
        moment = now
    elif text == "random":
        first = there[0].stopped + timedelta(seconds=1)
        seconds = random.SystemRandom().uniform(0, max(0.0, (now - first).total_seconds()))
        moment = first + timedelta(seconds=seconds)
    else:
        try:
            moment = parse_timestamp(text)
        except ValueError as error:
            raise InputError(
                f"{text!r} is no target: {error}",
                "latest, random, ledger, or a time like 2026-11-24T20:15:00+00:00",
            ) from error
    before = [one for one in there if one.stopped < moment]
    if not before:
        raise StepFailed(f"no backup ended before {moment.isoformat()}: choose a later time")
    return moment, before[-1]


def segment_now(context: Context) -> str:
    """The WAL segment that the primary writes now."""
    with context.primary.connect_local() as connection:
        row = connection.execute("SELECT pg_walfile_name(pg_current_wal_lsn())").fetchone()
    return str(row[0]) if row else ""


@verb(undo=_remove)
def create_twin(context: Context) -> None:
    """Make the twin: a directory and a network namespace without any route to production."""
    context.mark("fault")
    if context.options.get("twin") == "kept":
        context.note("kept", {"twin": "kept"})
    twin_of(context).create(ttl_seconds=float(context.options["ttl_seconds"]))
    context.mark("twin_made")


@verb()
def restore_twin(context: Context) -> None:
    """Restore the backup into the twin, and recover it up to the target."""
    if context.marked("twin_open") is not None:
        return
    target = context.noted("target") or {}
    database = twin_database(context)
    restored = database.restore(
        type_=str(target["type"]),
        target=str(target["value"]) or None,
        backup_label=str(target["backup"]),
        timeout_seconds=context.seconds_left,
    )
    context.mark("restored")
    context.note("restored", asdict(restored))
    files = restored.fetched_files + restored.present_files
    context.check("backup_restored", files > 0, _told(restored))
    opened = database.start(timeout_seconds=context.seconds_left)
    context.check("twin_opened", True, f"files {restored.seconds:.2f} s, recovery {opened:.2f} s")
    context.mark("twin_open")


def _told(restored: Restored) -> str:
    return (
        f"{restored.fetched_files} files ({restored.fetched_bytes} bytes) fetched, "
        f"{restored.present_files} ({restored.present_bytes} bytes) were there with the "
        "backup's checksums"
    )


@verb()
def start_twin_erp(context: Context) -> None:
    """Start an ERP server on the twin; a client inside logs in, writes, reads back (RTO ends)."""
    database = twin_database(context)
    erp = TwinErp(twin_of(context), database.site, database.port)
    done = transact(erp, context.erp_login, context.run_id)
    context.mark("twin_served")
    values = asdict(done)
    detail = ", ".join(f"{name} {_short(value)}" for name, value in values.items())
    context.check("twin_erp_serves", done.is_complete, detail)


def _short(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


@verb()
def reconcile_twin(context: Context) -> None:
    """Take from the twin the ledger's keys it holds: all up to the target, none sent after it."""
    database = twin_database(context)
    name = database.site.database.name
    chosen = context.noted("target") or {}
    until = str(chosen["utc"])
    with (
        database.connect_local(name) as twin,
        context.primary.connect_local(name) as production,
    ):
        keys = ledger.recovered_keys(twin, context.run_id)
        if chosen["type"] == "default":  # as far as the WAL went, which is short of the target
            last = value(twin, "SELECT pg_last_xact_replay_timestamp()")
            until = last.isoformat() if last else str(chosen["backup_stopped"])
            context.note("recovered_until", {"utc": until})
        rows = compare_rows(production, twin, until)
    journal = read_journal(context.probe_directory("ledger"))
    target = parse_timestamp(str(chosen["utc"]))
    offset_ns = int((target - journal.utc(int(journal.header["t"]))).total_seconds() * 1e9)
    context.mark("target", int(journal.header["t"]) + offset_ns)
    if entry := chosen["entry"]:
        detail = f"key {entry['key']}, the last transaction to be replayed"
        context.check("target_entry_recovered", entry["key"] in keys, detail)
    keep_recovered(context, keys, f"twin {context.run_id}", rows)


@verb()
def check_twin_integrity(context: Context) -> None:
    """Check every heap and index (amcheck), and the ERP's business invariants, on the twin."""
    database = twin_database(context)
    twin = twin_of(context)
    name = database.site.database.name
    sound = amcheck(
        database.bin_directory, twin.run_directory, database.port, name, twin.service_user
    )
    context.check("amcheck", sound.is_sound, "; ".join(sound.problems[:5]) or "consistent")
    with database.connect_local(name) as connection:
        for result in check_invariants(connection, context.run_id):
            ok = None if result.population == 0 else result.violations == 0
            detail = f"{result.says}: {result.violations} of {result.population} violate it"
            context.check(result.name, ok, detail)


@verb()
def check_twin_checksums(context: Context) -> None:
    """Stop the twin's database and read every block's checksum."""
    database = twin_database(context)
    database.stop()
    found = checksums(
        database.bin_directory, twin_of(context).data_directory, twin_of(context).service_user
    )
    detail = f"{found.blocks} blocks of {found.files} files, {found.bad_blocks} bad"
    context.check("data_checksums", found.is_sound, detail)


@verb()
def check_twin_isolation(context: Context) -> None:
    """Try every production endpoint from inside the twin: each must be refused."""
    database = twin_database(context)
    report = egress(twin_of(context), database.gateways())
    reached = [one.name for one in report.endpoints if one.inside]
    outside = sum(one.outside for one in report.endpoints)
    context.check(
        "twin_isolated",
        report.is_isolated and outside == len(report.endpoints),
        f"from inside {len(reached)} of {len(report.endpoints)} endpoints reached "
        f"{' '.join(reached)}, from outside {outside}",
    )


@verb()
def remove_twin(context: Context) -> None:
    """Remove the twin: no process of it lives, no file of it is left."""
    twin = twin_of(context)
    twin.remove()
    left = twin.residue()
    context.check(
        "no_residue",
        left.is_zero,
        f"{len(left.processes)} processes left, directory exists: {left.directory_exists}",
    )
