"""Verbs that find when damage came: point-in-time twins are asked the business invariants.

Candidates are the commits that the archive holds since a backup, in the order of their replay. What
is looked for are the records that break a rule in the newest state: from when did one of them? What
was damaged and repaired before is passed over. The border between clean and damaged is found by
bisection. One twin serves every question: its recovery is paused at a commit, where it can be read;
to a later one it replays on, for an earlier one its files are restored again (a delta). Each answer
is in the journal, so a search that was cut short goes on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from orchestrator.drivers.pgbackrest import Backup
from orchestrator.drivers.twin_wal import Commit, archived_commits
from orchestrator.probes import ledger
from orchestrator.probes.bisection import last_clean, most_questions
from orchestrator.probes.invariants import INVARIANTS, violations
from orchestrator.steps.backup import await_archived, backups_in, chosen_repository
from orchestrator.steps.context import Context, StepFailed
from orchestrator.steps.registry import verb
from orchestrator.steps.restore import ledger_entries, segment_now, twin_database

_LATER_SECONDS = 0.5


@verb()
def end_writes(context: Context) -> None:
    """Note how far the newest state goes, end the ledger, and see the WAL up to now archived."""
    number = chosen_repository(context)
    backups_in(context, number)  # at least one
    newest = context.note("newest", {"lsn": context.primary.current_lsn()})
    # The ledger goes on after it, so that what came later must be absent.
    time.sleep(_LATER_SECONDS)
    ledger.ledger(context.probe_directory("ledger")).stop()
    search = context.note(
        "search", {"repository": number, "lsn": newest["lsn"], "wal": segment_now(context)}
    )
    context.primary.switch_wal()
    await_archived(context, number, str(search["wal"]))
    context.check("newest_state_archived", True, f"WAL up to {search['lsn']}")


@verb()
def locate_damage(context: Context) -> None:
    """Bisect twins with the business invariants: the last clean commit and the first damaged."""
    if context.noted("target") is not None:
        return
    number = int((context.noted("search") or {})["repository"])
    for tried, backup in enumerate(reversed(backups_in(context, number))):
        search = _Search(context, backup)
        found = search.last_clean()
        if found is not None:
            _conclude(context, search, found, tried)
            return
        context.note(f"damaged_{backup.label}", {"backup_stopped": backup.stopped.isoformat()})
    raise StepFailed(f"every backup of repository {number} holds damage: none is clean")


def _conclude(context: Context, search: _Search, clean: int, tried: int) -> None:
    """Note the window, and its clean end as the target of the restore that follows."""
    context.mark("located")
    commits, backup = search.commits, search.backup
    damaged = None
    if clean < len(commits):
        damaged = {"number": clean + 1, **search.answer(clean + 1)}
    probes = sum(
        entry["kind"] == "note" and str(entry["name"]).startswith("twin_at_")
        for entry in context.journal.entries
    )
    window = {
        "backup": backup.label,
        "commits": len(commits),
        "probes": probes,
        "limit": most_questions(len(commits)) + tried,
        "rules": len(INVARIANTS),
        "last_clean": {"number": clean, **search.answer(clean)},
        "first_damaged": damaged,
    }
    context.note("window", window)
    # The last entry of the ledger that was committed by then, if the damage is that young.
    entries = ledger_entries(context)
    before = [one.xid for one in commits[:clean] if one.xid in entries]
    entry = entries[before[-1]] if before else None
    if entry:
        context.mark("target", entry.sent_ns)
        context.mark("target_end", entry.acknowledged_ns)
    last = commits[clean - 1] if clean else None
    context.note(
        "target",
        {
            "repository": backup.repository,
            "backup": backup.label,
            "backup_stopped": backup.stopped.isoformat(),
            "type": "xid" if last else "immediate",
            "value": last.xid if last else "",
            "entry": asdict(entry) if entry else None,
            "utc": (last.at if last else backup.stopped).isoformat(),
        },
    )
    later = sum(one.xid in entries for one in commits[clean:])
    detail = f"{probes} twins asked for {len(commits)} commits since backup {backup.label}: "
    if damaged is None:
        detail += "the newest state is clean"
    else:
        detail += (
            f"clean up to {window['last_clean']['utc']}, damaged from {damaged['utc']} "
            f"({', '.join(damaged['violated'])}); {later} entries of the ledger came after"
        )
    context.check("damage_located", True, detail)


@dataclass
class _Search:
    """The states after one backup: 0 is the backup itself, then one for each commit."""

    context: Context
    backup: Backup
    at: int | None = None  # where the twin's recovery is paused, as far as this process knows

    @cached_property
    def commits(self) -> tuple[Commit, ...]:
        """The commits since the backup."""
        if self.at is None:
            # A restore that was cut short leaves no database that pgBackRest would know.
            self._go_to(0)
        search = self.context.noted("search") or {}
        return archived_commits(
            twin_database(self.context),
            after_lsn=self.backup.stop_lsn,
            until_lsn=str(search["lsn"]),
            first_wal=self.backup.start_wal,
            last_wal=str(search["wal"]),
            timeout_seconds=self.context.seconds_left,
        )

    def last_clean(self) -> int | None:
        """The number of the last clean state; None when the backup itself is damaged."""
        self.answer(0)  # while the twin is there: a recovery does not go back
        return last_clean(len(self.commits), self.is_damaged)

    def is_damaged(self, number: int) -> bool:
        """Whether a record that breaks a rule in the newest state breaks it here too."""
        here, newest = self.answer(number)["violated"], self.answer(len(self.commits))["violated"]
        return any(set(here.get(rule, ())) & set(records) for rule, records in newest.items())

    def answer(self, number: int) -> Mapping[str, Any]:
        """What a twin at that state answered: asked once, then from the journal."""
        name = f"twin_at_{self.commits[number - 1].xid if number else self.backup.label}"
        known = self.context.noted(name)
        return known if known is not None else self.context.note(name, self._ask(number))

    def _ask(self, number: int) -> Mapping[str, Any]:
        began = time.monotonic()
        self._go_to(number)
        commit = self.commits[number - 1] if number else None
        xid = commit.xid if commit else ""
        database = twin_database(self.context)
        with database.connect_local(database.site.database.name) as connection:
            violated = violations(connection, self.context.run_id)
            row = connection.execute(
                "SELECT key FROM anlan.ledger WHERE run = %s AND xmin::text = %s",
                (self.context.run_id, xid),
            ).fetchone()
        return {
            "xid": xid,
            "lsn": commit.lsn if commit else self.backup.stop_lsn,
            "utc": (commit.at if commit else self.backup.stopped).isoformat(),
            "key": str(row[0]) if row else "",
            "violated": violated,
            "seconds": round(time.monotonic() - began, 3),
        }

    def _go_to(self, number: int) -> None:
        """Bring the twin to a state."""
        if self.at == number:
            return
        database, left = twin_database(self.context), self.context.seconds_left
        if self.at is not None and self.at < number:
            database.recover_further(self.commits[number - 1].xid, timeout_seconds=left)
        else:
            database.restore(
                type_="xid" if number else "immediate",
                target=self.commits[number - 1].xid if number else None,
                backup_label=self.backup.label,
                pause=True,
                timeout_seconds=left,
            )
            database.start(paused=True, timeout_seconds=left)
        self.at = number
