"""The cases: good bundles, and one of each class of tampering, with what must be said of them.

Numbers are those of the tests of tampering (`tests/tamper`). Three forgers: an outsider edits and
packs anew, an insider signs with a key of his own, a thief holds the environment's key. No bundle
has a report: a report is compared by the version alone that rendered it.
"""

from __future__ import annotations

import io
import json
import stat
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from forgers import FAILED, SAMPLE, Good, build
from run_samples import Clock, Sample, write_plan, write_result
from test_evidence_tampering import edit, edit_file, forged_log, leaf, leaves_of

from orchestrator.evidence import EvidenceStore, LocalSigner, bundle, dsse
from orchestrator.evidence import layout as at
from orchestrator.evidence.persons.approvals import decide
from orchestrator.evidence.persons.waivers import make
from orchestrator.evidence.statement import FILES, PAYLOAD_TYPE, PREDICATES
from orchestrator.evidence.tlog import proofs
from orchestrator.evidence.tlog.entries import parse_entry
from orchestrator.model.canonical import strict_loads
from orchestrator.model.fact import timestamp
from tests.vectors.case import Case
from tests.vectors.fixed import (
    ENVIRONMENT,
    P256_ENVIRONMENT,
    PERSONS,
    ROTATED,
    STRANGER,
    rule,
)
from tests.vectors.trusts import make_trust_cases

RULED = replace(SAMPLE, run_id="20261125-failover-rule", rule=rule())
_DOOR = "common/front-door"


def packed(good: Good) -> Good:
    """The bundle without its report."""
    content = good.seal({at.REPORT: None})
    return Good(bundle.unpack(content), good.signer, content, good.state)


def make_cases(folder: Path) -> list[Case]:
    """Every case, in order; `folder` is for the runs that they are made of."""
    count = iter(range(1000))

    def made(
        sample: Sample,
        signer: LocalSigner = ENVIRONMENT,
        meddle: Callable[[Path], None] | None = None,
        prepare: Callable[[Path], None] | None = None,
    ) -> Good:
        return packed(build(folder / str(next(count)), sample, signer, meddle, prepare))

    good, failed = made(SAMPLE), made(FAILED)
    return [
        *_good(made, good, failed),
        *_asked_for(good),
        *_outsider(good, failed),
        *_signatures(made, good),
        *_bindings(good, failed),
        *_log(folder, good),
        *_packages(good),
        *_thief(made),
        *make_trust_cases(good),
    ]


Made = Callable[..., Good]


def _good(made: Made, good: Good, failed: Good) -> Iterator[Case]:
    yield Case("good-passed", good.packed, "VALID")
    yield Case("good-failed", failed.packed, "VALID")
    unknown = replace(SAMPLE, run_id="20261125-failover-doubt", unreachable=True)
    yield Case("good-inconclusive", made(unknown).packed, "VALID")
    p256 = made(SAMPLE, P256_ENVIRONMENT)
    yield Case("good-p256", p256.packed, "VALID", trust=("environment-p256",))
    waived = replace(
        FAILED,
        run_id="20261125-restore-waived",
        drill="restore",
        lost=0,
        waiver_rule=rule(),
        waivers={"one.json": _waiver()},
    )
    yield Case("good-waived", made(waived).packed, "VALID")
    approved = made(RULED, prepare=lambda run: _approve(run, "li-wei"))
    yield Case("good-approved", approved.packed, "VALID", options={"approvals": "rule.yaml"})
    yield Case(
        "approved-by-too-few",
        approved.packed,
        "INVALID",
        "approval-rule",
        options={"approvals": "stricter-rule.yaml"},
        same_as="good-approved",
    )
    foreign = made(RULED, prepare=lambda run: _approve(run, "li-wei", PERSONS["wang"]))
    yield Case("approval-of-another-key", foreign.packed, "INVALID", "approval-foreign")


