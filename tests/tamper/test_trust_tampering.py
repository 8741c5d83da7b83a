"""Evidence against a trust file: roles, validity, revocation, witnesses, timestamps, age.

Numbers: the project's list of cases of tampering. The standalone verifier is asked each time.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from authorities import Openssl, Validity, make, resigned
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from forgers import SAMPLE, Good, build

from orchestrator.evidence import Expectation, LocalSigner, bundle, dsse
from orchestrator.evidence import layout as at
from orchestrator.evidence.countersign import countersign
from orchestrator.evidence.persons.approvals import decide
from orchestrator.evidence.persons.waivers import make as make_waiver
from orchestrator.evidence.tlog import note, proofs
from orchestrator.evidence.tlog.note import NoteSignature
from orchestrator.model.fact import timestamp
from orchestrator.report import render_bundle

PLANNED = SAMPLE.started_at - timedelta(milliseconds=500)
STARTED = SAMPLE.started_at
LOGGED = SAMPLE.started_at + timedelta(minutes=5)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
WITNESSES = ("witness.example/a", "witness.example/b")
AUTHORITY = "tsa.example/one"


def new() -> LocalSigner:
    return LocalSigner(Ed25519PrivateKey.generate())


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Openssl:
    return make(tmp_path_factory.mktemp("tsa"), valid=_YEAR)


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Openssl:
    """An authority that no auditor trusts."""
    return make(tmp_path_factory.mktemp("stranger"), valid=_YEAR)


_YEAR = Validity(datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))


@pytest.fixture(scope="session")
def witnesses() -> dict[str, LocalSigner]:
    return {name: new() for name in WITNESSES}


def key(name: str, signer: LocalSigner, *roles: str, **more: str) -> dict[str, Any]:
    """A key of a trust file."""
    return {"name": name, "roles": list(roles), "public_key": signer.public_key_pem(), **more}


def trust_in(good: Good, **more: Any) -> dict[str, Any]:
    """The trust in the key that signed a bundle, with more parts or other ones."""
    keys = [key("evidence", good.signer, "orchestrator", "log")]
    return {"schema": "anlan.trust/v1", "keys": keys, **more}


def witnessed_by(witnesses: Mapping[str, LocalSigner], quorum: int) -> dict[str, Any]:
    """The parts of a trust file that ask for witnesses."""
    listed = [{"name": n, "public_key": s.public_key_pem()} for n, s in witnesses.items()]
    return {"witnesses": listed, "thresholds": {"witnesses": quorum}}


def stamped_by(authority: Openssl, quorum: int = 1, **more: str) -> dict[str, Any]:
    """The parts of a trust file that ask for timestamps."""
    pems = {
        "roots": authority.pem("root").decode(),
        "intermediates": authority.pem("between").decode(),
    }
    listed = [{"name": AUTHORITY, **pems, **more}]
    return {"timestamp_authorities": listed, "thresholds": {"timestamps": quorum}}


Sign = Callable[[note.Checkpoint], NoteSignature]


def by(name: str, signer: LocalSigner, moment: datetime) -> Sign:
    """A cosignature."""
    return lambda checkpoint: note.cosign(checkpoint, name, signer, moment)


def head(good: Good, kind: str) -> note.Checkpoint:
    return note.parse(proofs.parse_proof(good.contents[at.PROOFS[kind]]).checkpoint)


def cosigned(
    good: Good, plan: Sequence[Sign] = (), run: Sequence[Sign] = ()
) -> dict[str, bytes | None]:
    """The files of a bundle whose checkpoints carry these cosignatures too."""
    heads = {"plan": head(good, "plan"), "run": head(good, "run")}
    heads = {
        kind: one.with_signatures(sign(one) for sign in {"plan": plan, "run": run}[kind])
        for kind, one in heads.items()
    }
    files: dict[str, bytes | None] = {}
    for kind, path in at.PROOFS.items():
        content = heads["plan" if kind == "plan" else "run"].to_bytes()
        files[path] = replace(
            proofs.parse_proof(good.contents[path]), checkpoint=content
        ).to_bytes()
    growth = proofs.parse_growth(good.contents[at.GROWTH])
    files[at.GROWTH] = replace(growth, checkpoint=heads["run"].to_bytes()).to_bytes()
    return files


def token(authority: Openssl, digest: bytes, moment: datetime) -> bytes:
    """A real token of the authority, signed again by its key with another time."""
    text = b"\x18\x0f" + moment.strftime("%Y%m%d%H%M%SZ").encode()

    def change(info: bytes) -> bytes:
        return re.sub(rb"\x18\x0f\d{14}Z", text, info)

    return resigned(authority, authority.certificate(), change)(authority.token(digest))


def stamped(
    good: Good, authority: Openssl, plan: datetime = PLANNED, run: datetime = LOGGED
) -> dict[str, bytes | None]:
    """The tokens of an authority over a bundle's checkpoints, at these times."""
    return {
        at.timestamp_path(kind, AUTHORITY): token(
            authority, hashlib.sha256(head(good, kind).body).digest(), moment
        )
        for kind, moment in (("plan", plan), ("run", run))
    }


