"""Waivers in a bundle: who signed them for how long is found again by an auditor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from forgers import SAMPLE, Good, build
from run_samples import Sample

from orchestrator.evidence import Expectation, LocalSigner
from orchestrator.evidence import layout as at
from orchestrator.evidence.persons.waivers import make
from orchestrator.model.fact import timestamp

APPROVER, OTHER = (LocalSigner(Ed25519PrivateKey.generate()) for _ in range(2))


def rule(key: LocalSigner) -> dict[str, Any]:
    approver = {"name": "li-wei", "public_key": key.public_key_pem()}
    return {"schema": "anlan.approvals/v1", "required": 1, "approvers": [approver]}


def waiver(key: LocalSigner = APPROVER, *, days: float = 30.0, environment: str = "local") -> bytes:
    begins = SAMPLE.started_at - timedelta(days=10)
    wanted = {
        "policy": "tls-version",
        "subjects": ["common/front-door"],
        "environment": environment,
        "owner": "Li Wei",
        "reason": "the proxy is replaced",
        "from": timestamp(begins),
        "until": timestamp(begins + timedelta(days=days)),
    }
    return make(rule(key), wanted, key, begins)[1]


def sample(content: bytes) -> Sample:
    """A good drill, at whose end the front door's TLS is weak."""
    kept = {"one.json": content}
    return replace(SAMPLE, drill="restore", weak_tls=True, waiver_rule=rule(APPROVER), waivers=kept)


@pytest.fixture
def waived(tmp_path: Path, signer: LocalSigner) -> Good:
    return build(tmp_path, sample(waiver()), signer)


def test_a_waived_policy_stays_not_satisfied_and_shows_in_the_report(waived: Good) -> None:
    found = waived.check(waived.packed)
    assert (found.status, found.problems) == ("VALID", ())
    assert found.summary["policies"] == {"not-satisfied": 1, "satisfied": 2}
    assert b'"exit_code": 0' in waived.contents[at.RUN]
    page = waived.contents[at.REPORT].decode()
    assert "Waived at common/front-door until 2026-12-15" in page
    assert "the proxy is replaced (Li Wei)" in page
    assert "Not compliant" in page


def test_a_waiver_counts_by_the_rule_that_the_auditor_holds(waived: Good) -> None:
    assert waived.check(waived.packed, Expectation(approvals=rule(APPROVER))).status == "VALID"
    found = waived.check(waived.packed, Expectation(approvals=rule(OTHER)))
    codes = {problem.code for problem in found.problems}
    assert (found.status, codes >= {"waiver-foreign", "finding-mismatch"}) == ("INVALID", True)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (waiver(OTHER), "waiver-foreign"),
        (waiver(days=9.0), "waiver-expired"),
        (waiver(environment="elsewhere"), "waiver-other-environment"),
        (waiver().replace(b'"payload"', b'"payloads"'), "waiver-malformed"),
    ],
)
def test_a_waiver_that_does_not_count_is_named(
    tmp_path: Path, signer: LocalSigner, content: bytes, code: str
) -> None:
    forged = build(tmp_path, sample(content), signer)
    found = forged.check(forged.packed)
    assert (found.status, {problem.code for problem in found.problems}) == ("INVALID", {code})
    assert found.problems[0].path == "raw/waivers/one.json"


@pytest.mark.parametrize("change", [Path.unlink, lambda file: file.write_bytes(waiver(OTHER))])
def test_the_thief_takes_a_waiver_out_or_puts_a_better_one_in(
    tmp_path: Path, signer: LocalSigner, change: Callable[[Path], Any]
) -> None:
    forged = build(
        tmp_path, sample(waiver()), signer, lambda run: change(run / "raw/waivers/one.json")
    )
    codes = {problem.code for problem in forged.check(forged.packed).problems}
    assert {"finding-mismatch", "verdict-mismatch"} <= codes