def _waiver() -> bytes:
    begins = FAILED.started_at - timedelta(days=10)
    wanted = {
        "policy": "tls-version",
        "subjects": [_DOOR],
        "environment": "local",
        "owner": "Li Wei",
        "reason": "the proxy is replaced in December",
        "from": timestamp(begins),
        "until": timestamp(begins + timedelta(days=30)),
    }
    return make(rule(), wanted, PERSONS["wang"], begins)[1]


def _approve(run: Path, name: str, other: LocalSigner | None = None) -> None:
    """Put an approver's word into a run's directory; signed by another's key if there is one."""
    plan = strict_loads((run / "plan.json").read_bytes())
    said = decide(plan, "approve", PERSONS[name], "the window is ours", SAMPLE.started_at)[1]
    if other:
        said = dsse.sign(dsse.parse(said).payload, PAYLOAD_TYPE, other).to_bytes()
    path = run / "raw" / "approvals" / f"{name}.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(said)


def _asked_for(good: Good) -> Iterator[Case]:
    asked = {
        "replayed-for-a-later-time": (
            "STALE",
            15,
            "too-old",
            {"not_before": "2027-01-01T00:00:00Z"},
        ),
        "replayed-for-another-run": ("INVALID", 15, "other-run", {"run": "20270225-failover-next"}),
        "of-another-environment": (
            "INVALID",
            16,
            "other-environment",
            {"environment": "erp-production"},
        ),
    }
    for name, (status, number, code, options) in asked.items():
        yield Case(name, good.packed, status, code, number, options=options, same_as="good-passed")