def sealed(
    good: Good, files: Mapping[str, bytes | None], signer: LocalSigner | None = None
) -> bytes:
    """The bundle with these files, its report rendered of them, and a manifest signed for them."""
    report = render_bundle(good.edited(dict(files)))
    return good.seal({**files, at.REPORT: report}, signer)


def both(witnesses: Mapping[str, LocalSigner], moment: datetime) -> list[Sign]:
    return [by(name, signer, moment) for name, signer in witnesses.items()]


def codes(good: Good, packed: bytes, trust: dict[str, Any], **expect: Any) -> tuple[str, set[str]]:
    """The status, and the codes of the problems."""
    found = good.check_by(packed, trust, Expectation(**expect) if expect else None)
    return found.status, {problem.code for problem in found.problems}


VALID: tuple[str, set[str]] = ("VALID", set())


def test_evidence_that_all_vouch_for_is_valid_and_says_who(
    good: Good, witnesses: dict[str, LocalSigner], authority: Openssl
) -> None:
    files = cosigned(good, both(witnesses, PLANNED), both(witnesses, LOGGED + DAY))
    packed = sealed(good, files | stamped(good, authority, run=LOGGED + HOUR))
    trust = trust_in(good, **witnessed_by(witnesses, 2) | stamped_by(authority))
    trust["thresholds"] = {"witnesses": 2, "timestamps": 1}
    trust["logs"], trust["environment"] = [head(good, "run").origin], "local"
    found = good.check_by(packed, trust)
    assert (found.status, found.problems) == ("VALID", ())
    summary = found.summary
    assert {(one["name"], one["role"]) for one in summary["signed_by"]} == {
        ("evidence", "orchestrator"),
        ("evidence", "log"),
    }
    assert [(one["name"], one["log"]) for one in summary["witnesses"]] == [
        (name, kind) for kind in ("plan", "run") for name in WITNESSES
    ]
    assert [one["name"] for one in summary["timestamps"]] == [AUTHORITY, AUTHORITY]
    assert summary["existed_by"] == timestamp(LOGGED + HOUR + timedelta(seconds=1.5))


# 12, 37: thresholds and roles


def test_case_12_one_signer_twice_is_one(good: Good) -> None:
    other = new()
    keys = [key("evidence", good.signer, "orchestrator", "log"), key("b", other, "orchestrator")]
    trust = trust_in(good, keys=keys, thresholds={"orchestrator": 2})
    files = {
        path: twice(content) for path, content in good.contents.items() if ".dsse.json" in path
    }
    manifest = files.pop(at.MANIFEST_ENVELOPE)
    assert codes(good, good.pack(**{at.MANIFEST_ENVELOPE: manifest}), trust) == (
        "UNTRUSTED",
        {"untrusted-signer"},
    )
    assert codes(good, sealed(good, files), trust) == ("UNTRUSTED", {"untrusted-signer"})


def twice(content: bytes) -> bytes:
    """An envelope with its signature two times."""
    envelope = dsse.parse(content)
    return replace(envelope, signatures=envelope.signatures * 2).to_bytes()


@pytest.mark.parametrize("role", ["approver", "operator", "verifier"])
def test_case_37_a_person_cannot_sign_for_the_orchestrator(good: Good, role: str) -> None:
    person = new()
    keys = [key("evidence", good.signer, "orchestrator", "log"), key("person", person, role)]
    forged = {"runs/run.dsse.json": good.statement("run", lambda _: None, person)}
    packed = sealed(good, forged)
    assert codes(good, packed, trust_in(good, keys=keys)) == ("UNTRUSTED", {"wrong-role"})


