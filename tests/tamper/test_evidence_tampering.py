"""Every way to tamper with a bundle is refused and named. Numbers: the project's list of cases.

Of that list, these need parts that the format does not have yet and come with them:
22 (validUntil: control results carry no validity yet), 30 and 31 (PDF, XLSX).
26 to 29 and 37 are in test_trust_tampering.
"""

from __future__ import annotations

import io
import json
import shutil
import stat
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from forgers import FAILED, SAMPLE, Good, build
from hypothesis import given, settings
from hypothesis import strategies as st
from run_samples import Clock, record, write_plan, write_result

from orchestrator.evidence import EvidenceStore, Expectation, LocalSigner, bundle, dsse, key_id
from orchestrator.evidence import layout as at
from orchestrator.evidence.audit import audit
from orchestrator.evidence.statement import FILES, PAYLOAD_TYPE, PREDICATES
from orchestrator.evidence.tlog import log as evidence_log
from orchestrator.evidence.tlog import merkle, note, proofs, tiles
from orchestrator.evidence.tlog.entries import Entry, parse_entry
from orchestrator.model.canonical import canonical

Thief = Callable[[Callable[[Path], None]], Good]
MEMBERS = [
    at.MANIFEST,
    at.MANIFEST_ENVELOPE,
    at.PLAN,
    at.PLAN_STATEMENT,
    at.RUN,
    at.RUN_STATEMENT,
    at.FINDINGS,
    at.CONTROLS_STATEMENT,
    at.ENVIRONMENT,
    at.DRILL,
    at.FACTS,
    *at.PROOFS.values(),
    at.GROWTH,
    at.REPORT,
    "raw/steps.jsonl",
    "raw/ledger.jsonl",
    "raw/availability.jsonl",
    "raw/primaries.jsonl",
    "raw/recovered.json",
    at.RECOVERED,
    "policy/tls.yaml",
    "policy/baseline/superusers.yaml",
    "policy/catalogues/law.yaml",
]


def codes(good: Good, packed: bytes, **expect: Any) -> set[str]:
    """The codes of a bundle that must not be VALID."""
    found = good.check(packed, **expect)
    assert found.status != "VALID", found.summary
    assert found.problems
    return {problem.code for problem in found.problems}


def stranger() -> LocalSigner:
    return LocalSigner(Ed25519PrivateKey.generate())


def edit(content: bytes, change: Callable[[Any], Any]) -> bytes:
    data = json.loads(content)
    change(data)
    return json.dumps(data, indent=2, ensure_ascii=False).encode() + b"\n"


def edit_file(path: Path, change: Callable[[Any], Any]) -> None:
    path.write_bytes(edit(path.read_bytes(), change))


def test_the_untouched_bundle_is_valid_and_its_summary_is_what_was_measured(good: Good) -> None:
    found = good.check(good.packed)
    assert (found.status, found.problems) == ("VALID", ())
    assert found.summary["verdict"] == "pass"
    assert found.summary["rto_seconds"] == pytest.approx(5.98)
    assert found.summary["policies"] == {"satisfied": 3}
    assert sorted(good.contents) == sorted(MEMBERS), "a member that no test below flips"


def test_the_untouched_bundle_of_a_failed_drill_is_valid_and_says_failed(failed: Good) -> None:
    found = failed.check(failed.packed)
    assert (found.status, found.summary["verdict"]) == ("VALID", "fail")
    assert found.summary["rpo_transactions"] == 4


