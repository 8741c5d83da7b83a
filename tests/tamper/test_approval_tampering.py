"""Approvals that are forged, removed, foreign or replayed are named, whoever signs around them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from forgers import SAMPLE, Good, build
from run_samples import dump

from orchestrator.evidence import Expectation, LocalSigner, dsse
from orchestrator.evidence import layout as at
from orchestrator.evidence.persons.approvals import decide
from orchestrator.evidence.statement import FILES

PERSONS = {name: LocalSigner(Ed25519PrivateKey.generate()) for name in ("chen", "li", "wang")}
RULE = {
    "schema": "anlan.approvals/v1",
    "required": 2,
    "approvers": [
        {"name": name, "public_key": key.public_key_pem()} for name, key in PERSONS.items()
    ],
    "change_windows": [{"days": ["wed"], "from": "03:00", "until": "04:00"}],
}
RULED = replace(SAMPLE, rule=RULE)
FORGED = f"{at.APPROVALS}wang.json"


def approve(run_dir: Path, *names: str) -> None:
    """Keep the word of these persons on a run's plan."""
    plan = json.loads((run_dir / "plan.json").read_bytes())
    for name in names:
        _, envelope = decide(plan, "approve", PERSONS[name], "", RULED.started_at)
        path = run_dir / "raw" / "approvals" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(envelope)


@pytest.fixture(scope="module")
def approved(tmp_path_factory: pytest.TempPathFactory, signer: LocalSigner) -> Good:
    """A drill that two of three approved before it began, on a Wednesday at 3:15."""
    state = tmp_path_factory.mktemp("approved")
    return build(state, RULED, signer, prepare=lambda run: approve(run, "li", "wang"))


@pytest.fixture
def thief(tmp_path: Path, signer: LocalSigner) -> Callable[..., Good]:
    """Record the drill with the environment's key, and whatever is put there for approvals."""

    def forge(
        prepare: Callable[[Path], None], meddle: Callable[[Path], None] | None = None, **sample: Any
    ) -> Good:
        return build(tmp_path, replace(RULED, **sample), signer, meddle, prepare)

    return forge


def said(found: Any) -> dict[str, str]:
    """The problems of a bundle that must not be VALID, by code."""
    assert found.status != "VALID", found.summary
    return {problem.code: f"{problem.path} {problem.message}" for problem in found.problems}


def test_the_approved_run_is_valid_and_its_approvals_are_derived_again(approved: Good) -> None:
    found = approved.check(approved.packed, Expectation(approvals=RULE))
    assert (found.status, found.problems) == ("VALID", ())
    run = json.loads(approved.contents[at.RUN])
    checks = {one["name"]: one for one in run["derived"]["checks"]}
    assert checks["approved"]["detail"] == "2 of 2: li, wang"
    assert checks["in_change_window"]["ok"] is True
    logged = json.loads(dsse.parse(approved.contents[FILES["plan"]]).payload)
    names = {subject["name"] for subject in logged["subject"]}
    assert FORGED in names, "the log proves that it was there before the run"


def test_a_removed_approval_is_missed_by_an_outsider(approved: Good) -> None:
    codes = said(approved.check(approved.pack(**{FORGED: None})))
    assert {"missing-file", "verdict-mismatch"} <= set(codes)


def test_a_removed_approval_is_missed_though_the_manifest_is_signed_again(approved: Good) -> None:
    codes = said(approved.check(approved.seal({FORGED: None})))
    assert {"missing-file", "verdict-mismatch"} <= set(codes)
    assert FORGED in codes["missing-file"]


def test_an_approval_that_comes_after_the_plan_was_logged_is_named(approved: Good) -> None:
    late = decide(
        json.loads(approved.contents[at.PLAN]), "approve", PERSONS["chen"], "", RULED.started_at
    )[1]
    codes = said(approved.check(approved.seal({f"{at.APPROVALS}chen.json": late})))
    assert "unbound-file" in codes


def test_a_thief_of_the_environments_key_cannot_approve(thief: Callable[..., Good]) -> None:
    def forge(run_dir: Path) -> None:
        approve(run_dir, "li", "wang")
        file = run_dir / "raw" / "approvals" / "wang.json"
        envelope = dsse.parse(file.read_bytes())
        own = LocalSigner(Ed25519PrivateKey.generate())
        file.write_bytes(dsse.sign(envelope.payload, envelope.payload_type, own).to_bytes())

    forged = thief(forge)
    assert said(forged.check(forged.packed)).keys() == {"approval-foreign"}


def test_a_signature_that_does_not_hold_is_named(thief: Callable[..., Good]) -> None:
    def forge(run_dir: Path) -> None:
        approve(run_dir, "li", "wang")
        file = run_dir / "raw" / "approvals" / "wang.json"
        envelope = dsse.parse(file.read_bytes())
        other = envelope.payload.replace(b'"reason":""', b'"reason":"ok"')
        assert other != envelope.payload
        file.write_bytes(replace(envelope, payload=other).to_bytes())

    forged = thief(forge)
    codes = said(forged.check(forged.packed))
    assert codes.keys() == {"approval-signature"}
    assert FORGED in codes["approval-signature"]