def test_case_37_a_witness_cannot_sign_for_the_orchestrator(
    good: Good, witnesses: dict[str, LocalSigner]
) -> None:
    signer = witnesses[WITNESSES[0]]
    packed = sealed(good, {"runs/run.dsse.json": good.statement("run", lambda _: None, signer)})
    trust = trust_in(good, **witnessed_by(witnesses, 0))
    assert codes(good, packed, trust) == ("UNTRUSTED", {"untrusted-signer"})


def test_case_37_the_logs_key_cannot_sign_statements_where_roles_are_apart(good: Good) -> None:
    apart = [key("log", good.signer, "log"), key("evidence", new(), "orchestrator")]
    assert codes(good, good.packed, trust_in(good, keys=apart)) == ("UNTRUSTED", {"wrong-role"})


def test_case_37_the_orchestrators_key_cannot_sign_the_log_where_roles_are_apart(
    good: Good,
) -> None:
    apart = [key("log", new(), "log"), key("evidence", good.signer, "orchestrator")]
    status, found = codes(good, good.packed, trust_in(good, keys=apart))
    assert (status, found) == ("UNTRUSTED", {"wrong-role"})


def test_roles_apart_are_enough_where_each_signed_its_own(good: Good) -> None:
    statements = new()
    files = {
        path: good.statement(kind, lambda _: None, statements)
        for kind, path in (
            ("plan", at.PLAN_STATEMENT),
            ("controls", at.CONTROLS_STATEMENT),
            ("run", at.RUN_STATEMENT),
        )
    }
    apart = [key("log", good.signer, "log"), key("evidence", statements, "orchestrator")]
    assert codes(good, sealed(good, files, statements), trust_in(good, keys=apart)) == VALID


def test_a_log_that_the_trust_does_not_name_is_unknown(good: Good) -> None:
    trust = trust_in(good, logs=["anlan.dev/log/local/0123456789abcdef"])
    assert codes(good, good.packed, trust) == ("UNTRUSTED", {"log-unknown"})
    assert codes(good, good.packed, trust_in(good, logs=[head(good, "run").origin])) == VALID


def test_a_trust_is_for_its_environment_alone(good: Good) -> None:
    trust = trust_in(good, environment="production")
    assert codes(good, good.packed, trust) == ("INVALID", {"other-environment"})


# 26: witnesses


@pytest.mark.parametrize("quorum", [1, 2])
def test_case_26_a_quorum_of_witnesses_is_missing(
    good: Good, witnesses: dict[str, LocalSigner], quorum: int
) -> None:
    alone = both(witnesses, PLANNED)[: quorum - 1]
    packed = sealed(good, cosigned(good, alone, both(witnesses, LOGGED)))
    trust = trust_in(good, **witnessed_by(witnesses, quorum))
    assert codes(good, packed, trust) == ("UNTRUSTED", {"witness-quorum"})
    packed = sealed(
        good, cosigned(good, both(witnesses, PLANNED), both(witnesses, LOGGED)[:quorum])
    )
    assert codes(good, packed, trust) == VALID


def test_case_26_a_cosignature_by_an_unknown_key_counts_for_nobody(
    good: Good, witnesses: dict[str, LocalSigner]
) -> None:
    forged = [by(name, new(), PLANNED) for name in WITNESSES]
    packed = sealed(good, cosigned(good, forged, forged))
    trust = trust_in(good, **witnessed_by(witnesses, 1))
    assert codes(good, packed, trust) == ("UNTRUSTED", {"witness-quorum"})


def test_case_26_a_witness_that_signs_twice_is_one(
    good: Good, witnesses: dict[str, LocalSigner]
) -> None:
    name = WITNESSES[0]
    again = [by(name, witnesses[name], PLANNED + timedelta(seconds=n)) for n in range(3)]
    packed = sealed(good, cosigned(good, again, again))
    trust = trust_in(good, **witnessed_by(witnesses, 2))
    assert codes(good, packed, trust) == ("UNTRUSTED", {"witness-quorum"})


def test_case_26_a_cosignature_over_another_checkpoint_is_named(
    good: Good, witnesses: dict[str, LocalSigner]
) -> None:
    name = WITNESSES[0]
    moved = note.cosign(head(good, "run"), name, witnesses[name], PLANNED)
    packed = sealed(good, cosigned(good, [lambda _: moved], [by(name, witnesses[name], LOGGED)]))
    trust = trust_in(good, **witnessed_by(witnesses, 0))
    assert codes(good, packed, trust) == ("INVALID", {"log-signature"})