@pytest.mark.parametrize("position", ["first", "middle", "last"])
@pytest.mark.parametrize("member", MEMBERS)
def test_case_01_a_flipped_byte(good: Good, member: str, position: str) -> None:
    content = bytearray(good.contents[member])
    where = {"first": 0, "middle": len(content) // 2, "last": len(content) - 1}[position]
    content[where] ^= 1
    expected = {
        at.MANIFEST: {"manifest-mismatch"},
        at.MANIFEST_ENVELOPE: {"bad-signature", "untrusted-signer"},
    }.get(member, {"digest-mismatch"})
    assert codes(good, good.pack(**{member: bytes(content)})) & expected


def test_case_01_any_byte_of_the_signed_manifest_counts(good: Good) -> None:
    """The one file that no digest covers: not a byte of it may be free to change."""
    content = good.contents[at.MANIFEST_ENVELOPE]
    for where in range(len(content)):
        changed = bytearray(content)
        changed[where] ^= 1
        try:
            envelope = dsse.parse(bytes(changed))
            dsse.verify(envelope, bundle.MANIFEST_TYPE, [good.signer.public_key])
        except (dsse.SignatureError, dsse.UntrustedError):
            continue
        pytest.fail(f"byte {where} ({content[where : where + 1]!r}) can be changed")


def test_case_02_the_rto_is_edited(failed: Good) -> None:
    def change(run: Any) -> None:
        run["derived"]["rto_seconds"] = 1.5

    run = edit(failed.contents[at.RUN], change)
    assert {"digest-mismatch", "subject-mismatch", "payload-mismatch", "verdict-mismatch"} <= codes(
        failed, failed.pack(**{at.RUN: run})
    )


def test_case_03_a_failed_policy_is_turned_into_a_pass(failed: Good) -> None:
    findings = failed.contents[at.FINDINGS].replace(
        b'"status": "not-satisfied"', b'"status": "satisfied"'
    )
    assert findings != failed.contents[at.FINDINGS]
    found = codes(failed, failed.pack(**{at.FINDINGS: findings}))
    assert {"digest-mismatch", "subject-mismatch", "finding-mismatch"} <= found


def test_case_03_a_failed_verdict_is_turned_into_a_pass(failed: Good) -> None:
    run = failed.contents[at.RUN].replace(b'"verdict": "fail"', b'"verdict": "pass"')
    assert {"digest-mismatch", "verdict-mismatch"} <= codes(failed, failed.pack(**{at.RUN: run}))


@pytest.fixture(scope="module")
def interleaved(tmp_path_factory: pytest.TempPathFactory, signer: LocalSigner) -> Good:
    """The good run, with a failed one planned and recorded while it went on."""
    state = tmp_path_factory.mktemp("interleaved")
    clock = Clock(SAMPLE.started_at - timedelta(milliseconds=500))
    store = EvidenceStore(state, signer, clock)
    outer, inner = (state / "runs" / sample.run_id for sample in (SAMPLE, FAILED))
    write_plan(outer, SAMPLE)
    store.record_plan(outer)
    write_plan(inner, replace(FAILED, started_at=SAMPLE.started_at))
    store.record_plan(inner)
    write_result(inner, replace(FAILED, started_at=SAMPLE.started_at))
    write_result(outer, SAMPLE)
    clock.now = SAMPLE.started_at + timedelta(minutes=5)
    store.record_run(inner)
    store.record_run(outer)
    packed = store.export(outer, state / "bundle.zip").read_bytes()
    return Good(bundle.unpack(packed), signer, packed, state)


def entry(good: Good, kind: str) -> Entry:
    """The entry that a bundle's proof of this kind is about."""
    proof = proofs.parse_proof(good.contents[at.PROOFS[kind]])
    return parse_entry(proof.leaf, proof.index)


def head(good: Good, kind: str = "run") -> note.Checkpoint:
    return note.parse(proofs.parse_proof(good.contents[at.PROOFS[kind]]).checkpoint)


def leaf(of: Entry, **changes: str) -> bytes:
    return canonical({**json.loads(of.leaf), **changes})


def forged_log(
    good: Good, leaves: Sequence[bytes], planned: int, signer: LocalSigner | None = None
) -> dict[str, bytes | None]:
    """The proofs of another log, validly signed, by the kind that each leaf is of.

    The plan is proven in the tree of its first `planned` leaves, the rest in the whole one.
    """
    hashes = [merkle.leaf_hash(one) for one in leaves]
    subtree = merkle.subtrees_of(hashes)
    files: dict[str, bytes | None] = dict.fromkeys((*at.PROOFS.values(), at.GROWTH))
    origin = head(good).origin

    def signed(size: int) -> bytes:
        made = note.Checkpoint(origin, size, merkle.root(size, subtree))
        return note.sign(made, signer or good.signer).to_bytes()

    for index, content in enumerate(leaves):
        kind = json.loads(content)["kind"]
        if json.loads(content)["run_id"] != SAMPLE.run_id:
            continue
        size = planned if kind == "plan" else len(leaves)
        path = tuple(merkle.inclusion(index, size, subtree))
        files[at.PROOFS[kind]] = proofs.Proof(content, index, path, signed(size)).to_bytes()
    path = tuple(merkle.consistency(planned, len(leaves), subtree))
    files[at.GROWTH] = proofs.Growth(planned, path, signed(len(leaves))).to_bytes()
    return files


def leaves_of(good: Good) -> list[bytes]:
    """Every entry of the log that a bundle came from."""
    return [one.leaf for one in evidence_log.log_of(good.state, "local").entries()]


def test_a_log_that_is_forged_like_the_true_one_is_the_true_one(good: Good) -> None:
    """What the forgeries below are made with: unchanged, it makes a valid bundle."""
    packed = good.seal(forged_log(good, leaves_of(good), 1))
    assert good.check(packed).problems == ()


def test_case_04_a_failed_run_is_deleted_from_the_log(interleaved: Good) -> None:
    """Without the log's key the root stays the one that the failed run is under."""
    assert interleaved.check(interleaved.packed).status == "VALID"
    kept = [one for one in leaves_of(interleaved) if FAILED.run_id.encode() not in one]
    assert len(kept) == 3
    forged = forged_log(interleaved, kept, 1, stranger())
    assert "untrusted-signer" in codes(interleaved, interleaved.seal(forged))
    true = head(interleaved).to_bytes()
    for path in at.PROOFS.values():
        proof = proofs.parse_proof(forged[path] or b"")
        forged[path] = replace(proof, checkpoint=true).to_bytes()
    assert "log-proof" in codes(interleaved, interleaved.seal(forged))


def test_case_04_a_failed_run_is_deleted_from_disk_and_the_log_rewritten_with_the_stolen_key(
    interleaved: Good, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    shutil.copytree(interleaved.state, state)
    shutil.rmtree(state / "runs" / FAILED.run_id)
    shutil.rmtree(state / evidence_log.FOLDER)
    kept = [one for one in leaves_of(interleaved) if FAILED.run_id.encode() not in one]
    rewrite(state, kept, head(interleaved).origin, interleaved.signer)
    found = audit(state, "local", [interleaved.signer.public_key])
    assert {problem.code for problem in found.problems} == {"log-rollback"}
    # Padded to the length of before, it still is another log.
    shutil.rmtree(state / evidence_log.FOLDER)
    padded = [*kept, *(leaf(entry(interleaved, "run"), run_id=f"pad-{n}") for n in range(9))]
    rewrite(state, padded, head(interleaved).origin, interleaved.signer)
    found = audit(state, "local", [interleaved.signer.public_key])
    assert {problem.code for problem in found.problems} == {"log-forked"}


def rewrite(state: Path, leaves: Sequence[bytes], origin: str, signer: LocalSigner) -> None:
    files, root = tiles.grow(0, leaves, lambda path: None)
    made = note.sign(note.Checkpoint(origin, len(leaves), root), signer)
    folder = state / evidence_log.FOLDER / "local"
    for path, content in {**files, tiles.CHECKPOINT: made.to_bytes()}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


def test_case_05_the_proof_of_the_result_is_cut(good: Good) -> None:
    cut: dict[str, bytes | None] = {at.PROOFS["run"]: None}
    assert {"missing-file", "missing-log-entry"} <= codes(good, good.pack(**cut))
    found = good.check(good.seal(cut))
    assert (found.status, {p.code for p in found.problems}) == ("INCOMPLETE", {"missing-log-entry"})


def test_case_05_the_proof_of_the_growth_is_cut(good: Good) -> None:
    found = good.check(good.seal({at.GROWTH: None}))
    assert (found.status, {p.code for p in found.problems}) == ("INCOMPLETE", {"missing-log-entry"})


@pytest.mark.parametrize("place", [0, 1, 3])
def test_case_06_a_back_dated_run_is_inserted(good: Good, place: int) -> None:
    leaves = leaves_of(good)
    forged = leaf(entry(good, "plan"), run_id="last-quarter", time="2026-09-01T00:00:00.000Z")
    leaves.insert(place, forged)
    without_key = forged_log(good, leaves, 1 + (place < 2), stranger())
    assert "untrusted-signer" in codes(good, good.seal(without_key))
    state = good.state.parent / f"inserted-{place}"
    rewrite(state, leaves, head(good).origin, good.signer)
    found = audit(state, "local", [good.signer.public_key])
    assert {one.code for one in found.problems} & {"log-time", "missing-run"}


@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 2)])
def test_case_07_entries_are_reordered(good: Good, first: int, second: int) -> None:
    state = good.state.parent / f"reordered-{first}"
    shutil.copytree(good.state / evidence_log.FOLDER, state / evidence_log.FOLDER)
    tile = state / evidence_log.FOLDER / "local/tile/entries/000.p/3"
    leaves = leaves_of(good)
    leaves[first], leaves[second] = leaves[second], leaves[first]
    tile.write_bytes(tiles.grow(0, leaves, lambda path: None)[0]["tile/entries/000.p/3"])
    found = audit(state, "local", [good.signer.public_key])
    assert {one.code for one in found.problems} == {"log-entry"}
    assert f"entry {first} was changed" in found.problems[0].message


