"""Verify the bundle of a period offline: that each run in it holds, and that none is left out.

What must be in it follows from the log alone, which is in it whole: which runs there were, which
ended, and by the schedules in it which there must have been. Each run is verified as its own
bundle is (`orchestrator.evidence.verify`), one at a time, by as many processes as there are cores.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.evidence import bundle, dsse, layout, patience, schedules, statement
from orchestrator.evidence.bindings import Problem
from orchestrator.evidence.period import bindings as period_bindings
from orchestrator.evidence.period import layout as period_layout
from orchestrator.evidence.period import logged, parallel, stored
from orchestrator.evidence.period.bindings import Asked
from orchestrator.evidence.period.layout import Selection
from orchestrator.evidence.period.runs import Examined, examine, row_of
from orchestrator.evidence.retained import holds, kept, tombstones
from orchestrator.evidence.status import status_of
from orchestrator.evidence.tlog import log, merkle, tiles
from orchestrator.evidence.tlog.entries import Entry, LogError
from orchestrator.evidence.tlog.note import Checkpoint
from orchestrator.evidence.trust import signatures
from orchestrator.evidence.trust import time as trusted_time
from orchestrator.evidence.trust.time import Moment, Vouched
from orchestrator.evidence.trust.values import Trust
from orchestrator.evidence.verification import Expectation, Rederive, Verification
from orchestrator.model.canonical import StrictJsonError, canonical_loads, sha256
from orchestrator.model.errors import InfrastructureError, InputError
from orchestrator.model.fact import parse_timestamp, timestamp
from orchestrator.model.schema import check

if TYPE_CHECKING:
    from orchestrator.model.schedule import Slot


@dataclass(frozen=True)
class Limits:
    """What a period's bundle may hold and cost at most; `run` is for each bundle in it.

    A file that is no run's bundle may have `file_bytes`. `seconds`: for all but the runs.
    """

    file_bytes: int = 256 * 2**20
    seconds: float = 300.0
    run: bundle.Limits = field(default_factory=bundle.Limits)


def is_period(file: Path) -> bool:
    """Whether a file begins as the bundle of a period does, or is too large for a run's.

    So a damaged one is still taken for what it is: a period's begins with its log, a run's never
    does. Raises InputError when it cannot be read.
    """
    try:
        with file.open("rb") as stream:
            begin = stream.read(stored.LOCAL_BYTES + len(period_layout.LOG))
            size = stream.seek(0, os.SEEK_END)
    except OSError as error:
        raise bundle.unreadable(file, error) from error
    return begin.endswith(period_layout.LOG.encode()) or size > bundle.Limits().archive_bytes


def verify_period(
    file: Path,
    trust: Trust,
    rederive: Rederive,
    *,
    expect: Expectation | None = None,
    asked: Asked | None = None,
    limits: Limits | None = None,
    processes: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Verification:
    """Return whether a period's bundle proves what it says; offline, nothing is written.

    `processes`: how many verify runs at once, None for one each core. The answer does not depend
    on it. `progress` is told how many of how many runs are done.
    Statuses as of `verify`; INCOMPLETE also when a run of the log, or one that its schedules made
    due, is not there. Raises InputError when the file cannot be read, InfrastructureError when a
    process of the verification was killed; never for what the file holds.
    """
    limits = limits or Limits()
    try:
        archive = stored.opened(file)
    except bundle.PackageError as error:
        return Verification("INVALID", (Problem(error.code, error.path, str(error)),))
    found = _Period(archive, trust, limits)
    summary: dict[str, Any] = {}
    try:
        with patience.at_most(limits.seconds):
            found.judge(asked or Asked())
        examined = found.runs(rederive, expect, processes or parallel.cores(), progress)
        with patience.at_most(limits.seconds):
            summary = found.conclude(examined, expect, asked or Asked())
    except patience.OutOfPatience:
        found.say("too-costly", "", f"not verified within {limits.seconds:g} s")
    except bundle.PackageError as error:
        found.say(error.code, error.path, str(error))
    except InfrastructureError:
        raise
    except Exception as error:  # noqa: BLE001  (hostile input: whatever it breaks, it is not valid)
        found.say("malformed", "", f"cannot be judged: {error!r}")
    problems = tuple(dict.fromkeys(found.problems))
    return Verification(status_of(one.code for one in problems), problems, summary)


class _Period:
    def __init__(self, archive: stored.Archive, trust: Trust, limits: Limits) -> None:
        self.archive = archive
        self.trust = trust
        self.limits = limits
        self.problems: list[Problem] = []
        self.signers: set[str] = set()
        self.moment = Moment()
        self.manifest: dict[str, Any] = {}
        self.entries: Sequence[Entry] = ()
        self.head: Checkpoint | None = None
        self.selection = Selection({}, {}, {})
        self.planned: list[dict[str, Any]] = []
        self.removed: list[tombstones.Tombstone] = []
        self.missing: list[Slot] = []

    def say(self, code: str, path: str, message: str) -> None:
        self.problems.append(Problem(code, path, message))

    def read(self, path: str) -> bytes:
        return self.archive.read(path, self.limits.file_bytes)

    def judge(self, asked: Asked) -> None:
        """Everything but the runs' own bundles."""
        self._log(asked.known)
        self.manifest = self._manifest()
        if not self.manifest or self.head is None:
            return
        since, until = self._span()
        self.selection = period_layout.select(self.entries, since, until)
        self.problems += period_bindings.check_head(self.manifest, self.head, self.entries)
        self.problems += period_bindings.check_lists(
            self.manifest, self.selection, self.entries, self.archive.members.keys()
        )
        self.planned = [self._plan(*one) for one in self.selection.unfinished.items()]
        self.removed = [*self._tombstones()]
        self.missing = list(self._due(since, until))

    def _span(self) -> tuple[datetime, datetime]:
        return parse_timestamp(self.manifest["since"]), parse_timestamp(self.manifest["until"])

    def _manifest(self) -> dict[str, Any]:
        """The manifest, if it can be read; that it is signed, and the files are its own."""
        for path in sorted(period_layout.OWN):
            if path not in self.archive.members:
                code = "missing-file" if path == layout.MANIFEST else "missing-statement"
                self.say(code, path, "is missing")
                return {}
        content = self.read(layout.MANIFEST)
        signed = self._payload(layout.MANIFEST_ENVELOPE, period_layout.MANIFEST_TYPE)
        if signed is not None and signed != content:
            self.say("manifest-mismatch", layout.MANIFEST, "differs from the signed manifest")
        try:
            data: dict[str, Any] = canonical_loads(content)
            check(data, "period")
            since, until = parse_timestamp(data["since"]), parse_timestamp(data["until"])
        except StrictJsonError as error:
            self.say("not-strict-json", layout.MANIFEST, str(error))
            return {}
        except (InputError, ValueError) as error:
            self.say("malformed", layout.MANIFEST, str(error))
            return {}
        if since >= until:
            self.say("malformed", layout.MANIFEST, "its period ends before it begins")
        self._check_files(data["files"])
        return data

    def _payload(self, path: str, payload_type: str) -> bytes | None:
        """The payload of a well signed envelope; None (and a problem) without one."""
        try:
            envelope = dsse.parse(self.read(path))
        except dsse.SignatureError as error:
            self.say("bad-signature", path, str(error))
            return None
        signed, problems = signatures.check_envelope(
            envelope, payload_type, self.trust, self.moment, path
        )
        self.signers |= {one.key.id for one in signed}
        self.problems += problems
        bad = any(one.code == "bad-signature" for one in problems)
        return None if bad else envelope.payload

    def _check_files(self, files: Sequence[Mapping[str, Any]]) -> None:
        """Every listed file is there, no other is; digests of all but the runs' bundles."""
        listed = Counter(item["path"] for item in files)
        for path, count in listed.items():
            if count > 1:
                self.say("duplicate-entry", path, "listed twice in the manifest")
            if path not in self.archive.members:
                self.say("missing-file", path, "listed in the manifest, not there")
        for path in sorted(set(self.archive.members) - set(listed) - period_layout.OWN):
            self.say("extra-file", path, "is not in the signed manifest")
        for item in files:
            path = item["path"]
            if path in self.archive.members and not path.startswith(period_layout.RUNS):
                content = self.read(path)
                if (sha256(content), len(content)) != (item["sha256"], item["size_bytes"]):
                    self.say("digest-mismatch", path, "differs from its digest")

    def _log(self, known: Checkpoint | None) -> None:
        """Verify the whole log, and that it continues a checkpoint that the auditor kept."""

        def read(path: str) -> bytes | None:
            name = f"{period_layout.LOG}{path}"
            return self.read(name) if name in self.archive.members else None

        name = f"{period_layout.LOG}{tiles.CHECKPOINT}"
        try:
            self.entries, self.head = log.verify(read, self.trust.keys, known)
        except LogError as error:
            self.say(error.code, name, str(error))
        except dsse.UntrustedError as error:
            self.say("untrusted-signer", name, str(error))
        if self.head is not None:
            self._vouched(self.head, name)

    def _vouched(self, head: Checkpoint, name: str) -> None:
        """The head is signed and vouched for as is trusted; all that it holds was there by then."""
        witnesses, problems = trusted_time.witnesses_of(head, self.trust, name)
        seen = Vouched(witnesses).witnessed(self.trust.thresholds)
        self.moment = Moment(self.entries[-1].time if self.entries else None, seen, seen)
        _, more = signatures.check_checkpoint(head, self.trust, self.moment, name)
        self.problems += problems + more

    def _plan(self, run_id: str, entry: Entry) -> dict[str, Any]:
        """What the signed plan of an unfinished run says."""
        path = period_layout.plan_path(run_id)
        row = {"run_id": run_id, "drill": "", "planned_at": entry.time_text}
        if path not in self.archive.members:  # said already
            return row
        payload = self._payload(path, statement.PAYLOAD_TYPE)
        if payload is not None:
            environment = self.manifest["environment"]
            self.problems += period_bindings.check_plan(payload, path, entry, environment)
            with contextlib.suppress(ValueError, KeyError, TypeError):  # said already
                row["drill"] = period_layout.drill_of(payload)
        return row

    def _tombstones(self) -> Iterator[tombstones.Tombstone]:
        """What the tombstones of the period's removed runs say."""
        for run_id, before in period_layout.before_removal(self.entries, self.selection).items():
            entry = self.selection.removed[run_id]
            path = period_layout.tombstone_path(entry)
            if path not in self.archive.members:
                continue  # said already
            payload = self._payload(path, statement.PAYLOAD_TYPE)
            try:
                found = kept.parse(self.read(path))
                stone = tombstones.of_run(found, self.manifest["environment"], entry, before)
            except ValueError as error:
                self.say("bad-tombstone", path, str(error))
                continue
            if payload is not None:
                hold = self._hold(before[holds.KIND]) if holds.KIND in before else None
                self.problems += tombstones.early(stone, entry, before, hold, path)
                yield stone

    def _hold(self, entry: Entry) -> holds.Hold | None:
        """What an entry says about holding its run; None (and a problem) when it cannot be read."""
        path = period_layout.hold_path(entry)
        if path not in self.archive.members:
            return None  # said already
        self._payload(path, statement.PAYLOAD_TYPE)
        try:
            return holds.of_run(kept.parse(self.read(path)), entry)
        except ValueError as error:
            self.say("bad-statement", path, str(error))
            return None

    def _due(self, since: datetime, until: datetime) -> Iterator[Slot]:
        """The runs that the schedules of the log made due in the period and it does not have."""
        records: list[dict[str, Any]] = []
        for entry in self.entries:
            path = period_layout.schedule_path(entry)
            if entry.kind != schedules.KIND or path not in self.archive.members:
                continue  # missing: said already
            try:
                self._payload(path, statement.PAYLOAD_TYPE)
                environment = self.manifest["environment"]
                record = schedules.record_of(self.read(path), environment, entry, None)
            except (InputError, ValueError, KeyError, TypeError) as error:
                self.say("bad-schedule", path, str(error))
                continue
            records.append(record)
        for slot in schedules.overdue(records, self.entries, since, until):
            message = (
                f"{slot.drill} was due at {timestamp(slot.start)} (entry {slot.entry} of the "
                "schedule); the log has neither a run nor its miss"
            )
            self.say(schedules.MISSING, period_layout.run_path(slot.run_id), message)
            yield slot

    def runs(
        self,
        rederive: Rederive,
        expect: Expectation | None,
        processes: int,
        progress: Callable[[int, int], None],
    ) -> dict[str, Examined]:
        """What each run's bundle comes to."""
        listed = {
            item["path"]: (item["sha256"], item["size_bytes"])
            for item in self.manifest.get("files", ())
        }
        tasks = [
            (run_id, listed.get(path))
            for run_id in self.selection.finished
            if (path := period_layout.run_path(run_id)) in self.archive.members
        ]
        rule = expect.approvals if expect else None
        work = partial(
            examine,
            archive=self.archive,
            trust=replace(self.trust, max_age_days=None),  # of the period it is asked
            rederive=rederive,
            rule=rule,
            limits=self.limits.run,
        )
        found: dict[str, Examined] = {}
        for one in parallel.spread(work, tasks, processes):
            found[one.run_id] = one
            progress(len(found), len(tasks))
        return found

    def conclude(
        self, examined: Mapping[str, Examined], expect: Expectation | None, asked: Asked
    ) -> dict[str, Any]:
        """Hold the runs against the log; return the summary."""
        if not self.manifest or (head := self.head) is None:
            return {}
        subtree = merkle.subtrees_of([merkle.leaf_hash(entry.leaf) for entry in self.entries])
        root_at = partial(merkle.root, subtree=subtree)
        of_run: dict[str, dict[str, Entry]] = {}
        for entry in self.entries:
            of_run.setdefault(entry.run_id, {}).setdefault(entry.kind, entry)
        environment = self.manifest["environment"]
        for run_id in self.selection.finished:
            if (one := examined.get(run_id)) is None:
                continue
            problems = list(one.verification.problems)
            if one.said is not None:
                problems += logged.check_said(one.said, of_run[run_id], head, root_at)
                if one.said.run_id != run_id:
                    problems.append(Problem("other-run", "", f"is of run {one.said.run_id!r}"))
                if one.said.environment != environment:
                    message = f"is of {one.said.environment!r}, the period of {environment!r}"
                    problems.append(Problem("other-environment", "", message))
            path = period_layout.run_path(run_id)
            for problem in dict.fromkeys(problems):
                inner = f"{path}!{problem.path}" if problem.path else path
                self.problems.append(replace(problem, path=inner))
        self.problems += period_bindings.check_asked(
            self.manifest, expect, asked, self.trust, self.moment.time
        )
        return self._summary(examined, head)

    def _summary(self, examined: Mapping[str, Examined], head: Checkpoint) -> dict[str, Any]:
        rows = [row_of(run_id, examined.get(run_id)) for run_id in self.selection.finished]
        signers = {s for one in examined.values() for s in one.verification.summary["signers"]}
        return {
            "environment": self.manifest["environment"],
            "since": self.manifest["since"],
            "until": self.manifest["until"],
            "verdicts": dict(sorted(Counter(row["verdict"] for row in rows).items())),
            "runs": rows,
            "unfinished": self.planned,
            "removed": [one.to_json() for one in self.removed],
            "missing": [
                {"run_id": one.run_id, "drill": one.drill, "due_at": timestamp(one.start)}
                for one in self.missing
            ],
            "origin": head.origin,
            "log_size": head.size,
            "root": head.root.hex(),
            "files": len(self.archive.members),
            "signers": sorted(self.signers | signers),
        }