def test_a_witness_counts_within_its_window_alone(
    good: Good, witnesses: dict[str, LocalSigner]
) -> None:
    packed = sealed(good, cosigned(good, both(witnesses, PLANNED), both(witnesses, LOGGED)))
    parts = witnessed_by(witnesses, 2)
    parts["witnesses"][1]["valid_until"] = timestamp(LOGGED - DAY)
    assert codes(good, packed, trust_in(good, **parts)) == ("UNTRUSTED", {"witness-quorum"})


# 27: timestamps


def test_case_27_a_timestamp_of_another_digest(good: Good, authority: Openssl) -> None:
    files = stamped(good, authority)
    plan, run = (at.timestamp_path(kind, AUTHORITY) for kind in ("plan", "run"))
    packed = sealed(good, files | {plan: files[run]})
    status, found = codes(good, packed, trust_in(good, **stamped_by(authority)))
    assert (status, found) == ("INVALID", {"timestamp-mismatch", "timestamp-quorum"})


def test_case_27_a_timestamp_of_an_authority_that_is_not_trusted(
    good: Good, authority: Openssl, stranger: Openssl
) -> None:
    packed = sealed(good, stamped(good, stranger))
    status, found = codes(good, packed, trust_in(good, **stamped_by(authority)))
    assert (status, found) == ("UNTRUSTED", {"timestamp-untrusted", "timestamp-quorum"})


def test_case_27_no_timestamp_where_one_is_asked_for(good: Good, authority: Openssl) -> None:
    trust = trust_in(good, **stamped_by(authority))
    assert codes(good, good.packed, trust) == ("UNTRUSTED", {"timestamp-quorum"})


def test_case_27_a_token_that_is_none(good: Good, authority: Openssl) -> None:
    files = stamped(good, authority) | {at.timestamp_path("run", AUTHORITY): b"0\x03\x02\x01\x00"}
    status, found = codes(good, sealed(good, files), trust_in(good, **stamped_by(authority)))
    assert (status, found) == ("INVALID", {"timestamp-malformed", "timestamp-quorum"})


def test_an_authority_whose_window_is_over_does_not_count(good: Good, authority: Openssl) -> None:
    parts = stamped_by(authority, valid_until=timestamp(STARTED - DAY))
    status, found = codes(good, sealed(good, stamped(good, authority)), trust_in(good, **parts))
    assert (status, found) == ("UNTRUSTED", {"timestamp-expired", "timestamp-quorum"})


# 28: keys that were valid for a time, or revoked


def limited(good: Good, **limits: str) -> dict[str, Any]:
    return {"keys": [key("evidence", good.signer, "orchestrator", "log", **limits)]}


def test_case_28_a_key_that_was_over_when_it_signed_is_expired(good: Good) -> None:
    trust = trust_in(good, **limited(good, valid_until=timestamp(STARTED - HOUR)))
    assert codes(good, good.packed, trust) == ("UNTRUSTED", {"key-expired"})


def test_case_28_a_key_that_was_not_yet_good_when_it_signed(good: Good) -> None:
    trust = trust_in(good, **limited(good, valid_from=timestamp(LOGGED + HOUR)))
    assert codes(good, good.packed, trust) == ("UNTRUSTED", {"key-not-yet-valid"})


def test_case_28_a_key_that_ran_out_since_is_still_good_for_then(good: Good) -> None:
    trust = trust_in(good, **limited(good, valid_until=timestamp(LOGGED + HOUR)))
    assert codes(good, good.packed, trust) == VALID


def test_case_28_the_time_of_others_counts_more_than_the_logs_own(
    good: Good, authority: Openssl
) -> None:
    limits = limited(good, valid_until=timestamp(LOGGED + HOUR))
    trust = trust_in(good, **limits, **stamped_by(authority))
    late = sealed(good, stamped(good, authority, run=LOGGED + DAY))
    assert codes(good, late, trust) == ("UNTRUSTED", {"key-expired"})
    assert codes(good, sealed(good, stamped(good, authority)), trust) == VALID


