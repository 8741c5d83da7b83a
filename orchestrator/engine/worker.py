"""A worker: runs what the applied schedules make due, records what was missed, takes over the dead.

It keeps nothing of its own. What is due follows from the evidence log, what was done from the run
directories; the id of a slot's run follows from the slot, so several workers may share a state
directory: one makes the run, one holds its lock.
"""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from orchestrator.drivers.files import write_atomically
from orchestrator.engine import finish, permit, runs
from orchestrator.engine.runs import Run
from orchestrator.evidence import layout
from orchestrator.evidence.retained import tombstones
from orchestrator.evidence.schedules import applied_to
from orchestrator.evidence.tlog import log
from orchestrator.model.errors import AnlanError, InputError
from orchestrator.model.fact import parse_timestamp, timestamp
from orchestrator.model.schedule import Slot, expected, slot

_RETRY_SECONDS = 20.0
_CHANGE_LOOK_SECONDS = 60.0

_Data = Mapping[str, Any]
Plan = Callable[[str, Slot, str], Run]
"""Makes the run of a slot on an environment, with its trigger; raises InputError."""
Begin = Callable[[Run], str]
"""Works on a run until it ends; returns why it could not, empty if it did."""


def schedules_of(state: Path) -> dict[str, list[dict[str, Any]]]:
    """Return environment → its applied schedules, the oldest first. Raises InfrastructureError."""
    return {
        name: records
        for name in log.environments(state)
        if (records := applied_to(state, name, log.log_of(state, name).entries()))
    }