def test_case_08_entries_are_renumbered(good: Good) -> None:
    proof = proofs.parse_proof(good.contents[at.PROOFS["controls"]])
    renumbered = replace(proof, index=2).to_bytes()
    assert "log-proof" in codes(good, good.seal({at.PROOFS["controls"]: renumbered}))


def test_case_08_a_proof_is_put_in_the_place_of_another(good: Good) -> None:
    packed = good.seal({at.PROOFS["controls"]: good.contents[at.PROOFS["run"]]})
    assert "log-mismatch" in codes(good, packed)


def test_case_09_everything_is_signed_again_with_a_new_key(good: Good, tmp_path: Path) -> None:
    forged = build(tmp_path, SAMPLE, stranger())
    assert forged.check(forged.packed).status == "VALID", "it is a good forgery"
    found = good.check(forged.packed)
    assert found.status == "UNTRUSTED"
    assert {problem.code for problem in found.problems} >= {"untrusted-signer"}


@pytest.mark.parametrize("kind", ["plan", "controls", "run"])
def test_case_09_one_statement_is_signed_again_with_a_new_key(good: Good, kind: str) -> None:
    signed = good.statement(kind, lambda data: data, stranger())
    assert codes(good, good.seal({FILES[kind]: signed})) == {"untrusted-signer"}