def test_case_28_a_revoked_key_counts_for_nothing_by_the_logs_own_time(good: Good) -> None:
    limits = limited(good, revoked_at=timestamp(LOGGED + DAY), revoked_why="laptop stolen")
    found = good.check_by(good.packed, trust_in(good, **limits))
    assert found.status == "UNTRUSTED"
    assert {problem.code for problem in found.problems} == {"key-revoked"}
    assert "laptop stolen" in found.problems[0].message


def test_case_28_what_witnesses_saw_before_a_key_was_revoked_still_counts(
    good: Good, witnesses: dict[str, LocalSigner]
) -> None:
    parts = witnessed_by(witnesses, 1)
    packed = sealed(good, cosigned(good, both(witnesses, PLANNED), both(witnesses, LOGGED)))
    after = limited(good, revoked_at=timestamp(LOGGED + DAY))
    assert codes(good, packed, trust_in(good, **parts, **after)) == VALID
    before = limited(good, revoked_at=timestamp(LOGGED - timedelta(minutes=1)))
    status, found = codes(good, packed, trust_in(good, **parts, **before))
    assert (status, found) == ("UNTRUSTED", {"key-revoked"})


def test_case_28_a_timestamp_does_not_save_what_a_revoked_key_signed(
    good: Good, authority: Openssl
) -> None:
    """Anybody may have a text timestamped, and sign it later with a key that he stole."""
    revoked = limited(good, revoked_at=timestamp(LOGGED + DAY))
    trust = trust_in(good, **stamped_by(authority), **revoked)
    status, found = codes(good, sealed(good, stamped(good, authority)), trust)
    assert (status, found) == ("UNTRUSTED", {"key-revoked"})


def test_a_key_follows_another_and_each_counts_for_its_time(good: Good) -> None:
    turn = timestamp(LOGGED + HOUR)
    old = key("2026", good.signer, "orchestrator", "log", valid_until=turn)
    next_ = LocalSigner(generate_private_key(SECP256R1()))
    fresh = key("2027", next_, "orchestrator", "log", valid_from=turn)
    trust = trust_in(good, keys=[fresh, old])
    assert codes(good, good.packed, trust) == VALID
    again = sealed(good, {}, next_)  # exported once more after the turn
    assert codes(good, again, trust) == VALID
    early = sealed(good, {at.RUN_STATEMENT: good.statement("run", lambda _: None, next_)})
    assert codes(good, early, trust) == ("UNTRUSTED", {"key-not-yet-valid"})


def test_a_bundle_that_a_key_packed_which_was_over_before_the_run(good: Good) -> None:
    old = new()
    over = key("old", old, "orchestrator", valid_until=timestamp(STARTED - DAY))
    keys = [key("evidence", good.signer, "orchestrator", "log"), over]
    packed = sealed(good, {}, old)
    assert codes(good, packed, trust_in(good, keys=keys)) == ("UNTRUSTED", {"key-expired"})


# 29: the clock set back


def test_case_29_a_clock_that_was_set_back_is_found_out_by_others(
    good: Good, witnesses: dict[str, LocalSigner], authority: Openssl
) -> None:
    late = cosigned(good, both(witnesses, PLANNED + DAY), both(witnesses, LOGGED + DAY))
    trust = trust_in(good, **witnessed_by(witnesses, 1))
    assert codes(good, sealed(good, late), trust) == ("INVALID", {"plan-after-run"})
    late = stamped(good, authority, PLANNED + DAY, LOGGED + DAY)
    trust = trust_in(good, **stamped_by(authority))
    assert codes(good, sealed(good, late), trust) == ("INVALID", {"plan-after-run"})


def test_case_29_a_plan_that_was_made_when_the_run_had_begun(
    good: Good, authority: Openssl
) -> None:
    trust = trust_in(good, **stamped_by(authority))
    late = stamped(good, authority, plan=STARTED + timedelta(seconds=20))
    assert codes(good, sealed(good, late), trust) == ("INVALID", {"plan-after-run"})
    near = stamped(good, authority, plan=STARTED + timedelta(seconds=2))
    assert codes(good, sealed(good, near), trust) == VALID


def test_case_29_nothing_is_logged_later_than_others_saw_it(good: Good, authority: Openssl) -> None:
    trust = trust_in(good, **stamped_by(authority))
    early = stamped(good, authority, run=LOGGED - timedelta(minutes=2))
    assert codes(good, sealed(good, early), trust) == ("INVALID", {"impossible-time"})