class Pauses:
    """Which entries of an environment's schedule are paused: `<state>/schedules/ENV.json`."""

    def __init__(self, state: Path, environment: str) -> None:
        self.path = state / "schedules" / f"{environment}.json"

    def read(self) -> dict[str, dict[str, str]]:
        """Entry → by, reason, since, until (may be empty). Raises InputError when damaged."""
        try:
            return dict(json.loads(self.path.read_text()))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise InputError(
                f"not JSON: {error}", "remove the file: nothing is paused then", file=str(self.path)
            ) from error

    def write(self, pauses: Mapping[str, Mapping[str, str]]) -> None:
        """Replace them."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, json.dumps(pauses, indent=1) + "\n", mode=0o644)

    def reason(self, entry: str, now: datetime) -> str:
        """Why an entry does not run now; empty if it may."""
        pause = self.read().get(entry)
        if pause is None or (pause["until"] and now >= parse_timestamp(pause["until"])):
            return ""
        return f"paused by {pause['by']} since {pause['since']}: {pause['reason']}"


class Worker:
    """Each `tick` does all that is due now, one run after the other."""

    def __init__(
        self,
        state: Path,
        plan: Plan,
        begin: Begin,
        say: Callable[[str], None],
        *,
        grace_seconds: float = 10.0,
    ) -> None:
        """`grace_seconds`: how long nobody works on a begun run before it is taken over."""
        self._state, self._plan, self._begin, self._say = state, plan, begin, say
        self._grace = grace_seconds
        self._schedules: dict[str, list[dict[str, Any]]] = {}
        self._log_heads: dict[str, bytes | None] = {}
        self._removed: frozenset[str] = frozenset()
        self._settled: dict[str, datetime] = {}
        self._why: dict[str, tuple[float, str]] = {}
        self._dead: dict[str, float] = {}
        self._looked = float("-inf")

    def tick(self, now: datetime | None = None) -> None:
        """Run, take over or record as missed whatever its time has come for."""
        now = now or datetime.now(UTC)
        schedules = self._in_force()
        for environment, records in schedules.items():
            self._environment(environment, records, now)
        if time.monotonic() - self._looked > _CHANGE_LOOK_SECONDS:
            self._looked = time.monotonic()
            with self._alone() as alone:
                for records in schedules.values() if alone else ():
                    self._occasions(records[-1], now)
        for run in self._unfinished():
            self._unfinished_run(run, now)

    def end_stalled(self) -> None:
        """End every process that holds a run and does not move; a tick then takes the run over.

        For a thread of its own: the worker may itself be waiting for that process.
        """
        for run in self._unfinished():
            try:
                if runs.end_stalled(run):
                    self._say(f"{run.run_id}: its process did not move, ended")
            except AnlanError as error:
                self._not_yet(run.run_id, error.what)

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Whether no other worker looks for occasions: two would plan a run each."""
        folder = self._state / "runs"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".changes").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    def _in_force(self) -> dict[str, list[dict[str, Any]]]:
        """The applied schedules, read again when the log, which only grows, has grown."""
        heads = log.heads(self._state)
        if heads != self._log_heads:
            self._schedules, self._log_heads = schedules_of(self._state), heads
            self._removed = tombstones.runs_of(self._state)
        return self._schedules

    def _environment(self, environment: str, records: list[dict[str, Any]], now: datetime) -> None:
        since = self._settled.get(environment, parse_timestamp(records[0]["applied_at"]))
        open_: list[datetime] = []
        asked = (e.get("ask_before_minutes", 0) for r in records for e in r["schedule"]["entries"])
        until = now + timedelta(minutes=max(asked))
        for one in sorted(expected(records, since, until), key=lambda slot: slot.start):
            if one.ask > now:
                continue
            run = self._made(one.run_id)
            if run is None and self._was_removed(one.run_id):
                continue
            run = run or self._made_now(environment, one)
            if run is None or not self._scheduled(run, one.entry, one.start, one.latest, now):
                open_.append(one.at)
        # Up to the first that is open nothing is left to do.
        self._settled[environment] = max(since, min(open_, default=now) - timedelta(seconds=1))

    def _made(self, run_id: str) -> Run | None:
        there = (self._state / "runs" / run_id).is_dir()
        return runs.load(self._state, run_id) if there else None

    def _was_removed(self, run_id: str) -> bool:
        """Whether its retention was over: its tombstone is logged before its directory goes."""
        self._in_force()
        return run_id in self._removed

    def _made_now(self, environment: str, one: Slot) -> Run | None:
        try:
            return self._plan(environment, one, "schedule")
        except AnlanError as error:
            if (made := self._made(one.run_id)) is None:  # else another worker made it
                self._not_yet(one.run_id, error.what)
            return made

    def _scheduled(
        self, run: Run, entry: str, start: datetime, latest: datetime, now: datetime
    ) -> bool:
        """Bring a slot's run forward; whether it is finished."""
        if run.state != "planned":
            return run.state == "finished"
        paused = Pauses(self._state, run.plan["environment"]["name"]).reason(entry, now)
        refused = permit.refusal(run, now)
        if now > latest or (paused and now >= start) or permit.rejection(run):
            tried = self._why.get(run.run_id, (0.0, "no worker was there in time"))[1]
            return self._miss(run, paused or refused or tried)
        if now < start or self._is_early(run.run_id):
            return False
        if refused:
            self._not_yet(run.run_id, refused)
            return False
        self._work(run)
        return run.reload().state == "finished"

    def _miss(self, run: Run, why: str) -> bool:
        try:
            with runs.locked(run.directory):
                if run.reload().journal.entries:
                    return False  # another worker began it
                finish.miss(run, self._state, why)
        except AnlanError as error:
            self._not_yet(run.run_id, error.what)
            return False
        self._say(f"{run.run_id}: missed: {why}")
        return True

    def _work(self, run: Run) -> None:
        self._say(f"{run.run_id}: begins")
        why = self._begin(run)
        run = run.reload()
        if run.state == "finished":
            self._say(f"{run.run_id}: {(run.result or {})['verdict']}")
        else:
            self._not_yet(run.run_id, why)

    def _not_yet(self, run_id: str, why: str) -> None:
        if self._why.get(run_id, (0.0, ""))[1] != why:
            self._say(f"{run_id}: not yet: {why}")
        self._why[run_id] = (time.monotonic(), why)

    def _is_early(self, run_id: str) -> bool:
        """Whether the last attempt is too short ago for another."""
        at = self._why.get(run_id, (float("-inf"), ""))[0]
        return time.monotonic() - at < _RETRY_SECONDS

    def _unfinished(self) -> Iterator[Run]:
        folder = self._state / "runs"
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            if not path.name.startswith(".") and not (path / layout.PROOFS["run"]).exists():
                yield runs.load(self._state, path.name)

    def _unfinished_run(self, run: Run, now: datetime) -> None:
        """Take over a run that began and that nobody works on; bring on one for an occasion."""
        scheduled = run.plan.get("scheduled")
        if run.state == "planned" and run.plan["trigger"] in {"change", "backup"} and scheduled:
            start, latest = (parse_timestamp(scheduled[key]) for key in ("start", "latest"))
            self._scheduled(run, scheduled["entry"], start, latest, now)
            run = run.reload()
        if run.state != "interrupted":
            self._dead.pop(run.run_id, None)
            return
        since = self._dead.setdefault(run.run_id, time.monotonic())
        if time.monotonic() - since >= self._grace and not self._is_early(run.run_id):
            self._say(f"{run.run_id}: nobody works on it, taken over")
            self._work(run)

    def _occasions(self, record: _Data, now: datetime) -> None:
        """One run more of an entry that wants it: after a change, and after a new backup."""
        entries = record["schedule"]["entries"]
        if not any("after_change_hours" in e or "after_backup_minutes" in e for e in entries):
            return
        history = runs.history(self._state)
        mine = [r for r in history if r.plan["environment"]["name"] == record["environment"]]
        for entry in entries:
            try:
                if "after_change_hours" in entry:
                    self._after_change(record, entry, mine, now)
                if "after_backup_minutes" in entry:
                    self._after_backup(record, entry, mine, now)
            except AnlanError as error:
                self._not_yet(entry["id"], error.what)

    def _after_change(self, record: _Data, entry: _Data, mine: list[Run], now: datetime) -> None:
        """When the deployment is not that of the drill's last pass."""
        of_drill = [run for run in mine if run.plan["drill"]["name"] == entry["drill"]]
        passed = [run for run in of_drill if _has_passed(run)]
        if not passed:
            return
        limit = {"start_within_minutes": 60 * entry["after_change_hours"], "jitter_minutes": 0}
        extra = slot(record, {**entry, **limit}, now, "change")
        if self._plan_of_change(record["environment"], extra, passed[-1], of_drill):
            self._say(f"{extra.run_id}: due until {timestamp(extra.latest)} after a change")

    def _after_backup(self, record: _Data, entry: _Data, mine: list[Run], now: datetime) -> None:
        """When the newest backup is younger than the schedule, and this is not planned for it.

        The run's id follows from the backup, so there is one for each.
        """
        backups = [run for run in mine if run.plan["drill"]["name"] == "backup"]
        ended = [
            (parse_timestamp((run.result or {})["ended_at"]), run.run_id)
            for run in backups
            if _has_passed(run)
        ]
        if not ended or max(ended)[0] < parse_timestamp(record["applied_at"]):
            return
        limit = {"start_within_minutes": entry["after_backup_minutes"], "jitter_minutes": 0}
        at, backup = max(ended)
        extra = slot(record, {**entry, **limit}, at, backup)
        if now <= extra.latest and self._made(extra.run_id) is None:
            self._plan(record["environment"], extra, "backup")
            self._say(f"{extra.run_id}: due until {timestamp(extra.latest)} after {backup}")

    def _plan_of_change(
        self, environment: str, extra: Slot, last: Run, of_drill: list[Run]
    ) -> bool:
        text = (self._state / "env" / environment / "environment.json").read_text()
        digest = json.loads(text)["deployment"]["digest"]
        known = {
            run.plan["environment"]["deployment_digest"]
            for run in of_drill
            if run.plan["trigger"] == "change" or run is last
        }
        if digest in known:
            return False
        self._plan(environment, extra, "change")
        return True


def _has_passed(run: Run) -> bool:
    return run.result is not None and run.result["verdict"] == "pass"