def test_case_10_the_attackers_key_comes_with_the_bundle(good: Good, tmp_path: Path) -> None:
    attacker = stranger()
    forged = build(tmp_path, SAMPLE, attacker)
    key = attacker.public_key_pem().encode()
    packed = forged.seal({"keys/evidence.pub": key, at.REPORT: None})
    assert forged.check(packed).status == "VALID", "it is a good forgery"
    found = good.check(packed)
    assert found.status == "UNTRUSTED"
    assert "untrusted-signer" in {problem.code for problem in found.problems}


@pytest.mark.parametrize("member", [at.MANIFEST_ENVELOPE, *FILES.values()])
def test_case_11_a_signature_is_stripped(good: Good, member: str) -> None:
    data = json.loads(good.contents[member])
    data["signatures"] = []
    assert "bad-signature" in codes(good, good.pack(**{member: canonical(data)}))


@pytest.mark.parametrize("member", [at.MANIFEST_ENVELOPE, *FILES.values()])
def test_case_11_a_signed_statement_is_left_out(good: Good, member: str) -> None:
    assert "missing-statement" in codes(good, good.pack(**{member: None}))


@pytest.mark.parametrize("kind", ["controls", "run"])
def test_case_11_a_statement_that_was_logged_is_left_out_and_the_manifest_signed_again(
    good: Good, kind: str
) -> None:
    found = good.check(good.seal({FILES[kind]: None}))
    assert found.status == "INCOMPLETE"
    assert {problem.code for problem in found.problems} == {"missing-statement"}


def test_case_11_the_findings_and_their_statement_are_left_out(failed: Good) -> None:
    packed = failed.seal({at.FINDINGS: None, at.CONTROLS_STATEMENT: None})
    assert {"missing-statement", "missing-file", "verdict-mismatch"} <= codes(failed, packed)


def test_case_12_one_signer_signs_twice_for_a_threshold_of_two(good: Good) -> None:
    twice = {}
    for member in (at.MANIFEST_ENVELOPE, *FILES.values()):
        envelope = dsse.parse(good.contents[member])
        twice[member] = replace(envelope, signatures=envelope.signatures * 2).to_bytes()
    found = good.check(good.pack(**twice), threshold=2)
    assert found.status != "VALID"
    assert "untrusted-signer" in {problem.code for problem in found.problems}


@pytest.mark.parametrize("member", [at.MANIFEST_ENVELOPE, *FILES.values()])
def test_case_13_the_payload_type_is_changed(good: Good, member: str) -> None:
    envelope = replace(dsse.parse(good.contents[member]), payload_type="application/json")
    assert "bad-signature" in codes(good, good.pack(**{member: envelope.to_bytes()}))


def test_case_13_another_payload_type_is_signed_for(good: Good) -> None:
    payload = dsse.parse(good.contents[at.RUN_STATEMENT]).payload
    signed = dsse.sign(payload, "application/json", good.signer).to_bytes()
    assert "bad-signature" in codes(good, good.seal({at.RUN_STATEMENT: signed}))


def test_case_14_the_predicate_type_is_swapped_and_signed(good: Good) -> None:
    def change(data: dict[str, Any]) -> None:
        data["predicateType"] = PREDICATES["controls"]

    packed = good.seal({at.RUN_STATEMENT: good.statement("run", change)})
    assert {"wrong-predicate", "log-mismatch"} <= codes(good, packed)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("plan", {"environmentDigest": ""}),
        ("plan", {"planEntry": None}),
        ("controls", {"results": None}),
        ("run", {"planEntry": "first"}),
        ("run", {"rtoSeconds": 4}),
    ],
)
def test_a_predicate_that_does_not_fit_its_schema_is_malformed(
    good: Good, kind: str, change: dict[str, Any]
) -> None:
    signed = good.statement(kind, lambda data: data["predicate"].update(change))
    found = good.check(good.seal({FILES[kind]: signed}))
    malformed = {one.path for one in found.problems if one.code == "malformed"}
    assert (found.status, FILES[kind] in malformed) == ("INVALID", True)


@pytest.mark.parametrize(
    ("expect", "code"),
    [
        (Expectation(run_id="20270225-failover-next"), "other-run"),
        (Expectation(not_before=SAMPLE.started_at + timedelta(days=90)), "too-old"),
    ],
)
def test_case_15_last_quarters_bundle_is_shown_again(
    good: Good, expect: Expectation, code: str
) -> None:
    assert codes(good, good.packed, expect=expect) == {code}


def test_case_16_another_systems_bundle_is_shown(good: Good) -> None:
    assert codes(good, good.packed, expect=Expectation(environment="erp-production")) == {
        "other-environment"
    }


