"""Retention: what is kept and why, the tombstone of what goes, and an end after every kill -9."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from period_samples import Made, hold
from run_samples import Clock, Sample, record, write_plan

from orchestrator.drivers.objectstore import ObjectVersion
from orchestrator.engine import prune
from orchestrator.engine.site_bundles import SiteBundles
from orchestrator.engine.worker import Worker
from orchestrator.evidence import EvidenceStore, LocalSigner, dsse
from orchestrator.evidence.audit import Audit, audit
from orchestrator.evidence.retained import kept, tombstones
from orchestrator.evidence.retained.retention import AtSite, Candidate, required
from orchestrator.evidence.tlog.log import log_of
from orchestrator.model.canonical import canonical
from orchestrator.model.environment import Retention
from orchestrator.model.errors import InfrastructureError, Refused
from orchestrator.model.schedule import applied, expected, parse_schedule

KEY = bytes(range(32))
BEGAN = datetime(2026, 1, 10, 3, 15, tzinfo=UTC)
OLD = Sample(run_id="failover-20260110t031500-0001", started_at=BEGAN, rate=2)
NEWER = replace(OLD, run_id="failover-20260111t031500-0002", started_at=BEGAN + timedelta(days=1))
FAILED = replace(
    OLD, run_id="failover-20260112t031500-0003", started_at=BEGAN + timedelta(days=2), lost=4
)
RULE = Retention(184, 2, 1, 100)
LATE = BEGAN + timedelta(days=150)
NOTHING_THERE: dict[str, AtSite] = {"a": AtSite(), "b": AtSite()}


@pytest.fixture
def signer() -> LocalSigner:
    return LocalSigner(Ed25519PrivateKey.from_private_bytes(KEY))


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed process loses nothing that the kernel has."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def state(tmp_path: Path, signer: LocalSigner) -> Path:
    """Two passed failovers and a failed one, each with its bundle: the first is not needed."""
    state = tmp_path / "state"
    for sample in (OLD, NEWER, FAILED):
        run_dir = record(state, sample, signer)
        bundle = state / "evidence/bundles" / f"{sample.run_id}.zip"
        EvidenceStore(state, signer).export(run_dir, bundle)
    return state


@dataclass
class Answers:
    """What the sites say, and about which runs they were asked."""

    answers: Mapping[str, AtSite] = field(default_factory=lambda: NOTHING_THERE)
    asked: list[str] = field(default_factory=list)

    def ask(self, run_id: str) -> Mapping[str, AtSite]:
        self.asked.append(run_id)
        return self.answers


def decided(
    state: Path,
    *,
    now: datetime = LATE,
    rule: Retention = RULE,
    sites: Answers | None = None,
    before: datetime | None = None,
) -> dict[str, list[str]]:
    """Run id → the codes of why it stays."""
    found = prune.decide(state, "local", rule, sites or Answers(), now, before=before)
    return {one.decision.run_id: [r.code for r in one.decision.reasons] for one in found}


def pruned(state: Path, *, now: datetime = LATE, rule: Retention = RULE) -> list[str]:
    """Do what the command does; the runs that were removed."""
    signer = LocalSigner(Ed25519PrivateKey.from_private_bytes(KEY))
    store = EvidenceStore(state, signer, Clock(now))
    for one in prune.decide(state, "local", rule, Answers(), now):
        if not one.decision.reasons:
            prune.bury(store, state, "local", one, by="operator-1", now=now)
    return [one.run_id for one in prune.sweep(state, "local", prune.kept_keys(state))]


def held(state: Path, run_id: str, signer: LocalSigner, *, on: bool = True) -> None:
    hold(Made(state, signer), run_id, held=on, at=BEGAN + timedelta(days=9))


def audited(state: Path, signer: LocalSigner) -> Audit:
    return audit(state, "local", [signer.public_key])


def codes(state: Path, signer: LocalSigner) -> set[str]:
    return {problem.code for problem in audited(state, signer).problems}


# What stays, and why ---------------------------------------------------------------------------


def test_what_policies_look_at_stays_however_old_it_is(state: Path) -> None:
    assert decided(state) == {
        OLD.run_id: [],
        NEWER.run_id: ["required"],
        FAILED.run_id: ["required"],
    }


def test_a_missed_run_is_not_the_last_that_began() -> None:
    """Else the fact `drill_history` would say that the drill was never begun."""
    failed = Candidate(
        "failed", "failover", "fail", False, BEGAN, BEGAN + timedelta(minutes=1), 100, {}, None
    )
    later = BEGAN + timedelta(days=1)
    missed = replace(failed, run_id="missed", verdict="inconclusive", missed=True, ended_at=later)
    assert set(required([missed, failed])) == {"failed", "missed"}
    assert set(required([failed, replace(missed, missed=False)])) == {"missed"}


def test_a_run_stays_until_its_retention_is_over_and_its_sites_are_not_asked(state: Path) -> None:
    sites = Answers()
    over = BEGAN + timedelta(days=100)
    assert decided(state, now=over, sites=sites)[OLD.run_id] == ["young"]
    assert sites.asked == []
    assert decided(state, now=over + timedelta(minutes=5), sites=sites)[OLD.run_id] == []
    assert sites.asked == [OLD.run_id]


def test_without_a_configured_retention_it_is_seven_years(state: Path) -> None:
    none = replace(RULE, evidence_days=None)
    assert decided(state, rule=none)[OLD.run_id] == ["young"]
    assert decided(state, rule=none, now=BEGAN + timedelta(days=2558))[OLD.run_id] == []


def test_a_retention_that_was_shortened_does_not_shorten_what_was_promised(state: Path) -> None:
    file = state / "runs" / OLD.run_id / "environment.json"
    descriptor = {**json.loads(file.read_text()), "retention": {"evidence_days": 200}}
    file.write_text(json.dumps(descriptor))
    assert decided(state)[OLD.run_id] == ["young"]


def test_before_narrows_and_never_widens(state: Path) -> None:
    assert decided(state, before=BEGAN)[OLD.run_id] == ["not-asked"]
    assert decided(state, before=BEGAN + timedelta(days=1))[OLD.run_id] == []
    early = BEGAN + timedelta(days=50)
    assert decided(state, now=early, before=early)[OLD.run_id] == ["young"]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (AtSite(LATE + timedelta(seconds=1)), "locked"),
        (AtSite(unknown="it is down"), "unknown"),
    ],
)
def test_a_lock_or_a_silent_site_keeps_a_run(state: Path, answer: AtSite, code: str) -> None:
    gone = AtSite(LATE - timedelta(seconds=1))
    assert decided(state, sites=Answers({"a": gone, "b": answer}))[OLD.run_id] == [code]
    assert decided(state, sites=Answers({"a": gone, "b": gone}))[OLD.run_id] == []


def test_a_legal_hold_keeps_a_run_until_it_is_released(state: Path, signer: LocalSigner) -> None:
    held(state, OLD.run_id, signer)
    assert decided(state)[OLD.run_id] == ["held"]
    held(state, OLD.run_id, signer, on=False)
    assert decided(state)[OLD.run_id] == []
    assert audited(state, signer).status == "VALID"


def test_a_hold_whose_statement_is_gone_holds_and_is_named(
    state: Path, signer: LocalSigner
) -> None:
    held(state, OLD.run_id, signer, on=False)
    (file,) = (state / kept.FOLDER).iterdir()
    file.unlink()
    assert decided(state)[OLD.run_id] == ["held"]
    assert codes(state, signer) == {"bad-statement"}


def test_what_has_no_signed_result_in_the_log_stays(state: Path, signer: LocalSigner) -> None:
    planned = replace(OLD, run_id="failover-20260110t041500-0004")
    write_plan(state / "runs" / planned.run_id, planned)
    EvidenceStore(state, signer, Clock(BEGAN + timedelta(days=3))).record_plan(
        state / "runs" / planned.run_id
    )
    forged = state / "runs" / OLD.run_id / "statements/run.dsse.json"
    forged.write_bytes(forged.read_bytes().replace(b'"sig":"', b'"sig":"AA'))
    found = decided(state)
    assert found[planned.run_id] == ["unfinished"]
    assert found[OLD.run_id] == ["not-recorded"]


def test_what_something_keeps_gets_no_tombstone(state: Path, signer: LocalSigner) -> None:
    store = EvidenceStore(state, signer, Clock(LATE))
    for one in prune.decide(state, "local", RULE, Answers(), LATE):
        if one.decision.reasons:
            with pytest.raises(Refused, match="stays"):
                prune.bury(store, state, "local", one, by="x", now=LATE)


# What goes -------------------------------------------------------------------------------------


def test_a_removed_run_leaves_its_tombstone_and_the_log_holds(
    state: Path, signer: LocalSigner
) -> None:
    size = len(log_of(state, "local").entries())
    assert pruned(state) == [OLD.run_id]
    assert not (state / "runs" / OLD.run_id).exists()
    assert not (state / "evidence/bundles" / f"{OLD.run_id}.zip").exists()
    assert (state / "runs" / NEWER.run_id).is_dir()
    found = audited(state, signer)
    assert (found.status, found.problems, len(found.entries)) == ("VALID", (), size + 1)
    (stone,) = found.to_json()["removed"]
    assert (stone["run_id"], stone["drill"], stone["verdict"]) == (OLD.run_id, "failover", "pass")
    assert stone["evidence_days"] == 100
    assert found.to_json()["runs"] == 3
    assert pruned(state) == []
    assert len(log_of(state, "local").entries()) == size + 1


def test_a_directory_that_is_gone_without_a_tombstone_is_still_missed(
    state: Path, signer: LocalSigner
) -> None:
    pruned(state)
    shutil.rmtree(state / "runs" / NEWER.run_id)
    assert codes(state, signer) == {"missing-run"}


def _stone(state: Path) -> Path:
    (file,) = (state / tombstones.FOLDER).iterdir()
    return file


def _resigned(content: bytes) -> bytes:
    other = LocalSigner(Ed25519PrivateKey.generate())
    envelope = dsse.parse(content)
    return dsse.sign(envelope.payload, envelope.payload_type, other).to_bytes()


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.unlink(),
        lambda file: file.write_bytes(file.read_bytes()[:-1]),
        lambda file: file.write_bytes(_resigned(file.read_bytes())),
    ],
    ids=["gone", "torn", "signed by another"],
)
def test_a_tombstone_that_is_gone_or_forged_is_a_problem_and_its_run_is_missing(
    state: Path, signer: LocalSigner, damage: Callable[[Path], None]
) -> None:
    pruned(state)
    damage(_stone(state))
    assert codes(state, signer) == {"bad-tombstone", "missing-run"}


def _buried_by_hand(state: Path, signer: LocalSigner, **more: Any) -> None:
    """Log a tombstone of the old run that says something else, validly signed, and remove it."""
    (chosen,) = [
        one
        for one in prune.decide(state, "local", RULE, Answers(), LATE)
        if one.candidate and not one.decision.reasons
    ]
    assert chosen.candidate is not None
    payload = tombstones.payload_of(
        "local", chosen.candidate, {"a": None, "b": None}, by="mallory", at=LATE
    )
    data = json.loads(payload)
    data["predicate"].update(more)
    kind = kept.ToLog("tombstone", OLD.run_id, canonical(data), None, tombstones.FOLDER)
    EvidenceStore(state, signer, Clock(LATE)).record_statement("local", kind)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"evidenceDays": 200}, {"pruned-early"}),
        ({"endedAt": "2026-05-01T00:00:00.000Z"}, {"pruned-early"}),
        ({"evidenceDays": 151, "endedAt": "2020-01-01T00:00:00.000Z"}, {"pruned-early"}),
        ({"statements": {"plan": "0" * 64, "run": "0" * 64}}, {"bad-tombstone"}),
        ({"runId": NEWER.run_id}, {"bad-tombstone"}),
        ({"environment": "other"}, {"bad-tombstone"}),
        ({"verdict": "excellent"}, {"bad-tombstone"}),
    ],
)
def test_a_tombstone_that_says_otherwise_than_the_log_is_named_and_removes_nothing(
    state: Path, signer: LocalSigner, more: dict[str, Any], expected: set[str]
) -> None:
    _buried_by_hand(state, signer, **more)
    with pytest.raises(InfrastructureError, match="do not hold"):
        prune.sweep(state, "local", prune.kept_keys(state))
    assert (state / "runs" / OLD.run_id).is_dir()
    assert codes(state, signer) == expected


def test_what_was_removed_under_a_hold_is_named(state: Path, signer: LocalSigner) -> None:
    (candidate,) = [
        one.candidate
        for one in prune.decide(state, "local", RULE, Answers(), LATE)
        if one.candidate and not one.decision.reasons
    ]
    held(state, OLD.run_id, signer)
    payload = tombstones.payload_of("local", candidate, {}, by="mallory", at=LATE)
    one = kept.ToLog("tombstone", OLD.run_id, payload, None, tombstones.FOLDER)
    EvidenceStore(state, signer, Clock(LATE)).record_statement("local", one)
    shutil.rmtree(state / "runs" / OLD.run_id)
    assert codes(state, signer) == {"pruned-held"}


def test_a_worker_does_not_run_a_removed_run_again(state: Path, signer: LocalSigner) -> None:
    schedule = parse_schedule(
        "schema: anlan.schedule/v1\ntitle: {en: a, zh: 甲}\n"
        "entries:\n  - {id: nightly, drill: restore, cron: 15 3 * * *}\n"
    )
    begin = BEGAN + timedelta(days=4)
    fresh = state.parent / "scheduled"
    said = applied(schedule, "local", "VIP", "operator-1", begin)
    EvidenceStore(fresh, signer, Clock(begin)).record_schedule(said)
    due = sorted(expected([said], begin, begin + timedelta(days=3)), key=lambda one: one.start)[:2]
    for one in due:
        sample = Sample(drill="restore", run_id=one.run_id, started_at=one.start)
        record(fresh, sample, signer)
    assert pruned(fresh, now=begin + timedelta(days=200)) == [due[0].run_id]
    planned: list[str] = []

    def plan(environment: str, slot: Any, trigger: str) -> Any:
        planned.append(slot.run_id)
        raise InfrastructureError("not here")

    worker = Worker(fresh, plan, lambda run: "", lambda text: None)
    worker.tick(due[1].start + timedelta(minutes=1))
    assert planned == []
    shutil.rmtree(fresh / "runs" / due[1].run_id)
    Worker(fresh, plan, lambda run: "", lambda text: None).tick(due[1].start + timedelta(minutes=1))
    assert planned == [due[1].run_id]


# At the sites ----------------------------------------------------------------------------------


@dataclass
class Shelf:
    """A bucket in memory: version → end of its lock."""

    locks: dict[ObjectVersion, datetime]
    silent: bool = False

    def versions(self) -> list[ObjectVersion]:
        if self.silent:
            raise InfrastructureError("it is down")
        return list(self.locks)

    def locked_until(self, one: ObjectVersion) -> datetime:
        return self.locks[one]

    def remove(self, one: ObjectVersion) -> bool:
        if self.locks[one] >= LATE:
            raise AssertionError("a locked version must not be touched")
        del self.locks[one]
        return True


def version(run_id: str, name: str) -> ObjectVersion:
    return ObjectVersion(f"{run_id}.zip", name, 1, BEGAN, True)


def test_at_a_site_only_versions_of_removed_runs_whose_lock_is_over_go() -> None:
    over, later = LATE - timedelta(days=1), LATE + timedelta(days=1)
    shelf = Shelf(
        {
            version("gone", "1"): over,
            version("gone", "2"): later,
            version("there", "3"): over,
            version("gone-too", "4"): over,
        }
    )
    down = Shelf({}, silent=True)
    sites = SiteBundles({"a": lambda: shelf, "b": lambda: down})
    assert sites.ask("gone") == {"a": AtSite(later), "b": AtSite(unknown="it is down")}
    assert sites.ask("never") == {"a": AtSite(None), "b": AtSite(unknown="it is down")}
    done = sites.remove(["gone"], LATE)
    assert (done["a"].removed, done["a"].locked, done["b"].unknown) == (1, 1, "it is down")
    assert {one.version for one in shelf.locks} == {"2", "3", "4"}


# kill -9 ---------------------------------------------------------------------------------------

# Each line of the log's own writer: test_evidence_store.py.
TRACED = ("engine/prune.py", "evidence/store.py", "evidence/retained/tombstones.py")


def _count_or_die(events_left: int | None) -> Callable[..., Any]:
    """A tracer that kills this process after so many lines; None: counts."""

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if not frame.f_code.co_filename.endswith(TRACED):
            return None
        if event == "line":
            trace.lines += 1  # type: ignore[attr-defined]
            if events_left is not None and trace.lines > events_left:  # type: ignore[attr-defined]
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    trace.lines = 0  # type: ignore[attr-defined]
    return trace


def _remove_traced(state: Path, tracer: Callable[..., Any]) -> None:
    signer = LocalSigner(Ed25519PrivateKey.from_private_bytes(KEY))
    store = EvidenceStore(state, signer, Clock(LATE))
    chosen = [
        one
        for one in prune.decide(state, "local", RULE, Answers(), LATE)
        if not one.decision.reasons
    ]
    keys = prune.kept_keys(state)
    sys.settrace(tracer)
    for one in chosen:
        prune.bury(store, state, "local", one, by="operator-1", now=LATE)
    prune.sweep(state, "local", keys)
    sys.settrace(None)


def test_kill_9_at_any_line_of_removing_ends_the_same_when_it_is_done_again(
    state: Path, tmp_path: Path, signer: LocalSigner
) -> None:
    calm = tmp_path / "calm"
    shutil.copytree(state, calm)
    tracer = _count_or_die(None)
    _remove_traced(calm, tracer)
    lines = tracer.lines  # type: ignore[attr-defined]
    assert lines > 60, "the tracer saw nothing of the removal"
    context = multiprocessing.get_context("fork")
    for events in range(lines):
        killed = tmp_path / "killed"
        # Links will do: a file is replaced or removed, never written to.
        shutil.copytree(state, killed, copy_function=os.link)
        child = context.Process(target=_remove_traced, args=(killed, _count_or_die(events)))
        child.start()
        child.join(30)
        assert child.exitcode == -signal.SIGKILL, f"was not killed at line event {events}"
        pruned(killed, now=LATE + timedelta(hours=1))
        assert _files(killed) == _files(calm), f"differs after a kill at line event {events}"
        found = audited(killed, signer)
        assert (found.status, len(found.removed), len(found.entries)) == ("VALID", 1, 10)
        assert len(list((killed / tombstones.FOLDER).glob("[!.]*"))) == 1
        shutil.rmtree(killed)


def _killed_at_removal(state: Path, number: int) -> None:
    left = number

    def hook(event: str, _: tuple[Any, ...]) -> None:
        nonlocal left
        if event in {"os.remove", "os.rmdir"}:
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    pruned(state)


@pytest.mark.parametrize("number", [0, 1, 9, 17])
def test_a_run_that_was_half_removed_is_no_run_for_anybody_and_goes_the_next_time(
    state: Path, signer: LocalSigner, number: int
) -> None:
    calm = state.parent / "calm"
    shutil.copytree(state, calm)
    pruned(calm)
    child = multiprocessing.get_context("fork").Process(
        target=_killed_at_removal, args=(state, number)
    )
    child.start()
    child.join(30)
    assert child.exitcode == -signal.SIGKILL
    assert (state / "evidence/bundles" / f"{OLD.run_id}.zip").exists()
    there = [run.run_id for run in prune.runs.history(state) if run.state == "finished"]
    assert there[-2:] == [NEWER.run_id, FAILED.run_id]
    assert audited(state, signer).status == "VALID"
    pruned(state, now=LATE + timedelta(hours=1))
    assert _files(state) == _files(calm)
    assert len(audited(state, signer).removed) == 1


def _files(state: Path) -> set[str]:
    """The files but those of the log (an audit looks at it) and the names of tombstones."""
    found = {path.relative_to(state) for path in state.rglob("*") if path.is_file()}
    return {
        path.as_posix()
        for path in found
        if path.parts[:2] not in {("evidence", "log"), ("evidence", "tombstones")}
        and not path.name.startswith(".")
    }
