"""A report over a period: what it finds in the runs, and what it never hides."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from period_report_samples import SINCE, UNTIL, Maker, empty, quarter, record_of

from orchestrator.evidence import LocalSigner, layout
from orchestrator.evidence.persons.approvals import decide
from orchestrator.model.errors import InputError
from orchestrator.model.period import Due, Period, Planned, Removed
from orchestrator.report.build import build
from orchestrator.report.period.build import build_period
from orchestrator.report.period.view import PeriodView

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def period(tmp_path_factory: pytest.TempPathFactory) -> Period:
    return quarter(tmp_path_factory.mktemp("quarter"))


@pytest.fixture(scope="module")
def view(period: Period) -> PeriodView:
    return build_period(period)


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return Maker(tmp_path, LocalSigner(Ed25519PrivateKey.generate()))


def made(maker: Maker, **changes: Any) -> PeriodView:
    return build_period(replace(empty(), runs=maker.runs(), **changes))


def test_each_run_says_what_its_own_report_says(period: Period, view: PeriodView) -> None:
    assert len(view.runs) == len(period.runs) == 18
    for run in view.runs:
        own = build(period.runs[run.run_id])
        assert (run.drill, run.title, run.tier) == (own.drill, own.title, own.tier)
        assert (run.started_at, run.ended_at) == (own.started_at, own.ended_at)
        assert run.verdict in {own.verdict, "missed"}
        assert (run.rto_seconds, run.rpo_seconds) == (own.rto_seconds, own.rpo_seconds)
        assert run.rpo_transactions == own.rpo_transactions
        assert (run.reasons, run.compliance) == (own.reasons, own.compliance)
        assert [(one.name, one.measured, one.met) for one in run.targets] == [
            (one.name, one.measured, one.met) for one in own.targets
        ]
        assert run.entries == own.evidence.log


def test_what_is_not_there_or_proved_nothing_comes_first(view: PeriodView) -> None:
    kinds = [one.kind for one in view.attention]
    assert kinds == [
        "missing",
        "missed",
        "unfinished",
        "failed",
        "failed",
        "inconclusive",
        "removed",
    ]
    missed = view.attention[1]
    assert missed.text["en"] == "missed: the environment was locked"
    assert view.programme == "fail"
    assert [one.kind for one in view.actions] == ["missing", "unfinished"]


def test_every_due_run_is_counted_once(view: PeriodView) -> None:
    due = view.due
    assert (due.due, due.done, due.missed, due.missing, due.unfinished) == (19, 16, 1, 1, 1)
    for one in (due, *view.calendar, *view.by_tier):
        undone = one.missed + one.missing + one.unfinished + one.removed + one.pending
        assert one.due == one.done + undone
    assert due.unplanned == 1
    assert {one.name: one.due for one in view.calendar} == {
        "backup": 6,
        "failover": 13,
        "restore": 0,
    }
    assert sum(month.due for month in view.months) == due.due
    assert sum(month.done for month in view.months) == due.done
    assert [month.month for month in view.months] == ["2026-10", "2026-11", "2026-12"]


def test_a_slot_at_the_begin_is_in_the_period_and_one_at_its_end_is_not(view: PeriodView) -> None:
    schedule = record_of()
    schedule["schedule"]["entries"] = [{"id": "x", "drill": "backup", "cron": "0 0 1 * *"}]
    found = build_period(empty(schedules=(schedule,)))
    assert [one.due_at[:10] for one in found.slots] == ["2026-10-01", "2026-11-01", "2026-12-01"]
    assert found.programme == "unknown"


def test_a_failure_lasts_until_the_next_pass_of_the_same_drill(view: PeriodView) -> None:
    (repair,) = view.repairs
    assert repair.drill == "failover"
    assert repair.runs_failed == 2
    failed = next(run for run in view.runs if run.run_id == repair.failed_run)
    passed = next(run for run in view.runs if run.run_id == repair.passed_run)
    assert (failed.verdict, passed.verdict) == ("fail", "pass")
    assert repair.repair_seconds == pytest.approx(14 * DAY.total_seconds(), abs=60)
    assert view.drill_repair.mean_seconds == repair.repair_seconds
    assert (view.drill_repair.repaired, view.drill_repair.open) == (1, 0)


def test_a_finding_is_open_from_run_to_run_and_closed_by_the_one_that_satisfies(
    maker: Maker,
) -> None:
    for day in (0, 7, 14):
        maker.run(f"failover-weak-{day}", SINCE + day * DAY, weak_tls=True)
    maker.run("failover-repaired", SINCE + 21 * DAY)
    maker.run("failover-blind", SINCE + 28 * DAY, "inconclusive")
    view = made(maker)
    still_open, closed = view.findings
    assert (closed.policy, closed.runs, closed.before) == ("tls-version", 3, True)
    assert closed.closed_by == "failover-repaired"
    assert closed.repair_seconds == pytest.approx(21 * DAY.total_seconds(), abs=60)
    assert (still_open.policy, still_open.status) == ("audit-retention", "unknown")
    assert still_open.closed_at is None
    assert not still_open.before
    assert still_open.age_days == pytest.approx((UNTIL - SINCE).days - 28, abs=0.01)
    assert [(one.up_to_days, one.count) for one in view.ages] == [
        (7, 0),
        (30, 0),
        (90, 1),
        (None, 0),
    ]
    assert [month.open_at_end for month in view.months] == [1, 1, 1]
    assert [month.opened for month in view.months] == [2, 0, 0]


def test_a_run_that_proved_nothing_neither_repairs_nor_ends_a_failure(maker: Maker) -> None:
    maker.run("failover-failed", SINCE, "failed by loss")
    maker.run("failover-blind", SINCE + DAY, "inconclusive")
    view = made(maker)
    assert view.recovery == "fail"
    (drill,) = view.drills
    assert (drill.state, drill.last_verdict) == ("fail", "inconclusive")
    (repair,) = view.repairs
    assert repair.passed_run is None
    assert view.drill_repair.open == 1


@pytest.mark.parametrize("what", ["missing", "unfinished", "missed"])
def test_a_pass_before_something_that_is_not_known_proves_nothing_any_more(
    maker: Maker, what: str
) -> None:
    maker.run("failover-passed", SINCE)
    later = SINCE + 7 * DAY
    assert made(maker).recovery == "pass"
    changes: dict[str, Any] = {}
    if what == "missing":
        changes = {"missing": (Due("failover-gone", "failover", later),)}
    elif what == "unfinished":
        changes = {"unfinished": (Planned("failover-gone", "failover", later),)}
    else:
        maker.missed("failover-gone", "failover", later, "no worker")
    view = made(maker, **changes)
    assert view.recovery == "unknown"
    assert view.attention[0].about == "failover-gone"
    assert view.actions


def test_an_empty_period_claims_nothing() -> None:
    view = build_period(empty())
    assert (view.recovery, view.compliance, view.programme) == ("none", "not-judged", "none")
    assert not view.attention
    assert not view.runs
    assert view.availability is None
    assert view.recorded_until is None
    assert view.coverage == ()
    assert view.finding_repair.mean_seconds is None


def test_a_drill_that_only_ever_was_missing_is_no_pass() -> None:
    view = build_period(
        empty(missing=(Due("restore-gone", "restore", SINCE + DAY),), schedules=(record_of(),))
    )
    (drill,) = view.drills
    assert (drill.state, drill.last_verdict, drill.open_after) == (
        "unknown",
        None,
        ("restore-gone",),
    )
    assert view.recovery == "unknown"
    assert view.programme == "fail"
    assert view.due.missing == 1
    assert view.by_tier[0].name == "VIP"


def test_a_removed_run_is_said_and_never_counted_as_done() -> None:
    gone = Removed("restore-old", "restore", UNTIL - DAY, "retention over")
    view = build_period(empty(removed=(gone,)))
    assert [one.kind for one in view.attention] == ["removed"]
    assert view.due.done == 0


def test_targets_are_counted_by_tier_and_not_measured_is_not_met(view: PeriodView) -> None:
    rto = next(one for one in view.sla if one.target == "rto_seconds")
    assert rto.tier == "VIP"
    having = [run for run in view.runs if any(t.name == "rto_seconds" for t in run.targets)]
    assert rto.met + rto.missed + rto.not_observed == len(having) == 12
    assert (rto.met, rto.not_observed) == (10, 2)
    lost = next(one for one in view.sla if one.target == "rpo_transactions")
    assert (lost.missed, lost.worst) == (1, 4)
    totals = [
        sum(getattr(month, name) for month in view.months)
        for name in ("targets_met", "targets_missed", "targets_not_observed")
    ]
    assert totals == [
        sum(getattr(one, name) for one in view.sla) for name in ("met", "missed", "not_observed")
    ]


def test_availability_is_what_clients_wrote_in_drills(period: Period, view: PeriodView) -> None:
    assert view.availability is not None
    tried = acknowledged = 0
    for files in period.runs.values():
        for line in files.get("raw/availability.jsonl", b"").splitlines():
            kind = json.loads(line)["kind"]
            tried += kind in {"ok", "error"}
            acknowledged += kind == "ok"
    assert (view.availability.tried, view.availability.acknowledged) == (tried, acknowledged)
    assert view.measured_runs == 10
    one = next(run for run in view.runs if run.drill == "failover" and run.verdict == "pass")
    assert one.availability is not None
    own = build(period.runs[one.run_id])
    assert one.availability.longest_outage_seconds == own.outages[0].seconds


def test_a_line_that_a_kill_tore_changes_nothing(period: Period, view: PeriodView) -> None:
    run = next(run for run in view.runs if run.availability)
    files = dict(period.runs[run.run_id])
    files["raw/availability.jsonl"] += b'{"kind":"ok","t":99'
    found = build_period(replace(period, runs={run.run_id: files}))
    assert found.runs[0].availability == run.availability


def test_controls_without_evidence_are_listed_and_evidence_is_named(view: PeriodView) -> None:
    (law,) = view.coverage
    (control,) = law.controls
    assert control.status == "satisfied"
    last = next(one for one in view.policies if one.policy == "audit-retention")
    assert control.runs == (last.run_id,)
    assert law.satisfied + law.not_satisfied + law.not_proven + law.without == len(law.controls)


def test_facts_that_ran_out_before_the_end_are_marked(period: Period, view: PeriodView) -> None:
    assert all(one.lapsed for one in view.policies)
    soon = build_period(replace(period, until=datetime(2026, 12, 26, 4, tzinfo=UTC)))
    assert soon.policies
    assert not any(one.lapsed for one in soon.policies)


def test_who_approved_is_who_signed_and_counts(maker: Maker) -> None:
    key = LocalSigner(Ed25519PrivateKey.generate())
    rule = {
        "schema": "anlan.approvals/v1",
        "required": 1,
        "approvers": [{"name": "li-hua", "public_key": key.public_key_pem()}],
    }
    maker.run("failover-asked", SINCE, rule=rule)
    maker.run("failover-free", SINCE + DAY)
    (asked, files), (free, other) = maker.runs().items()
    name, envelope = decide(json.loads(files[layout.PLAN]), "approve", key, "", SINCE)
    said = {**files, f"{layout.APPROVALS}{name}.json": envelope}
    found = {
        run.run_id: (run.approval, run.approved_by)
        for run in build_period(empty(runs={asked: said, free: other})).runs
    }
    assert found == {asked: ("given", ("li-hua",)), free: ("not-required", ())}
    (lacking,) = build_period(empty(runs={asked: files})).runs
    assert (lacking.approval, lacking.approved_by) == ("lacking", ())


def test_a_waived_policy_is_shown_and_satisfies_nothing(maker: Maker) -> None:
    maker.run("failover-weak", SINCE, weak_tls=True)
    (files,) = maker.runs().values()
    findings, run = (json.loads(files[path]) for path in (layout.FINDINGS, layout.RUN))
    for one in findings["findings"]:
        if one["status"] == "not-satisfied":
            one["waivers"] = [
                {
                    "subject": "common/front-door",
                    "owner": "Li Hua",
                    "reason": "the vendor's client",
                    "until": "2027-01-31T23:59:59.000Z",
                    "digest": "0" * 64,
                }
            ]
            run["derived"]["waived"] = [{"policy": one["policy"], "status": one["status"]}]
    changed = {
        **files,
        layout.FINDINGS: json.dumps(findings).encode(),
        layout.RUN: json.dumps(run).encode(),
    }
    view = build_period(empty(runs={"failover-weak": changed}))
    assert view.compliance == "not-compliant"
    assert [one.kind for one in view.attention] == ["waived"]
    assert "Li Hua" in view.attention[0].text["en"]
    assert [one.kind for one in view.actions] == ["waiver"]


@pytest.mark.parametrize(
    "damage",
    [
        {layout.RUN: b"{}"},
        {layout.PLAN: b"[]"},
        {layout.FINDINGS: b'{"findings": 1}'},
        {layout.FINDINGS: b"no json"},
    ],
)
def test_a_run_whose_files_are_none_is_named(period: Period, damage: Mapping[str, bytes]) -> None:
    run_id, files = next(iter(period.runs.items()))
    with pytest.raises(InputError) as error:
        build_period(replace(period, runs={run_id: {**files, **damage}}))
    assert run_id in (error.value.file or "")


def test_one_run_is_asked_for_at_a_time(period: Period) -> None:
    class Once(dict[str, Mapping[str, bytes]]):
        asked: int = 0

        def items(self) -> Any:
            for key in self:
                Once.asked += 1
                yield key, self[key]

    done: list[tuple[int, int]] = []
    build_period(
        replace(period, runs=Once(period.runs)), progress=lambda n, of: done.append((n, of))
    )
    assert Once.asked == len(period.runs)
    assert done[-1] == (18, 18)