def test_case_16_another_systems_name_is_written_into_the_bundle(good: Good) -> None:
    other = good.contents[at.ENVIRONMENT].replace(b'"local"', b'"other"')
    packed = good.seal({at.ENVIRONMENT: other})
    assert {"subject-mismatch", "plan-mismatch"} <= codes(good, packed)


def test_case_17_a_file_is_renamed_with_its_digest_kept(good: Good) -> None:
    content = good.contents["raw/recovered.json"]
    packed = good.seal({"raw/recovered.json": None, "raw/renamed.json": content})
    assert {"missing-file", "unbound-file"} <= codes(good, packed)


def test_case_17_two_subjects_exchange_their_names(good: Good) -> None:
    first, second = "raw/ledger.jsonl", "raw/availability.jsonl"
    swapped = {first: good.contents[second], second: good.contents[first]}
    assert "subject-mismatch" in codes(good, good.seal({**swapped}))


@pytest.mark.parametrize("member", [at.PLAN, at.RUN, at.FINDINGS, at.FACTS])
def test_case_18_a_key_is_given_twice(good: Good, member: str) -> None:
    doubled = good.contents[member].replace(b'{\n  "schema"', b'{\n  "schema": "",\n  "schema"', 1)
    assert doubled != good.contents[member]
    assert "not-strict-json" in codes(good, good.seal({member: doubled}))


def test_case_18_a_key_is_given_twice_in_a_signed_statement(good: Good) -> None:
    payload = dsse.parse(good.contents[at.RUN_STATEMENT]).payload
    doubled = payload.replace(b'"predicateType"', b'"predicateType":"","predicateType"')
    signed = dsse.sign(doubled, PAYLOAD_TYPE, good.signer).to_bytes()
    assert "not-strict-json" in codes(good, good.seal({at.RUN_STATEMENT: signed}))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"exit_code":0', b'"exit_code":0.0'),
        (b'"attempts":1', b'"attempts":1e0'),
        (b'"verdict":"pass"', b'"verdict":"p\\u0061ss"'),
        (b'"predicateType":', b'"predicateType": '),
    ],
    ids=["number-0.0", "number-1e0", "escaped-letter", "space"],
)
def test_case_19_a_signed_statement_is_not_canonical(good: Good, old: bytes, new: bytes) -> None:
    payload = dsse.parse(good.contents[at.RUN_STATEMENT]).payload
    assert old in payload
    signed = dsse.sign(payload.replace(old, new), PAYLOAD_TYPE, good.signer).to_bytes()
    assert "not-strict-json" in codes(good, good.seal({at.RUN_STATEMENT: signed}))


def weaker_policy(good: Good) -> bytes:
    text = good.contents["policy/tls.yaml"]
    weak = text.replace(b"parameters: {days: 184}", b"parameters: {days: 1}")
    assert weak != text
    return weak


def test_case_20_a_threshold_is_weakened_and_the_result_kept(good: Good) -> None:
    packed = good.pack(**{"policy/tls.yaml": weaker_policy(good)})
    assert {"digest-mismatch", "subject-mismatch", "plan-mismatch"} <= codes(good, packed)
    packed = good.seal({"policy/tls.yaml": weaker_policy(good)})
    assert {"subject-mismatch", "plan-mismatch", "finding-mismatch"} <= codes(good, packed)


def test_case_20_a_target_is_weakened_and_the_verdict_kept(failed: Good) -> None:
    plan = failed.contents[at.PLAN].replace(b'"rpo_transactions": 0.0', b'"rpo_transactions": 9.0')
    assert plan != failed.contents[at.PLAN]
    found = codes(failed, failed.seal({at.PLAN: plan}))
    assert {"plan-mismatch", "subject-mismatch", "payload-mismatch", "verdict-mismatch"} <= found


def test_case_21_a_policy_of_another_version_is_put_in_after_the_plan_was_logged(
    thief: Thief,
) -> None:
    def swap(run_dir: Path) -> None:
        rules = run_dir / "policies/tls.yaml"
        rules.write_text(rules.read_text().replace("severity: P0", "severity: P2"))

    with pytest.raises(Exception, match="not what the plan was made of"):
        thief(swap)


def test_case_22_a_finding_is_made_to_hold_for_longer(thief: Thief) -> None:
    def widen(findings: Any) -> None:
        for finding in findings["findings"]:
            finding["valid_until"] = "2036-01-01T00:00:00.000Z"

    forged = thief(lambda run_dir: edit_file(run_dir / "findings.json", widen))
    assert "finding-mismatch" in codes(forged, forged.packed)