def test_one_witness_that_lies_about_the_time_is_not_believed_where_two_are_asked_for(
    good: Good, witnesses: dict[str, LocalSigner]
) -> None:
    one, other = witnesses.items()
    plan = [by(*one, PLANNED - DAY), by(*other, PLANNED)]
    packed = sealed(good, cosigned(good, plan, both(witnesses, LOGGED)))
    assert codes(good, packed, trust_in(good, **witnessed_by(witnesses, 2))) == VALID
    status, found = codes(good, packed, trust_in(good, **witnessed_by(witnesses, 1)))
    assert (status, found) == ("INVALID", {"impossible-time"})


# age


def test_evidence_that_is_older_than_asked_for_is_stale(good: Good) -> None:
    trust = trust_in(good, max_age_days=30)
    assert codes(good, good.packed, trust, at=STARTED + 30 * DAY) == VALID
    status = codes(good, good.packed, trust, at=STARTED + 31 * DAY)
    assert status == ("STALE", {"too-old"})
    status = codes(good, good.packed, trust_in(good), not_before=STARTED + DAY)
    assert status == ("STALE", {"too-old"})


def test_an_old_run_does_not_look_younger_than_others_saw_it(
    good: Good, authority: Openssl
) -> None:
    """The age counts from the time that the run says, or from that of others if it is earlier."""
    trust = trust_in(good, max_age_days=1, **stamped_by(authority, 0))
    packed = sealed(good, stamped(good, authority, run=LOGGED))
    assert codes(good, packed, trust, at=STARTED + DAY) == VALID


# persons who sign a bundle too


@dataclass(frozen=True)
class Persons:
    operator: LocalSigner = field(default_factory=new)
    verifier: LocalSigner = field(default_factory=new)

    def keys(self, good: Good, **limits: str) -> list[dict[str, Any]]:
        return [
            key("evidence", good.signer, "orchestrator", "log"),
            key("olga", self.operator, "operator"),
            key("vera", self.verifier, "verifier", **limits),
        ]


def test_persons_sign_a_bundle_too_where_the_trust_asks_for_them(good: Good) -> None:
    persons = Persons()
    trust = trust_in(good, keys=persons.keys(good), thresholds={"operator": 1, "verifier": 1})
    assert codes(good, good.packed, trust) == ("UNTRUSTED", {"untrusted-signer"})
    one = countersign(good.packed, persons.operator)
    assert codes(good, one, trust) == ("UNTRUSTED", {"untrusted-signer"})
    two = countersign(one, persons.verifier)
    found = good.check_by(two, trust)
    assert found.status == "VALID"
    assert {"olga", "vera", "evidence"} == {one["name"] for one in found.summary["signed_by"]}
    assert countersign(two, persons.operator) == two
    assert countersign(countersign(good.packed, persons.verifier), persons.operator) == two


def test_case_12_a_person_who_signs_twice_is_one(good: Good) -> None:
    persons = Persons()
    keys = [*persons.keys(good), key("otto", new(), "operator")]
    trust = trust_in(good, keys=keys, thresholds={"operator": 2})
    files = bundle.unpack(countersign(good.packed, persons.operator))
    envelope = dsse.parse(files[at.MANIFEST_ENVELOPE])
    doubled = replace(envelope, signatures=(*envelope.signatures, envelope.signatures[-1]))
    packed = bundle.archive({**files, at.MANIFEST_ENVELOPE: doubled.to_bytes()})
    assert codes(good, packed, trust) == ("UNTRUSTED", {"untrusted-signer"})


def test_a_revoked_persons_word_on_a_bundle_counts_for_nothing(
    good: Good, witnesses: dict[str, LocalSigner]
) -> None:
    persons = Persons()
    keys = persons.keys(good, revoked_at=timestamp(LOGGED + DAY))
    parts = witnessed_by(witnesses, 1) | {"thresholds": {"verifier": 1, "witnesses": 1}}
    files = cosigned(good, both(witnesses, PLANNED), both(witnesses, LOGGED))
    packed = countersign(sealed(good, files), persons.verifier)
    status, found = codes(good, packed, trust_in(good, keys=keys, **parts))
    assert (status, found) == ("UNTRUSTED", {"key-revoked"})


