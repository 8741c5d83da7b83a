"""Approvals: k signatures of listed persons over this plan, none by who planned it."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from run_samples import ENVIRONMENT, Sample, dump, make_plan

from orchestrator.engine import permit, runs
from orchestrator.evidence import LocalSigner, dsse, statement
from orchestrator.evidence.persons.approvals import check_rule, decide, judge
from orchestrator.model.canonical import canonical
from orchestrator.model.errors import InputError, Refused
from orchestrator.verdict import derive
from orchestrator.verdict.permission import why_not

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
KEYS = {name: LocalSigner(Ed25519PrivateKey.generate()) for name in ("li-wei", "wang", "chen")}
USERS = {"chen": "operator-1"}
WINDOW = {"days": ["sat"], "from": "11:00", "until": "13:00"}


def rule(required: int = 2, **more: Any) -> dict[str, Any]:
    approvers = [
        {"name": name, "user": USERS.get(name, name), "public_key": key.public_key_pem()}
        for name, key in KEYS.items()
    ]
    return {
        "schema": "anlan.approvals/v1",
        "required": required,
        "approvers": approvers,
        **more,
    }


def plan(run_id: str = "20261128-failover-a", **more: Any) -> dict[str, Any]:
    made = make_plan(Sample(run_id=run_id), dump(ENVIRONMENT), b"name: failover\n")
    return {**made, "approvals": rule(**more)}


def word(of: str, about: dict[str, Any], say: Any = "approve", key: str = "") -> dict[str, Any]:
    name, envelope = decide(about, say, KEYS[key or of], "because", NOW)
    assert name == (key or of)
    parsed: dict[str, Any] = json.loads(envelope)
    return parsed


def forged(of: str, about: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """A word whose predicate was changed, validly signed."""
    data = json.loads(dsse.parse(canonical(word(of, about))).payload)
    data["predicate"] |= changed
    signed = dsse.sign(canonical(data), statement.PAYLOAD_TYPE, KEYS[of]).to_bytes()
    parsed: dict[str, Any] = json.loads(signed)
    return parsed


def lack(about: dict[str, Any], *names: str) -> str:
    return judge(about, {name: word(name, about) for name in names}).lack(about)


def test_a_plan_is_approved_by_enough_who_did_not_plan_it() -> None:
    assert lack(plan(), "li-wei", "wang") == ""
    assert lack(plan(), "li-wei") == "not approved: 1 of 2 (li-wei); missing: one of wang"
    assert lack(plan()) == "not approved: 0 of 2; missing: one of li-wei, wang"
    assert lack(plan(required=0)) == ""


def test_who_planned_it_does_not_count_by_account_nor_by_name() -> None:
    by_account = plan()
    assert by_account["operator"] == USERS["chen"]
    assert "1 of 2 (li-wei); chen planned it" in lack(by_account, "li-wei", "chen")
    scheduled = {**plan(), "scheduled": {"applied_by": "wang"}}
    assert "1 of 2 (li-wei); wang planned it" in lack(scheduled, "li-wei", "wang")
    by_name = {**plan(), "operator": "wang"}
    assert "1 of 2 (li-wei); wang planned it" in lack(by_name, "li-wei", "wang")


def test_one_rejection_outweighs_every_approval() -> None:
    about = plan()
    said = {name: word(name, about) for name in ("li-wei", "wang")}
    found = judge(about, {**said, "chen": word("chen", about, "reject")})
    assert found.lack(about) == "rejected by chen: because"


@pytest.mark.parametrize(
    ("name", "make", "code"),
    [
        ("wang", lambda about: word("wang", {**about, "impact": "none"}), "approval-other-plan"),
        ("wang", lambda _: word("wang", plan("20261128-failover-b")), "approval-other-plan"),
        ("wang", lambda about: word("wang", about, key="li-wei"), "approval-foreign"),
        ("mallory", lambda about: word("wang", about), "approval-unlisted"),
        ("wang", lambda about: {**word("wang", about), "payload": "e30="}, "approval-signature"),
        ("wang", lambda about: forged("wang", about, decision="perhaps"), "approval-malformed"),
        ("wang", lambda about: forged("wang", about, reason=7), "approval-malformed"),
        ("wang", lambda about: forged("wang", about, approver="li-wei"), "approval-malformed"),
        ("wang", lambda about: forged("wang", about, at="today"), "approval-malformed"),
        ("wang", lambda about: forged("wang", about, more=1), "approval-malformed"),
        ("wang", lambda _: ["nonsense"], "approval-malformed"),
    ],
)
def test_what_is_no_approval_of_this_plan_is_named_and_stops_it(
    name: str, make: Any, code: str
) -> None:
    about = plan(required=1)
    found = judge(about, {"li-wei": word("li-wei", about), name: make(about)})
    assert [one.code for one in found.problems] == [code]
    assert found.approved == ("li-wei",)
    assert name in found.lack(about)


def test_a_statement_of_another_kind_by_an_approver_is_no_approval() -> None:
    about = plan(required=1)
    data = json.loads(dsse.parse(canonical(word("wang", about))).payload)
    data["predicateType"] = statement.PREDICATES["plan"]
    signed = dsse.sign(canonical(data), statement.PAYLOAD_TYPE, KEYS["wang"]).to_bytes()
    found = judge(about, {"wang": json.loads(signed)})
    assert [one.code for one in found.problems] == ["approval-malformed"]


def test_a_key_of_nobody_signs_nothing() -> None:
    stranger = LocalSigner(Ed25519PrivateKey.generate())
    with pytest.raises(Refused, match="no approver"):
        decide(plan(), "approve", stranger, "", NOW)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (lambda r: r.update(required=4), "$.required"),
        (lambda r: r["approvers"].append({**r["approvers"][0], "user": "x"}), "$.approvers"),
        (lambda r: r["approvers"][1].update(user="li-wei"), "$.approvers"),
        (
            lambda r: r["approvers"][1].update(public_key=r["approvers"][0]["public_key"]),
            "$.approvers",
        ),
        (lambda r: r["approvers"][1].update(public_key="?"), "$.approvers[1].public_key"),
        (
            lambda r: r.update(change_windows=[{**WINDOW, "timezone": "Mars/Base"}]),
            "$.change_windows[0]",
        ),
        (
            lambda r: r.update(change_windows=[{**WINDOW, "until": "11:00"}]),
            "$.change_windows[0]",
        ),
        (lambda r: r.update(change_windows=[{**WINDOW, "from": 660}]), "$.change_windows[0].from"),
        (lambda r: r.pop("required"), "$"),
    ],
)
def test_a_rule_that_cannot_be_followed_is_refused_by_its_place(change: Any, path: str) -> None:
    broken = rule()
    change(broken)
    with pytest.raises(InputError) as refused:
        check_rule(broken, file="rule.yaml")
    assert (refused.value.file, refused.value.path) == ("rule.yaml", path)


@pytest.fixture
def run(tmp_path: Path) -> runs.Run:
    return runs.create(tmp_path, plan(), "name: failover\n", dump(ENVIRONMENT), {})


def test_an_approval_counts_once_however_often_it_is_given(run: runs.Run) -> None:
    for new in (True, False):
        _, envelope = decide(run.plan, "approve", KEYS["li-wei"], "", NOW)
        assert permit.add(run, envelope) == ("li-wei", new)
    assert permit.decisions(run).approved == ("li-wei",)
    assert "1 of 2" in permit.refusal(run, NOW)


def test_two_approvers_at_once_are_both_kept(run: runs.Run) -> None:
    words = [decide(run.plan, "approve", KEYS[name], "", NOW)[1] for name in ("li-wei", "wang")]
    threads = [threading.Thread(target=permit.add, args=(run, one)) for one in words]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert permit.decisions(run).approved == ("li-wei", "wang")
    assert permit.refusal(run, NOW) == ""


def test_a_rejection_is_final_and_may_follow_an_approval(run: runs.Run) -> None:
    permit.add(run, decide(run.plan, "approve", KEYS["wang"], "", NOW)[1])
    permit.add(run, decide(run.plan, "reject", KEYS["wang"], "payroll", NOW)[1])
    assert permit.rejection(run) == "rejected by wang: payroll"
    with pytest.raises(Refused, match="payroll"):
        permit.add(run, decide(run.plan, "approve", KEYS["wang"], "", NOW)[1])


def test_an_approval_of_another_run_is_not_kept(run: runs.Run) -> None:
    foreign = decide(plan("20261128-failover-b"), "approve", KEYS["wang"], "", NOW)[1]
    with pytest.raises(InputError, match="another plan, of run '20261128-failover-b'"):
        permit.add(run, foreign)
    with pytest.raises(InputError, match="not a signed approval"):
        permit.add(run, b"nonsense")
    assert permit.decisions(run).approved == ()


def test_a_run_that_has_begun_takes_no_approval_any_more(run: runs.Run) -> None:
    run.journal.open_attempt()
    envelope = decide(run.plan, "approve", KEYS["wang"], "", NOW)[1]
    with pytest.raises(Refused, match="has begun"):
        permit.add(run, envelope)


def test_a_plan_that_was_changed_after_its_approval_has_none(run: runs.Run) -> None:
    for name in ("li-wei", "wang"):
        permit.add(run, decide(run.plan, "approve", KEYS[name], "", NOW)[1])
    file = run.directory / "plan.json"
    file.write_bytes(dump({**run.plan, "parameters": {"site": "b"}}))
    assert "another plan" in permit.refusal(run.reload(), NOW)


def test_an_approved_run_waits_for_its_window() -> None:
    about = plan(required=0, change_windows=[WINDOW])
    said = judge(about, {})
    assert why_not(about, said, NOW) == ""
    late = NOW.replace(hour=13)
    expected = "outside of the change windows; the next opens 2026-12-05T11:00Z"
    assert why_not(about, said, late) == expected


def derived(about: dict[str, Any], began: datetime, *names: str) -> dict[str, Any]:
    """The checks of a run whose first step began."""
    step = about["steps"][0]["id"]
    journal = [
        {"kind": "header", "t": 0, "boot_id": "b", "utc": began.isoformat()},
        {"kind": "begin", "t": 1, "step": step},
        {"kind": "end", "t": 2, "step": step, "status": "done", "error": ""},
    ]
    raw = {f"approvals/{name}": word(name, about) for name in names}
    result = derive(about, {"steps": journal, **raw})
    return {one["name"]: one["ok"] for one in result["checks"]} | {"verdict": result["verdict"]}


def test_the_verdict_of_a_run_tells_whether_it_was_permitted() -> None:
    about = plan(change_windows=[WINDOW])
    good = derived(about, NOW, "li-wei", "wang")
    assert (good["approved"], good["in_change_window"]) == (True, True)
    alone = derived(about, NOW, "li-wei")
    assert (alone["approved"], alone["verdict"]) == (False, "fail")
    late = derived(about, NOW.replace(hour=13), "li-wei", "wang")
    assert (late["in_change_window"], late["verdict"]) == (False, "fail")


def test_a_run_that_never_began_needs_no_approval_for_its_verdict() -> None:
    about = plan()
    journal = [
        {"kind": "header", "t": 0, "boot_id": "b", "utc": NOW.isoformat()},
        {"kind": "missed", "t": 1, "reason": "not approved: 1 of 2"},
    ]
    found = derive(about, {"steps": journal, "approvals/wang": word("wang", about)})
    assert (found["verdict"], found["checks"]) == ("inconclusive", [])
    assert found["reasons"][0] == "missed: not approved: 1 of 2"