def test_case_23_the_plan_is_logged_after_the_run_began(
    tmp_path: Path, signer: LocalSigner
) -> None:
    clock = Clock(SAMPLE.started_at + timedelta(seconds=10))
    store = EvidenceStore(tmp_path, signer, clock)
    run_dir = tmp_path / "runs" / SAMPLE.run_id
    write_plan(run_dir, SAMPLE)
    write_result(run_dir, SAMPLE)
    store.record_plan(run_dir)
    clock.now = SAMPLE.started_at + timedelta(minutes=5)
    store.record_run(run_dir)
    packed = store.export(run_dir, tmp_path / "bundle.zip").read_bytes()
    late = Good(bundle.unpack(packed), signer, packed, tmp_path)
    assert codes(late, packed) == {"plan-after-run"}


def test_case_23_the_plan_follows_the_run_in_the_log(good: Good) -> None:
    plan, controls, run = leaves_of(good)
    packed = good.seal(forged_log(good, [controls, run, plan], 3))
    assert "plan-after-run" in codes(good, packed)


def test_case_24_the_log_comes_from_a_fork(good: Good, tmp_path: Path) -> None:
    """The same run, logged in another log: the statements name the entry of the first."""
    record(tmp_path, replace(FAILED, run_id="before", started_at=SAMPLE.started_at), good.signer)
    fork = tmp_path / "runs" / SAMPLE.run_id
    shutil.copytree(good.state / "runs" / SAMPLE.run_id, fork)
    shutil.rmtree(fork / "log")
    clock = Clock(SAMPLE.started_at + timedelta(minutes=6))
    EvidenceStore(tmp_path, good.signer, clock).record_plan(fork)
    EvidenceStore(tmp_path, good.signer, clock).record_run(fork)
    other = {path: (fork / path).read_bytes() for path in (*at.PROOFS.values(), at.GROWTH)}
    assert {"plan-mismatch", "log-mismatch"} <= codes(good, good.seal({**other}))


def test_case_24_the_plan_is_of_one_log_and_the_result_of_another(good: Good) -> None:
    """Both are signed with the log's key: it has forked, and only the growth shows it."""
    leaves = leaves_of(good)
    other = [leaf(entry(good, "plan"), run_id="other"), *leaves]
    forged = forged_log(good, other, 2)
    forged[at.PROOFS["plan"]] = good.contents[at.PROOFS["plan"]]
    assert "log-forked" in codes(good, good.seal(forged))
    growth = proofs.parse_growth(forged[at.GROWTH] or b"")
    forged[at.GROWTH] = replace(growth, old=1).to_bytes()
    assert "log-forked" in codes(good, good.seal(forged))


def test_case_25_the_checkpoint_is_rolled_back(good: Good) -> None:
    """An old checkpoint, truly signed, under the proof of a result that came later."""
    old = proofs.parse_proof(good.contents[at.PROOFS["plan"]]).checkpoint
    proof = proofs.parse_proof(good.contents[at.PROOFS["run"]])
    packed = good.seal({at.PROOFS["run"]: replace(proof, checkpoint=old).to_bytes()})
    assert "log-proof" in codes(good, packed)


@pytest.mark.parametrize("kind", ["plan", "run"])
def test_case_25_a_checkpoint_is_changed(good: Good, kind: str) -> None:
    proof = proofs.parse_proof(good.contents[at.PROOFS[kind]])
    larger = note.parse(proof.checkpoint)
    larger = replace(larger, size=larger.size + 1)
    packed = good.seal({at.PROOFS[kind]: replace(proof, checkpoint=larger.to_bytes()).to_bytes()})
    assert "log-signature" in codes(good, packed)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"index ", b"index 0"),
        (b"c2sp.org/tlog-proof@v1", b"c2sp.org/tlog-proof@v2"),
        (b"\n\n", b"\n"),
        (b"extra ", b"extra  "),
        (b"index ", b"index -"),
    ],
)
def test_a_proof_has_one_spelling(good: Good, old: bytes, new: bytes) -> None:
    changed = good.contents[at.PROOFS["run"]].replace(old, new, 1)
    assert "log-proof" in codes(good, good.seal({at.PROOFS["run"]: changed}))


def raw_zip(
    good: Good, name: str, mode: int = stat.S_IFREG | 0o644, content: bytes = b"x"
) -> bytes:
    buffer = io.BytesIO(good.packed)
    with zipfile.ZipFile(buffer, "a") as archive:
        info = zipfile.ZipInfo("placeholder")
        info.filename = name
        info.external_attr = mode << 16
        archive.writestr(info, content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "raw/../../evil",
        "/etc/passwd",
        "raw/./x",
        "raw//x",
        "C:evil",
        "raw\\evil",
        "raw/",
        "raw/\x1b[2Jx",
        "raw/x\u202etxt",
    ],
)
def test_case_32_a_member_name_leads_out_of_the_bundle(good: Good, name: str) -> None:
    assert codes(good, raw_zip(good, name)) == {"unsafe-path"}


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFDIR])
def test_case_32_a_member_is_a_link_or_special_file(good: Good, kind: int) -> None:
    packed = raw_zip(good, "raw/link", kind | 0o777, b"/etc/shadow")
    assert codes(good, packed) == {"not-a-file"}