def test_a_countersignature_over_another_manifest_does_not_hold(good: Good, failed: Good) -> None:
    persons = Persons()
    trust = trust_in(good, keys=persons.keys(good), thresholds={"verifier": 1})
    other = bundle.unpack(countersign(failed.packed, persons.verifier))
    stolen = dsse.parse(other[at.MANIFEST_ENVELOPE]).signatures[-1]
    envelope = dsse.parse(good.contents[at.MANIFEST_ENVELOPE])
    forged = replace(envelope, signatures=(*envelope.signatures, stolen)).to_bytes()
    status, found = codes(good, good.pack(**{at.MANIFEST_ENVELOPE: forged}), trust)
    assert status == "INVALID"
    assert "bad-signature" in found


# whose word on a plan counts


@pytest.fixture(scope="module")
def approver() -> LocalSigner:
    return new()


@pytest.fixture(scope="module")
def rule(approver: LocalSigner) -> dict[str, Any]:
    listed = [{"name": "li-wei", "public_key": approver.public_key_pem()}]
    return {"schema": "anlan.approvals/v1", "required": 1, "approvers": listed}


@pytest.fixture(scope="module")
def approved(
    tmp_path_factory: pytest.TempPathFactory,
    signer: LocalSigner,
    approver: LocalSigner,
    rule: dict[str, Any],
) -> Good:
    """A drill that an approver of the environment's rule approved."""

    def approve(run_dir: Path) -> None:
        plan = json.loads((run_dir / "plan.json").read_bytes())
        name, envelope = decide(plan, "approve", approver, "", SAMPLE.started_at)
        path = run_dir / "raw/approvals" / f"{name}.json"
        path.parent.mkdir(parents=True)
        path.write_bytes(envelope)

    sample = replace(SAMPLE, rule=rule)
    return build(tmp_path_factory.mktemp("approved"), sample, signer, prepare=approve)


def test_case_37_an_approval_counts_by_a_key_with_that_role_alone(
    approved: Good, approver: LocalSigner, witnesses: dict[str, LocalSigner]
) -> None:
    own = key("evidence", approved.signer, "orchestrator", "log")
    for others, expected in (
        ([], VALID),
        ([key("li-wei", approver, "approver")], VALID),
        ([key("wang", new(), "approver")], ("UNTRUSTED", {"wrong-role"})),
        (
            [key("li-wei", approver, "operator"), key("wang", new(), "approver")],
            ("UNTRUSTED", {"wrong-role"}),
        ),
        (
            [key("li-wei", approver, "approver", valid_until=timestamp(STARTED - DAY))],
            ("UNTRUSTED", {"key-expired"}),
        ),
    ):
        trust = trust_in(approved, keys=[own, *others])
        assert codes(approved, approved.packed, trust) == expected


def test_the_approval_rule_of_the_trust_is_the_one_that_must_have_been_followed(
    good: Good, approved: Good, rule: dict[str, Any]
) -> None:
    trust = trust_in(approved, approvals=rule)
    assert codes(approved, approved.packed, trust) == VALID
    someone = [{"name": "li-wei", "public_key": new().public_key_pem()}]
    other = {**rule, "approvers": someone}
    assert codes(approved, approved.packed, trust_in(approved, approvals=other)) == (
        "INVALID",
        {"approval-rule"},
    )
    # what is asked for on the command line wins
    status = codes(approved, approved.packed, trust_in(approved, approvals=other), approvals=rule)
    assert status == VALID


def test_case_37_a_waiver_counts_by_a_key_with_the_role_of_approvers_alone(
    tmp_path: Path, signer: LocalSigner, approver: LocalSigner, rule: dict[str, Any]
) -> None:
    begins = SAMPLE.started_at - 10 * DAY
    wanted = {
        "policy": "tls-version",
        "subjects": ["common/front-door"],
        "environment": "local",
        "owner": "Li Wei",
        "reason": "the proxy is replaced",
        "from": timestamp(begins),
        "until": timestamp(begins + 30 * DAY),
    }
    kept = {"one.json": make_waiver(rule, wanted, approver, begins)[1]}
    sample = replace(SAMPLE, drill="restore", weak_tls=True, waiver_rule=rule, waivers=kept)
    waived = build(tmp_path, sample, signer)
    own = key("evidence", signer, "orchestrator", "log")
    trust = trust_in(waived, keys=[own, key("li-wei", approver, "approver")])
    assert codes(waived, waived.packed, trust) == VALID
    trust = trust_in(waived, keys=[own, key("wang", new(), "approver")])
    assert codes(waived, waived.packed, trust) == ("UNTRUSTED", {"wrong-role"})