def _outsider(good: Good, failed: Good) -> Iterator[Case]:
    ledger = bytearray(good.contents["raw/ledger.jsonl"])
    ledger[len(ledger) // 2] ^= 1
    flipped = good.pack(**{"raw/ledger.jsonl": bytes(ledger)})
    yield Case("flipped-bit", flipped, "INVALID", "digest-mismatch", 1)

    def better(run: Any) -> None:
        run["derived"]["rto_seconds"] = 1.5

    edited = failed.pack(**{at.RUN: edit(failed.contents[at.RUN], better)})
    yield Case("rto-edited", edited, "INVALID", "verdict-mismatch", 2)
    findings = failed.contents[at.FINDINGS].replace(b'"not-satisfied"', b'"satisfied"')
    turned = failed.pack(**{at.FINDINGS: findings})
    yield Case("finding-turned", turned, "INVALID", "finding-mismatch", 3)
    more = good.pack(**{"raw/more.jsonl": b"{}\n"})
    yield Case("file-added", more, "INVALID", "extra-file", 33)


def _signatures(made: Made, good: Good) -> Iterator[Case]:
    forged = made(SAMPLE, STRANGER)
    yield Case("signed-by-a-stranger", forged.packed, "UNTRUSTED", "untrusted-signer", 9)
    own = forged.seal({"keys/evidence.pub": STRANGER.public_key_pem().encode()})
    yield Case("key-comes-along", own, "UNTRUSTED", "untrusted-signer", 10)
    stripped = good.seal({at.CONTROLS_STATEMENT: None})
    yield Case("statement-stripped", stripped, "INCOMPLETE", "missing-statement", 11)
    twice = {}
    for member in (at.MANIFEST_ENVELOPE, *FILES.values()):
        envelope = dsse.parse(good.contents[member])
        twice[member] = replace(envelope, signatures=envelope.signatures * 2).to_bytes()
    yield Case(
        "one-signer-twice",
        good.pack(**twice),
        "INVALID",
        "untrusted-signer",
        12,
        trust=("environment", "rotated"),
        options={"threshold": "2"},
    )
    payload = dsse.parse(good.contents[at.RUN_STATEMENT]).payload

    def signed(content: bytes, kind: str = PAYLOAD_TYPE) -> bytes:
        return good.seal({at.RUN_STATEMENT: dsse.sign(content, kind, ENVIRONMENT).to_bytes()})

    other_type = signed(payload, "application/json")
    yield Case("payload-type-changed", other_type, "INVALID", "bad-signature", 13)
    doubled = payload.replace(b'"predicateType"', b'"predicateType":"","predicateType"')
    yield Case("key-given-twice", signed(doubled), "INVALID", "not-strict-json", 18)
    number = payload.replace(b'"exit_code":0', b'"exit_code":0.0')
    yield Case("number-not-canonical", signed(number), "INVALID", "not-strict-json", 19)


def _bindings(good: Good, failed: Good) -> Iterator[Case]:
    def restated(kind: str, change: Callable[[Any], Any]) -> bytes:
        return good.seal({FILES[kind]: good.statement(kind, change)})

    swapped = restated("run", lambda data: data.update(predicateType=PREDICATES["controls"]))
    yield Case("predicate-type-swapped", swapped, "INVALID", "wrong-predicate", 14)
    more = restated("run", lambda data: data["predicate"].update(rtoSeconds=4))
    yield Case("predicate-does-not-fit", more, "INVALID", "malformed")
    content = good.contents["raw/recovered.json"]
    renamed = good.seal({"raw/recovered.json": None, "raw/renamed.json": content})
    yield Case("subject-renamed", renamed, "INVALID", "unbound-file", 17)
    weak = good.contents["policy/tls.yaml"].replace(b"{days: 184}", b"{days: 1}")
    weakened = good.seal({"policy/tls.yaml": weak})
    yield Case("policy-weakened", weakened, "INVALID", "plan-mismatch", 20)
    old, new = b'"rpo_transactions": 0.0', b'"rpo_transactions": 9.0'
    lower = failed.seal({at.PLAN: failed.contents[at.PLAN].replace(old, new)})
    yield Case("target-weakened", lower, "INVALID", "plan-mismatch", 20)
    role = good.seal({at.RUN_STATEMENT: good.contents[at.PLAN_STATEMENT]})
    yield Case("statement-in-anothers-place", role, "INVALID", "wrong-predicate", 37)


def _log(folder: Path, good: Good) -> Iterator[Case]:
    yield Case("rotated-key", *_rotated(folder / "rotated"), trust=("environment", "rotated"))
    yield Case(
        "rotated-key-unknown",
        b"",
        "UNTRUSTED",
        "untrusted-signer",
        trust=("rotated",),
        same_as="rotated-key",
    )
    cut = good.seal({at.PROOFS["run"]: None})
    yield Case("log-proof-cut", cut, "INCOMPLETE", "missing-log-entry", 5)
    plan, controls, run = leaves_of(good)
    planned = parse_entry(plan, 0)
    dated = leaf(planned, run_id="last-quarter", time="2026-09-01T00:00:00.000Z")
    inserted = good.seal(forged_log(good, [dated, plan, controls, run], 2, STRANGER))
    yield Case("run-inserted", inserted, "UNTRUSTED", "untrusted-signer", 6)
    exchanged = good.seal({at.PROOFS["controls"]: good.contents[at.PROOFS["run"]]})
    yield Case("log-proofs-exchanged", exchanged, "INVALID", "log-mismatch", 7)
    proof = proofs.parse_proof(good.contents[at.PROOFS["controls"]])
    numbered = good.seal({at.PROOFS["controls"]: replace(proof, index=2).to_bytes()})
    yield Case("log-entry-renumbered", numbered, "INVALID", "log-proof", 8)
    late = good.seal(forged_log(good, [controls, run, plan], 3))
    yield Case("plan-after-result", late, "INVALID", "plan-after-run", 23)
    yield Case("plan-logged-late", _late(folder / "late"), "INVALID", "plan-after-run", 23)
    other = [leaf(planned, run_id="other-run"), plan, controls, run]
    forked = forged_log(good, other, 2)
    forked[at.PROOFS["plan"]] = good.contents[at.PROOFS["plan"]]
    yield Case("log-forked", good.seal(forked), "INVALID", "log-forked", 24)
    old = proofs.parse_proof(good.contents[at.PROOFS["plan"]]).checkpoint
    proof = proofs.parse_proof(good.contents[at.PROOFS["run"]])
    rolled = good.seal({at.PROOFS["run"]: replace(proof, checkpoint=old).to_bytes()})
    yield Case("log-rolled-back", rolled, "INVALID", "log-proof", 25)


def _stored(state: Path, at_plan: timedelta, second: LocalSigner) -> bytes:
    """The bundle of a run whose plan the environment's key signed, and `second` the rest."""
    clock = Clock(SAMPLE.started_at + at_plan)
    run = state / "runs" / SAMPLE.run_id
    write_plan(run, SAMPLE)
    EvidenceStore(state, ENVIRONMENT, clock).record_plan(run)
    write_result(run, SAMPLE)
    clock.now = SAMPLE.started_at + timedelta(minutes=5)
    store = EvidenceStore(state, second, clock)
    store.record_run(run)
    return store.export(run, state / "bundle.zip").read_bytes()


def _rotated(state: Path) -> tuple[bytes, str]:
    return _stored(state, timedelta(seconds=-1), ROTATED), "VALID"


def _late(state: Path) -> bytes:
    return _stored(state, timedelta(seconds=10), ENVIRONMENT)


def _packages(good: Good) -> Iterator[Case]:
    link = stat.S_IFLNK | 0o777
    yield Case("path-leads-out", _with(good, "../evil"), "INVALID", "unsafe-path", 32)
    linked = _with(good, "raw/link", link, b"/etc/shadow")
    yield Case("link", linked, "INVALID", "not-a-file", 32)
    yield Case("bytes-behind", good.packed + b"\n", "INVALID", "hidden-data", 33)
    bomb = good.pack(**{"raw/ledger.jsonl": b"\0" * 2**21})
    yield Case("zip-bomb", bomb, "INVALID", "zip-bomb", 36)


def _with(good: Good, name: str, mode: int = stat.S_IFREG | 0o644, content: bytes = b"x") -> bytes:
    """The archive with one member more, whatever its name and kind."""
    buffer = io.BytesIO(good.packed)
    with zipfile.ZipFile(buffer, "a") as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        archive.writestr(info, content)
    return buffer.getvalue()


def _thief(made: Made) -> Iterator[Case]:
    def other_word(run: Path) -> None:
        path = run / "findings.json"
        path.write_bytes(path.read_bytes().replace(b'"unknown"', b'"not-applicable"'))

    unknown = made(replace(SAMPLE, unreachable=True), meddle=other_word)
    yield Case("unknown-made-not-applicable", unknown.packed, "INVALID", "finding-mismatch", 34)
    narrowed = made(FAILED, meddle=_narrow)
    yield Case("population-narrowed", narrowed.packed, "INVALID", "finding-mismatch", 35)

    def better(run: Any) -> None:
        run["verdict"], run["exit_code"] = "pass", 0
        run["derived"] |= {"verdict": "pass", "exit_code": 0, "reasons": []}

    verdict = made(FAILED, meddle=lambda run: edit_file(run / "run.json", better))
    yield Case("verdict-signed-by-a-thief", verdict.packed, "INVALID", "verdict-mismatch", 38)


def _narrow(run: Path) -> None:
    """Leave out the facts of the endpoint that fails, and judge what is left."""
    facts = json.loads((run / "raw/facts.json").read_bytes())
    facts["facts"] = [one for one in facts["facts"] if one["subject"] != _DOOR]
    (run / "raw/facts.json").write_text(json.dumps(facts))

    def narrow(findings: Any) -> None:
        for finding in findings["findings"]:
            kept = [one for one in finding["observations"] if one["subject"] != _DOOR]
            finding["observations"] = kept
            finding["evidence"] = [one["fact"] for one in kept]
            finding["population_size"] = finding["observed"] = len(kept)
            finding["status"], finding["reason"] = "satisfied", ""

    edit_file(run / "findings.json", narrow)