@pytest.mark.parametrize("name", ["notes.txt", "raw/more.jsonl", "policy/more.yaml", "report.pdf"])
def test_case_33_an_unsigned_file_is_added(good: Good, name: str) -> None:
    assert "extra-file" in codes(good, good.pack(**{name: b"{}"}))


def test_case_33_a_member_is_there_twice(good: Good) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        packed = raw_zip(good, at.RUN)
    assert codes(good, packed) == {"duplicate-member"}


@pytest.mark.parametrize("where", ["before", "behind", "comment"])
def test_case_33_data_is_hidden_outside_of_the_members(good: Good, where: str) -> None:
    packed = {"before": b"#!/bin/sh\n" + good.packed, "behind": good.packed + b"\n"}.get(where)
    if packed is None:
        buffer = io.BytesIO(good.packed)
        with zipfile.ZipFile(buffer, "a") as archive:
            archive.comment = b"all good"
        packed = buffer.getvalue()
    assert codes(good, packed) <= {"hidden-data", "damaged-archive"}


def test_case_34_an_unknown_is_turned_into_not_applicable(
    tmp_path: Path, signer: LocalSigner
) -> None:
    def change(run_dir: Path) -> None:
        path = run_dir / "findings.json"
        path.write_bytes(path.read_bytes().replace(b'"unknown"', b'"not-applicable"'))

    forged = build(tmp_path, replace(SAMPLE, unreachable=True), signer, change)
    assert "finding-mismatch" in codes(forged, forged.packed)


def test_case_35_the_population_is_narrowed(thief: Thief) -> None:
    """The facts of the endpoint that fails are left out before signing."""

    def change(run_dir: Path) -> None:
        def drop(facts: Any) -> None:
            facts["facts"] = [f for f in facts["facts"] if f["subject"] != "common/front-door"]

        edit_file(run_dir / "raw/facts.json", drop)

        def narrow(findings: Any) -> None:
            for finding in findings["findings"]:
                gone = "common/front-door"
                kept = [o for o in finding["observations"] if o["subject"] != gone]
                finding["observations"] = kept
                finding["evidence"] = [o["fact"] for o in kept]
                finding["population_size"] = finding["observed"] = len(kept)
                finding["status"], finding["reason"] = "satisfied", ""

        edit_file(run_dir / "findings.json", narrow)

    forged = thief(change)
    assert "finding-mismatch" in codes(forged, forged.packed)


def test_case_36_a_member_unpacks_to_much_more_than_it_is(good: Good) -> None:
    packed = good.pack(**{"raw/ledger.jsonl": b"\0" * (300 * 2**20)})
    assert codes(good, packed) == {"zip-bomb"}


def test_case_36_a_member_declares_less_than_it_unpacks_to(good: Good) -> None:
    packed = bytearray(good.pack(**{"raw/x": b"\0" * 2**21}))
    size = (2**21).to_bytes(4, "little")
    assert packed.count(size) == 2
    lied = bytes(packed).replace(size, (10).to_bytes(4, "little"))
    assert codes(good, lied) & {"damaged-archive", "zip-bomb"}


@pytest.mark.parametrize(
    "limits",
    [
        bundle.Limits(files=5),
        bundle.Limits(total_bytes=1000),
        bundle.Limits(file_bytes=1000),
        bundle.Limits(archive_bytes=1000),
    ],
)
def test_case_36_too_many_or_too_large_members(good: Good, limits: bundle.Limits) -> None:
    with pytest.raises(bundle.PackageError) as caught:
        bundle.unpack(good.packed, limits)
    assert caught.value.code == "zip-bomb"


def test_case_37_a_statement_is_put_in_the_role_of_another(good: Good) -> None:
    packed = good.seal({at.RUN_STATEMENT: good.contents[at.PLAN_STATEMENT]})
    assert {"wrong-predicate", "wrong-subject"} <= codes(good, packed)


def test_case_37_a_signature_made_for_the_log_is_put_on_a_statement(good: Good) -> None:
    made = head(good)
    signature = dsse.Signature(key_id(good.signer.public_key), made.signatures[0].value)
    envelope = dsse.Envelope(made.body, PAYLOAD_TYPE, (signature,))
    assert "bad-signature" in codes(good, good.seal({at.RUN_STATEMENT: envelope.to_bytes()}))


def better_verdict(run: Any) -> None:
    run["verdict"], run["exit_code"] = "pass", 0
    run["derived"] |= {"verdict": "pass", "exit_code": 0, "reasons": []}


def better_rpo(run: Any) -> None:
    run["derived"] |= {"rpo_transactions": 0, "rpo_seconds": 0.0}
    run["derived"]["ledger"]["lost_keys"] = []


def better_counts(run: Any) -> None:
    run["derived"]["policies"] |= {"satisfied": 3, "not-satisfied": 0}