def test_an_approval_of_an_earlier_run_is_no_approval_of_this_one(
    thief: Callable[..., Good], approved: Good
) -> None:
    def replay(run_dir: Path) -> None:
        folder = run_dir / "raw" / "approvals"
        folder.mkdir(parents=True)
        for name in ("li", "wang"):
            (folder / f"{name}.json").write_bytes(approved.contents[f"{at.APPROVALS}{name}.json"])

    forged = thief(
        replay, run_id="20261202-failover-next", started_at=RULED.started_at + timedelta(days=7)
    )
    codes = said(forged.check(forged.packed))
    assert codes.keys() == {"approval-other-plan"}
    assert RULED.run_id in codes["approval-other-plan"]


def test_an_approval_of_nobody_in_the_rule_is_named(thief: Callable[..., Good]) -> None:
    def forge(run_dir: Path) -> None:
        approve(run_dir, "li", "wang")
        folder = run_dir / "raw" / "approvals"
        (folder / "wang.json").rename(folder / "mallory.json")

    forged = thief(forge)
    assert said(forged.check(forged.packed)).keys() == {"approval-unlisted"}


def test_a_run_without_enough_approvals_says_so_whatever_its_result_states(
    thief: Callable[..., Good],
) -> None:
    honest = thief(lambda run_dir: approve(run_dir, "li"))
    found = honest.check(honest.packed)
    assert (found.status, found.summary["verdict"]) == ("VALID", "fail")

    def better(run_dir: Path) -> None:
        file = run_dir / "run.json"
        run = json.loads(file.read_bytes())
        run["verdict"], run["exit_code"] = "pass", 0
        run["derived"] |= {"verdict": "pass", "exit_code": 0, "reasons": []}
        for check in run["derived"]["checks"]:
            check["ok"] = True
        file.write_bytes(dump(run))

    later = RULED.started_at + timedelta(minutes=20)
    forged = thief(
        lambda run_dir: approve(run_dir, "li"), better, run_id="20261125-two", started_at=later
    )
    assert said(forged.check(forged.packed)).keys() == {"verdict-mismatch"}


def test_a_run_outside_of_its_window_says_so(thief: Callable[..., Good]) -> None:
    late = thief(
        lambda run_dir: approve(run_dir, "li", "wang"),
        started_at=RULED.started_at + timedelta(hours=1),
    )
    found = late.check(late.packed)
    assert (found.status, found.summary["verdict"]) == ("VALID", "fail")


def weak(**changes: Any) -> dict[str, Any]:
    return {**RULE, **changes}


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (None, "has no approval rule"),
        (weak(required=1), "wants 1 approvals, not 2"),
        (
            weak(
                approvers=[
                    *RULE["approvers"][1:],  # type: ignore[index]
                    {
                        "name": "chen",
                        "public_key": LocalSigner(Ed25519PrivateKey.generate()).public_key_pem(),
                    },
                ]
            ),
            "lets chen approve",
        ),
        (weak(change_windows=[]), "outside of the expected change windows"),
    ],
)
def test_a_weaker_rule_is_named_to_an_auditor_who_holds_the_right_one(
    thief: Callable[..., Good], rule: dict[str, Any] | None, message: str
) -> None:
    def prepare(run_dir: Path) -> None:
        if rule:
            approve(run_dir, "li", "wang")

    forged = thief(prepare, rule=rule)
    assert forged.check(forged.packed).status == "VALID", "by itself it is consistent"
    codes = said(forged.check(forged.packed, Expectation(approvals=RULE)))
    assert codes.keys() == {"approval-rule"}
    assert message in codes["approval-rule"]


def test_a_plan_without_the_environments_rule_is_named(approved: Good) -> None:
    plan = json.loads(approved.contents[at.PLAN])
    del plan["approvals"]
    codes = said(approved.check(approved.seal({at.PLAN: dump(plan)})))
    assert "its approval rule is not the environment's" in codes["plan-mismatch"]


@pytest.mark.parametrize("content", [b"[]", b"7", b"null", b"{}", b'{"a":1,"a":2}', b"\xff"])
def test_nonsense_for_an_approval_is_named_not_crashed_on(approved: Good, content: bytes) -> None:
    codes = said(approved.check(approved.seal({FORGED: content})))
    assert {"subject-mismatch"} <= set(codes)
    assert {"approval-signature", "approval-malformed"} & set(codes), codes


def test_a_rule_of_nonsense_is_named_not_crashed_on(approved: Good) -> None:
    plan = json.loads(approved.contents[at.PLAN])
    plan["approvals"]["approvers"][0]["public_key"] = "?"
    codes = said(approved.check(approved.seal({at.PLAN: dump(plan)})))
    assert "approval-malformed" in codes
