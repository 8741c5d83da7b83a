"""What is derived from a run's raw data: a pass needs everything observed and every target met."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.verdict import derive

S = 1_000_000_000
BOOT = "boot-1"
STEPS = [("check", "prepare"), ("kill", "fault"), ("promote", "recover"), ("verify", "verify")]


def policy(status: str, *waived: str) -> dict[str, Any]:
    """A finding about the subjects a and b; `waived` of them."""
    return {
        "policy": "clocks",
        "status": status,
        "observations": [{"subject": subject, "status": status} for subject in "ab"],
        "waivers": [{"subject": subject} for subject in waived],
    }


FINDINGS = {"findings": [policy("satisfied"), policy("satisfied")]}


def plan(**targets: float) -> dict[str, Any]:
    wanted = targets or {"rto_seconds": 30, "rpo_seconds": 0, "rpo_transactions": 0}
    return {
        "run_id": "failover-1",
        "targets": wanted,
        "steps": [
            {
                "id": name,
                "do": name,
                "phase": phase,
                "needs": [STEPS[number - 1][0]] if number else [],
            }
            for number, (name, phase) in enumerate(STEPS)
        ],
    }


def header(probe: str, boot: str = BOOT, **settings: Any) -> dict[str, Any]:
    return {
        "kind": "header",
        "schema": "anlan.journal/v1",
        "probe": probe,
        "run": "failover-1",
        "boot_id": boot,
        "t": 0,
        "utc": "2026-11-25T00:00:00+00:00",
        "settings": settings,
    }


def watched(site: str, second: int, writable: bool | None) -> dict[str, Any]:
    """What the watch on the primaries was told (None: nothing)."""
    moments = {"site": site, "asked": second * S, "t": second * S + 1}
    if writable is None:
        return {"kind": "no_answer", "error": "refused", **moments}
    return {"kind": "answer", "writable": writable, **moments}


def good() -> dict[str, Any]:
    """A failover: fault at 10 s, the last key acknowledged before it, first ERP write at 12.5 s."""
    steps = [header("steps")]
    for second, (name, _) in zip((0, 10, 11, 20), STEPS, strict=True):
        steps.append({"kind": "begin", "step": name, "t": second * S})
        if name == "kill":
            steps.append({"kind": "mark", "name": "fault", "t": 10 * S})
            steps.append({"kind": "mark", "name": "fault_done", "t": 10 * S + 1000})
        if name == "promote":
            steps.append({"kind": "mark", "name": "detected", "t": 11 * S})
            steps.append({"kind": "mark", "name": "promoted", "t": 12 * S})
        if name == "verify":
            check = {"step": name, "name": "balance", "ok": True, "detail": "0 of 9"}
            steps.append({"kind": "check", "t": 20 * S, **check})
        end = {"step": name, "status": "done", "error": "", "t": second * S + S // 2}
        steps.append({"kind": "end", **end})
    return {
        "steps": steps,
        "ledger": [
            header("ledger"),
            {"kind": "sent", "t": 9 * S, "key": "k1"},
            {"kind": "acknowledged", "t": 9 * S + 1, "key": "k1"},
            {"kind": "sent", "t": 10 * S - 5, "key": "k2"},
            {"kind": "unknown", "t": 10 * S + 5, "key": "k2"},
            {"kind": "sent", "t": 13 * S, "key": "k3"},
            {"kind": "acknowledged", "t": 13 * S + 1, "key": "k3"},
        ],
        "availability": [
            header("availability"),
            {"kind": "ok", "began": 9 * S, "t": 9 * S + 9},
            # Begun before the fault, answered after it: proves nothing about the recovery.
            {"kind": "ok", "began": 10 * S - 1, "t": 10 * S + 2000},
            {"kind": "error", "began": 11 * S, "t": 11 * S + 9, "error": "refused"},
            {"kind": "ok", "began": 12 * S, "t": 12 * S + S // 2},
        ],
        "primaries": [
            header("primaries", sites=["a", "b"]),
            *(watched("a", second, None if second > 9 else True) for second in range(9, 22)),
            *(watched("b", second, second > 11) for second in range(9, 22)),
        ],
        "recovered": {"keys": ["k1", "k3"], "rows": None},
        "findings": FINDINGS,
    }


def test_a_whole_failover_passes_with_its_figures() -> None:
    derived = derive(plan(), good())
    assert (derived["verdict"], derived["exit_code"], derived["reasons"]) == ("pass", 0, [])
    assert derived["rto_seconds"] == 2.5
    phases = {phase["name"]: phase["seconds"] for phase in derived["phases"]}
    assert phases == {"detect": 1.0, "promote": 1.0, "application": 0.5}
    assert sum(phases.values()) == derived["rto_seconds"]
    assert derived["ledger"] == {
        "acknowledged": 2,
        "recovered": 2,
        "lost_keys": [],
        "in_doubt_committed": 0,
        "in_doubt_absent": 1,
    }


def test_a_lost_key_fails_the_drill_and_is_named() -> None:
    raw = good()
    raw["recovered"]["keys"] = ["k3"]
    derived = derive(plan(), raw)
    assert (derived["verdict"], derived["exit_code"]) == ("fail", 1)
    assert derived["ledger"]["lost_keys"] == ["k1"]
    assert derived["rpo_transactions"] == 1
    assert derived["rpo_seconds"] == pytest.approx(1.0, abs=0.001)


def test_a_missed_target_fails() -> None:
    derived = derive(plan(rto_seconds=2.4), good())
    assert derived["verdict"] == "fail"
    assert derived["targets"] == [
        {"name": "rto_seconds", "target": 2.4, "measured": 2.5, "met": False}
    ]


def test_two_primaries_fail() -> None:
    raw = good()
    raw["primaries"].append(
        {"kind": "answer", "site": "a", "asked": 12 * S, "t": 12 * S + 2, "writable": True}
    )
    derived = derive(plan(), raw)
    assert derived["verdict"] == "fail"
    assert any("never_two_primaries" in reason for reason in derived["reasons"])


def unwatched(kept: list[dict[str, Any]] | None) -> tuple[str, bool | None]:
    """Verdict, and never_two_primaries, of a failover whose watch has these entries alone."""
    raw = good()
    del raw["primaries"]
    if kept is not None:
        raw["primaries"] = [header("primaries", sites=["a", "b"]), *kept]
    derived = derive(plan(), raw)
    (ok,) = [one["ok"] for one in derived["checks"] if one["name"] == "never_two_primaries"]
    return derived["verdict"], ok


def test_a_promotion_that_nobody_watched_is_no_pass() -> None:
    seen = good()["primaries"][1:]
    assert unwatched(seen) == ("pass", True)
    assert unwatched(None) == ("inconclusive", None)
    # The watch died with the fault; was blind to one site; or ended before the way back did.
    assert unwatched([one for one in seen if one["t"] < 10 * S]) == ("inconclusive", None)
    assert unwatched([one for one in seen if one["site"] == "b"]) == ("inconclusive", None)
    assert unwatched([one for one in seen if one["t"] < 15 * S]) == ("inconclusive", None)
    # A question that a frozen server has not answered yet watches it.
    frozen = {**watched("a", 20, None), "asked": 10 * S}
    a = [watched("a", 9, True), frozen]
    assert unwatched([*a, *(one for one in seen if one["site"] == "b")]) == ("pass", True)


@pytest.mark.parametrize("missing", ["ledger", "availability", "recovered"])
def test_what_was_not_observed_is_never_a_pass(missing: str) -> None:
    raw = good()
    del raw[missing]
    derived = derive(plan(), raw)
    assert (derived["verdict"], derived["exit_code"]) == ("inconclusive", 5)


def test_no_erp_write_after_the_fault_leaves_the_rto_open() -> None:
    raw = good()
    raw["availability"] = raw["availability"][:-1]
    derived = derive(plan(), raw)
    assert (derived["verdict"], derived["rto_seconds"]) == ("inconclusive", None)


def test_a_failure_before_the_fault_proves_nothing() -> None:
    raw = {"steps": good()["steps"][:3], "findings": FINDINGS}
    raw["steps"][-1] = {**raw["steps"][-1], "status": "failed", "error": "no standby"}
    raw["steps"].append(
        {"kind": "check", "step": "check", "name": "x", "ok": False, "detail": "", "t": 1}
    )
    derived = derive(plan(), raw)
    assert derived["verdict"] == "inconclusive"
    assert [step["status"] for step in derived["steps"]] == ["failed"] + ["not_run"] * 3


def test_a_failure_after_the_fault_fails() -> None:
    raw = good()
    raw["steps"][-1] = {**raw["steps"][-1], "status": "failed", "error": "unbalanced"}
    assert derive(plan(), raw)["verdict"] == "fail"


def test_an_undo_that_failed_or_never_ended_fails() -> None:
    for end in ([], [{"kind": "undo_end", "step": "kill", "status": "failed", "error": "x"}]):
        raw = good()
        raw["steps"] += [{"kind": "undo_begin", "step": "kill", "t": 30 * S}]
        raw["steps"] += [{**entry, "t": 31 * S} for entry in end]
        derived = derive(plan(), raw)
        assert derived["verdict"] == "fail"
        assert derived["undo"][0]["status"] == "failed"


def test_a_check_that_could_not_be_made_leaves_doubt() -> None:
    raw = good()
    raw["steps"].append(
        {"kind": "check", "step": "verify", "name": "balance", "ok": None, "detail": "", "t": 1}
    )
    derived = derive(plan(), raw)
    assert derived["verdict"] == "inconclusive"
    # The last word of a check that was made twice counts.
    assert [check["ok"] for check in derived["checks"] if check["name"] == "balance"] == [None]


def test_a_reboot_in_between_leaves_doubt() -> None:
    raw = good()
    raw["steps"].append(header("steps", boot="boot-2"))
    assert derive(plan(), raw)["verdict"] == "inconclusive"


@pytest.mark.parametrize(("status", "code"), [("not-satisfied", 1), ("unknown", 5), ("expired", 5)])
def test_policies_are_counted_apart_and_show_in_the_exit_code(status: str, code: int) -> None:
    raw = {**good(), "findings": {"findings": [policy(status)]}}
    derived = derive(plan(), raw)
    assert (derived["verdict"], derived["exit_code"]) == ("pass", code)
    assert derived["policies"][status] == 1


@pytest.mark.parametrize("status", ["not-satisfied", "unknown", "expired"])
def test_a_policy_that_is_waived_wherever_it_does_not_hold_is_named_and_no_failure(
    status: str,
) -> None:
    raw = {**good(), "findings": {"findings": [policy(status, "a", "b"), policy("satisfied")]}}
    derived = derive(plan(), raw)
    assert (derived["exit_code"], derived["policies"][status]) == (0, 1)
    assert derived["waived"] == [{"policy": "clocks", "status": status}]
    raw["findings"]["findings"].append(policy(status, "a"))
    derived = derive(plan(), raw)
    assert derived["exit_code"] != 0, "one that is waived in part counts"
    assert len(derived["waived"]) == 1


def test_a_drill_whose_impact_is_none_fails_when_a_client_saw_it() -> None:
    raw = good()
    raw["steps"] = [entry for entry in raw["steps"] if entry.get("name") != "fault_done"]
    raw["steps"].append({"kind": "mark", "name": "secrets_served", "t": 18 * S})
    quiet = {"kind": "ok", "began": 12 * S, "t": 13 * S}
    failed = {"kind": "error", "began": 11 * S, "t": 12 * S}
    for entries, ok in (([quiet], True), ([failed, quiet], False), ([], None)):
        raw["availability"] = [header("availability"), *entries]
        derived = derive({**plan(rto_seconds=30), "impact": "none"}, raw)
        (check,) = (one for one in derived["checks"] if one["name"] == "no_erp_request_failed")
        assert (check["ok"], derived["rto_seconds"]) == (ok, 8.0)


def judged(*statuses: str) -> dict[str, Any]:
    """Findings about what was recovered."""
    keys = ("policy", "status", "reason", "observed", "population_size")
    return {
        "findings": [
            dict(zip(keys, (f"rule-{number}", status, f"it is {status}", 1, 1), strict=True))
            for number, status in enumerate(statuses)
        ]
    }


@pytest.mark.parametrize(
    ("findings", "verdict", "reason"),
    [
        (judged("satisfied", "not-applicable"), "pass", None),
        (
            judged("satisfied", "not-satisfied", "unknown"),
            "fail",
            "check policy_rule_1: it is not-satisfied",
        ),
        (judged("unknown"), "inconclusive", "not observed: policy_rule_0: it is unknown"),
        (judged("expired"), "inconclusive", "not observed: policy_rule_0: it is expired"),
        (judged("not-applicable"), "inconclusive", "not observed: recovered_judged: no policy"),
        (None, "inconclusive", "not observed: recovered_judged: no facts of it were kept"),
    ],
)
def test_policies_about_what_was_recovered_make_the_verdict(
    findings: dict[str, Any] | None, verdict: str, reason: str | None
) -> None:
    judging = plan()
    judging["steps"][-1]["do"] = "judge_recovered"
    derived = derive(judging, {**good(), "recovered_findings": findings})
    assert derived["verdict"] == verdict
    assert (derived["reasons"] or [None])[0] == reason or derived["reasons"][0].startswith(reason)


def test_without_findings_the_exit_code_is_in_doubt() -> None:
    assert derive(plan(), {**good(), "findings": None})["exit_code"] == 5


def restored(keys: list[str], rows: dict[str, Any] | None = None) -> dict[str, Any]:
    """A restore to a target at 10 s: k1 was acknowledged before it, k3 sent after it."""
    raw = good()
    raw["steps"] += [
        {"kind": "mark", "name": "target", "t": 10 * S},
        {"kind": "mark", "name": "twin_served", "t": 15 * S},
    ]
    raw["steps"] = [entry for entry in raw["steps"] if entry.get("name") != "fault_done"]
    raw["recovered"] = {"keys": keys, "rows": rows}
    return raw


def test_a_restore_is_judged_up_to_its_target() -> None:
    derived = derive(plan(), restored(["k1"]))
    assert (derived["verdict"], derived["rto_seconds"]) == ("pass", 5.0)
    assert derived["ledger"]["acknowledged"] == 1


def test_a_key_that_was_sent_after_the_target_must_not_be_in_the_twin() -> None:
    derived = derive(plan(), restored(["k1", "k3"]))
    assert derived["verdict"] == "fail"
    assert any("nothing_after_target" in reason for reason in derived["reasons"])


def test_between_sending_and_acknowledgement_of_the_target_the_order_is_not_known() -> None:
    raw = restored(["k1"])
    raw["steps"].append({"kind": "mark", "name": "target_end", "t": 12 * S})
    raw["ledger"] += [
        {"t": int(10.5 * S), "kind": "sent", "key": "k9"},
        {"t": 11 * S, "kind": "acknowledged", "key": "k9"},
    ]
    for there in (["k1"], ["k1", "k9"]):
        raw["recovered"]["keys"] = there
        derived = derive(plan(), raw)
        assert derived["rpo_transactions"] == 0
        assert not any("nothing_after_target" in reason for reason in derived["reasons"])


def test_without_a_key_sent_after_the_target_nothing_is_known_of_it() -> None:
    raw = restored(["k1"])
    raw["ledger"] = [entry for entry in raw["ledger"] if entry["t"] <= 10 * S]
    derived = derive(plan(), raw)
    assert derived["verdict"] == "inconclusive"
    assert any("0 of 0 keys" in reason for reason in derived["reasons"])


def test_a_target_before_the_ledger_is_judged_by_business_records() -> None:
    raw = restored([], {"expected": 40, "missing": [], "later": []})
    raw["steps"] = [
        {**entry, "t": 5 * S} if entry.get("name") == "target" else entry for entry in raw["steps"]
    ]
    targets = {"rto_seconds": 30.0, "rpo_transactions": 0.0}
    derived = derive(plan(**targets), raw)
    assert (derived["verdict"], derived["rpo_transactions"], derived["ledger"]) == ("pass", 0, None)
    raw["recovered"]["rows"]["missing"] = ["party_party,7"]
    assert derive(plan(**targets), raw)["verdict"] == "fail"
    raw["recovered"]["rows"] = {"expected": 0, "missing": [], "later": []}
    assert derive(plan(**targets), raw)["verdict"] == "inconclusive"


def test_a_rebuild_is_measured_from_the_empty_site_to_the_posted_invoice() -> None:
    raw = good()
    raw["steps"].insert(-1, {"kind": "mark", "name": "site_emptied", "t": 15 * S})
    wanted = {"rebuild_seconds": 4.0}
    derived = derive(plan(**wanted), raw)
    assert (derived["verdict"], derived["rebuild_seconds"]) == ("inconclusive", None)
    assert "rebuild_seconds was not observed" in derived["reasons"]
    raw["steps"].insert(-1, {"kind": "mark", "name": "invoice_posted", "t": 18 * S})
    assert derive(plan(**wanted), raw)["rebuild_seconds"] == 3.0
    assert derive(plan(rebuild_seconds=2.0), raw)["verdict"] == "fail"
    assert "rebuild_seconds" not in derive(plan(), raw)