@pytest.mark.parametrize("change", [better_verdict, better_rpo, better_counts])
def test_case_38_a_better_conclusion_is_signed_with_the_stolen_key(
    thief: Thief, change: Callable[[Any], None]
) -> None:
    forged = thief(lambda run_dir: edit_file(run_dir / "run.json", change))
    found = forged.check(forged.packed)
    assert (found.status, {p.code for p in found.problems}) == ("INVALID", {"verdict-mismatch"})
    assert found.summary["verdict"] == "fail", "the summary is derived again, not believed"


def test_case_38_a_weak_survivor_is_made_strong_with_the_stolen_key(
    tmp_path: Path, signer: LocalSigner
) -> None:
    """The survivor lost its TLS; before the result is signed its facts are made better."""
    weak = replace(SAMPLE, survivor_weak=True)
    true = build(tmp_path / "true", weak, signer, lambda _: None)
    said = true.check(true.packed)
    assert (said.status, said.summary["verdict"]) == ("VALID", "fail")

    def change(run_dir: Path) -> None:
        file = run_dir / "raw/recovered_facts.json"
        file.write_text(file.read_text().replace("TLSv1.2", "TLSv1.3"))

    forged = build(tmp_path / "forged", weak, signer, change)
    assert codes(forged, forged.packed) == {"verdict-mismatch"}


@pytest.mark.parametrize("what", ["left out", "of nobody", "judged before it was seen"])
def test_facts_about_the_survivor_that_cannot_be_are_named(thief: Thief, what: str) -> None:
    def change(run_dir: Path) -> None:
        file = run_dir / "raw/recovered_facts.json"
        if what == "left out":
            file.unlink()
        elif what == "of nobody":
            edit_file(file, lambda kept: kept.update(sites=[]))
        else:
            edit_file(file, lambda kept: kept.update(judged_at="2026-11-25T00:00:00.000Z"))

    named = {
        "left out": "verdict-mismatch",
        "of nobody": "cannot-rederive",
        "judged before it was seen": "impossible-time",
    }
    forged = thief(change)
    assert named[what] in codes(forged, forged.packed)


def test_case_38_a_better_finding_is_signed_with_the_stolen_key(thief: Thief) -> None:
    def change(findings: Any) -> None:
        for finding in findings["findings"]:
            finding["status"], finding["reason"] = "satisfied", ""

    forged = thief(lambda run_dir: edit_file(run_dir / "findings.json", change))
    assert "finding-mismatch" in codes(forged, forged.packed)


def test_case_38_a_report_that_says_something_else_is_signed_with_the_stolen_key(
    failed: Good,
) -> None:
    page = failed.contents[at.REPORT].replace(b"Failed", b"Passed")
    assert page != failed.contents[at.REPORT]
    assert codes(failed, failed.seal({at.REPORT: page})) == {"report-mismatch"}


@pytest.mark.parametrize("content", [b"[]", b"7", b'"x"', b"{}", b"null", b"[" * 60 + b"]" * 60])
@pytest.mark.parametrize("member", [at.PLAN, at.RUN, at.FINDINGS, at.ENVIRONMENT, at.FACTS])
def test_nonsense_with_a_valid_signature_is_named_not_crashed_on(
    good: Good, member: str, content: bytes
) -> None:
    assert codes(good, good.seal({member: content}))


@pytest.mark.parametrize("kind", ["plan", "controls", "run"])
@pytest.mark.parametrize("value", [[], "x", None, 7])
def test_a_statement_about_nonsense_is_named_not_crashed_on(
    good: Good, kind: str, value: Any
) -> None:
    def change(data: dict[str, Any]) -> None:
        data["predicate"] = {"runId": SAMPLE.run_id, kind: value, "results": value}

    assert "payload-mismatch" in codes(good, good.seal({FILES[kind]: good.statement(kind, change)}))


@settings(max_examples=300, deadline=None)
@given(where=st.floats(0, 1, exclude_max=True), value=st.integers(1, 255))
def test_no_edit_of_one_byte_of_the_archive_gives_another_summary(
    good: Good, where: float, value: int
) -> None:
    packed = bytearray(good.packed)
    packed[int(where * len(packed))] ^= value
    found = good.check(bytes(packed))
    if found.status == "VALID":
        assert found.summary == good.check(good.packed).summary


@settings(max_examples=150, deadline=None)
@given(
    where=st.floats(0, 1, exclude_max=True),
    length=st.integers(0, 40),
    instead=st.binary(max_size=40),
)
def test_no_edit_of_a_few_bytes_of_the_archive_gives_another_summary(
    good: Good, where: float, length: int, instead: bytes
) -> None:
    start = int(where * len(good.packed))
    found = good.check(good.packed[:start] + instead + good.packed[start + length :])
    if found.status == "VALID":
        assert found.summary == good.check(good.packed).summary


@pytest.mark.parametrize("content", [b"", b"PK", b"x" * 100, b"PK\x05\x06" + b"\0" * 18])
def test_what_is_no_bundle_is_named(good: Good, content: bytes) -> None:
    assert codes(good, content)
