"""Waivers: who may sign one, for how long, what counts, and that none makes a finding satisfied."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from run_samples import Clock, Sample, record

from orchestrator.cli import signing
from orchestrator.cli.policy import policy as command
from orchestrator.evidence import EvidenceStore, LocalSigner, dsse, statement
from orchestrator.evidence.audit import audit
from orchestrator.evidence.persons import attestations
from orchestrator.evidence.persons.waivers import judge, make, same
from orchestrator.evidence.retained.kept import ToLog
from orchestrator.evidence.tlog.log import log_of
from orchestrator.model.canonical import canonical
from orchestrator.model.errors import InfrastructureError, InputError, Refused
from orchestrator.model.fact import Fact, facts_document, timestamp
from orchestrator.model.policy import Finding, findings_document, parse_policies
from orchestrator.model.schema import check
from orchestrator.model.waiver import Waiver
from orchestrator.policy import Parameters, evaluate

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
KEYS = {name: LocalSigner(Ed25519PrivateKey.generate()) for name in ("li-wei", "wang")}
SIGNER = LocalSigner(Ed25519PrivateKey.generate())  # the environment's
STRANGER = LocalSigner(Ed25519PrivateKey.generate())
RULE: dict[str, Any] = {
    "schema": "anlan.approvals/v1",
    "required": 1,
    "approvers": [{"name": name, "public_key": key.public_key_pem()} for name, key in KEYS.items()],
}


def wanted(**more: Any) -> dict[str, Any]:
    return {
        "policy": "clocks",
        "subjects": ["b/postgresql"],
        "environment": "local",
        "owner": "Li Wei",
        "reason": "clock card ordered",
        "from": timestamp(NOW),
        "until": timestamp(NOW + timedelta(days=30)),
        **more,
    }


def signed(key: LocalSigner = KEYS["li-wei"], **more: Any) -> bytes:
    return make(RULE, wanted(**more), key, NOW)[1]


def forged(change: Callable[[dict[str, Any]], None], key: LocalSigner = KEYS["li-wei"]) -> bytes:
    """An envelope over a changed statement, signed anew."""
    data = json.loads(dsse.parse(signed()).payload)
    change(data)
    return dsse.sign(canonical(data), statement.PAYLOAD_TYPE, key).to_bytes()


def waiver_of(data: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = data["predicate"]["waiver"]
    return found


def judged(content: bytes, rule: dict[str, Any] | None = RULE, now: datetime = NOW) -> Any:
    return judge({"one.json": content}, rule, "local", now)


def test_an_approvers_waiver_counts_until_its_last_moment() -> None:
    until = NOW + timedelta(days=30)
    (one,) = judged(signed()).counting
    assert (one.policy, one.subjects, one.owner) == ("clocks", ("b/postgresql",), "Li Wei")
    assert (one.approver, one.ends) == ("li-wei", until)
    assert judged(signed(), now=until).counting == (one,)
    after = judged(signed(), now=until + timedelta(milliseconds=1))
    assert after.counting == ()
    assert [problem.code for problem in after.problems] == ["waiver-expired"]
    assert not after.damaged


def test_one_that_is_not_yet_in_force_does_not_count_and_is_no_problem() -> None:
    early = judged(signed(), now=NOW - timedelta(days=1))
    assert (early.counting, early.problems) == ((), ())
    assert len(early.waivers) == 1


@pytest.mark.parametrize("until", [NOW - timedelta(days=1), NOW])
def test_an_end_that_is_over_is_refused(until: datetime) -> None:
    with pytest.raises(InputError, match="would be over"):
        signed(until=timestamp(until))


def test_an_end_too_far_away_is_refused_by_the_rules_number() -> None:
    signed(until=timestamp(NOW + timedelta(days=365)))
    with pytest.raises(Refused, match="longer than 365 days"):
        signed(until=timestamp(NOW + timedelta(days=366)))
    strict = {**RULE, "waiver_days": 30}
    make(strict, wanted(), KEYS["wang"], NOW)
    with pytest.raises(Refused, match="longer than 29 days"):
        make({**RULE, "waiver_days": 29}, wanted(), KEYS["wang"], NOW)


def test_a_key_of_nobody_signs_nothing() -> None:
    with pytest.raises(Refused, match=r"of no approver of local[\s\S]*li-wei, wang"):
        make(RULE, wanted(), STRANGER, NOW)
    with pytest.raises(Refused, match="name approvers"):
        make({}, wanted(), STRANGER, NOW)


@pytest.mark.parametrize(
    "more", [{"reason": ""}, {"owner": ""}, {"subjects": []}, {"until": "soon"}]
)
def test_a_waiver_without_a_reason_owner_or_subject_is_none(more: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        signed(**more)


def test_the_same_words_are_the_same_waiver_whenever_they_begin() -> None:
    one, other = (make(RULE, wanted(), KEYS["wang"], NOW)[0] for _ in "ab")
    later = {"from": timestamp(NOW + timedelta(hours=1))}
    assert same(one, make(RULE, wanted(**later), KEYS["wang"], NOW)[0])
    assert same(one, other)
    for more in ({"reason": "another"}, {"owner": "Wang"}, {"subjects": ["*"]}):
        assert not same(one, make(RULE, wanted(**more), KEYS["wang"], NOW)[0])
    assert not same(one, make(RULE, wanted(), KEYS["li-wei"], NOW)[0])


def changed_payload(content: bytes, old: bytes, new: bytes) -> bytes:
    envelope = dsse.parse(content)
    assert old in envelope.payload
    return replace(envelope, payload=envelope.payload.replace(old, new)).to_bytes()


def unsigned(content: bytes) -> bytes:
    return canonical({**json.loads(content), "signatures": []})


def flipped(content: bytes) -> bytes:
    data = json.loads(content)
    signature = bytearray(base64.b64decode(data["signatures"][0]["sig"]))
    signature[0] ^= 1
    data["signatures"][0]["sig"] = base64.b64encode(bytes(signature)).decode()
    return canonical(data)


TAMPERED = [
    # what is there, the code, whether the file is damaged
    (lambda: b"nonsense", "waiver-malformed", True),
    (lambda: signed()[:-20], "waiver-malformed", True),
    (lambda: signed().replace(b'"payload"', b'"payLoad"'), "waiver-malformed", True),
    (lambda: json.dumps(json.loads(signed()), indent=1).encode(), "waiver-malformed", True),
    (lambda: unsigned(signed()), "waiver-malformed", True),
    (lambda: flipped(signed()), "waiver-signature", True),
    (lambda: changed_payload(signed(), b"clocks", b"object"), "waiver-signature", True),
    (lambda: changed_payload(signed(), b"b/postgresql", b"*"), "waiver-signature", True),
    (lambda: changed_payload(signed(), b"2026-12-28T", b"2027-11-28T"), "waiver-signature", True),
    (lambda: changed_payload(signed(), b'"local"', b'"other"'), "waiver-signature", True),
    (lambda: changed_payload(signed(), b"li-wei", b"wang"), "waiver-signature", True),
    (lambda: forged(lambda data: None, STRANGER), "waiver-foreign", False),
    (
        lambda: forged(lambda data: waiver_of(data).update(approver="wang")),
        "waiver-foreign",
        False,
    ),
    (
        lambda: forged(lambda data: waiver_of(data).update(until="2029-01-01T00:00:00.000Z")),
        "waiver-too-long",
        False,
    ),
    (
        lambda: signed(environment="elsewhere"),
        "waiver-other-environment",
        False,
    ),
    (
        lambda: forged(lambda data: data.update(predicateType=statement.PREDICATES["plan"])),
        "waiver-malformed",
        True,
    ),
    (lambda: forged(lambda data: waiver_of(data).pop("owner")), "waiver-malformed", True),
    (lambda: forged(lambda data: waiver_of(data).update(note="x")), "waiver-malformed", True),
]


@pytest.mark.parametrize(("content", "code", "damaged"), TAMPERED)
def test_what_is_no_approvers_waiver_of_this_environment_is_named_and_does_not_count(
    content: Callable[[], bytes], code: str, damaged: bool
) -> None:
    found = judge({"bad.json": content(), "good.json": signed()}, RULE, "local", NOW)
    assert [(one.code, one.path) for one in found.problems] == [(code, "waivers/bad.json")]
    assert found.damaged is damaged
    assert len(found.counting) == 1, "another file's waiver still counts"


def test_an_approver_who_left_the_rule_has_no_waiver_any_more() -> None:
    rule = {**RULE, "approvers": RULE["approvers"][1:]}
    for without in (rule, None):
        found = judged(signed(), without)
        assert found.counting == ()
        assert [one.code for one in found.problems] == ["waiver-foreign"]


def test_a_rule_that_became_stricter_ends_what_is_too_long() -> None:
    found = judged(signed(), {**RULE, "waiver_days": 7})
    assert [one.code for one in found.problems] == ["waiver-too-long"]


POLICY = """
schema: anlan.policies/v2
policies:
  - id: clocks
    title: {en: Clocks are in step, zh: 时钟一致}
    rationale: {en: Logs must agree., zh: 日志须一致。}
    severity: P2
    facts: clock_offset
    subjects: ['{site}/postgresql']
    valid_hours: 26
    must:
      - field: deviation_seconds
        schema: {type: number, maximum: 1}
        else: off by {actual} s
    remediation: {en: Use a time source., zh: 使用时间源。}
    examples:
      - {expect: satisfied, data: {deviation_seconds: 0}}
      - {expect: not-satisfied, data: {deviation_seconds: 3}}
"""


def fact(site: str, deviation: float) -> Fact:
    data = {"deviation_seconds": deviation, "offset_seconds": 0.0, "round_trip_seconds": 0.0}
    return Fact("clock_offset", f"{site}/postgresql", NOW, "test", "", 1, 1.0, "observed", "", data)


def finding(a: float, b: float | None, *waivers: Waiver, now: datetime = NOW) -> Finding:
    facts = [fact("a", a)] + ([fact("b", b)] if b is not None else [])
    parameters = Parameters({"sites": {"a": {}, "b": {}}}, {})
    (found,) = evaluate(parse_policies(POLICY), facts, parameters, now, waivers=waivers)
    return found


def waiver(*subjects: str, policy: str = "clocks", days: float = 30) -> Waiver:
    ends = NOW + timedelta(days=days)
    return Waiver(policy, subjects, "local", "Li Wei", "ordered", NOW, ends, "li-wei", "0" * 64)


def test_a_waived_finding_carries_the_waiver_and_stays_not_satisfied() -> None:
    found = finding(0, 3, waiver("b/*"))
    assert found.status == "not-satisfied"
    assert [one.status for one in found.observations] == ["satisfied", "not-satisfied"]
    assert found.is_waived
    assert found.to_json()["waivers"] == [
        {
            "subject": "b/postgresql",
            "owner": "Li Wei",
            "reason": "ordered",
            "until": "2026-12-28T12:00:00.000Z",
            "digest": "0" * 64,
        }
    ]
    check(findings_document([found], NOW), "finding")


def test_one_subject_that_is_not_waived_makes_the_finding_count() -> None:
    found = finding(3, 3, waiver("b/*"))
    assert [one.subject for one in found.waivers] == ["b/postgresql"]
    assert not found.is_waived
    assert finding(3, 3, waiver("*")).is_waived


def test_a_waiver_covers_what_is_unknown_too_but_not_what_is_satisfied() -> None:
    assert finding(0, None, waiver("b/*")).is_waived
    good = finding(0, 0, waiver("*"))
    assert (good.status, good.waivers, good.is_waived) == ("satisfied", (), False)


@pytest.mark.parametrize(
    "other",
    [waiver("b/*", policy="clock"), waiver("B/*"), waiver("b/post"), waiver("b/*", days=-1)],
)
def test_a_waiver_of_something_else_changes_nothing(other: Waiver) -> None:
    found = finding(0, 3, other)
    assert (found.waivers, found.is_waived) == ((), False)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment `local` with a rule, a folder with the one policy, facts, and a key file."""
    folder = tmp_path / "env" / "local"
    folder.mkdir(parents=True)
    descriptor = {"name": "local", "sites": {"a": {}, "b": {}}, "approvals": RULE}
    (folder / "environment.json").write_text(json.dumps(descriptor))
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "mine.yaml").write_text(POLICY)
    now = datetime.now(UTC)
    facts = [replace(fact("a", 0), collected_at=now), replace(fact("b", 3), collected_at=now)]
    (tmp_path / "facts.json").write_text(json.dumps(facts_document(facts)))
    pem = KEYS["li-wei"]._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key.pem").write_bytes(pem)
    (tmp_path / "key.pem").chmod(0o600)
    monkeypatch.setenv("ANLAN_STATE_DIR", str(tmp_path))
    monkeypatch.setattr(signing, "signing_store", lambda _: EvidenceStore(tmp_path, SIGNER))
    return tmp_path


def called(place: Path, verb: str, *arguments: str) -> Result:
    more = [] if verb in {"waivers", "withdraw"} else ["--policies", str(place / "policies")]
    return CliRunner().invoke(command, [verb, "local", *arguments, *more], standalone_mode=False)


def waived(place: Path, *more: str, days: int = 30) -> Result:
    until = (datetime.now(UTC) + timedelta(days=days)).date().isoformat()
    given = ["--reason", "ordered", "--owner", "Li Wei", "--key", str(place / "key.pem")]
    return called(place, "waive", "clocks", "--subject", "b/*", "--until", until, *given, *more)


def checked(place: Path, *more: str) -> Result:
    return called(place, "check", "--facts", str(place / "facts.json"), *more)


def kept(place: Path) -> list[Path]:
    return sorted((place / "env" / "local" / "waivers").glob("*"))


def test_a_check_ends_with_0_when_all_is_waived_and_says_so(place: Path) -> None:
    assert checked(place).return_value == 1
    assert waived(place).exception is None
    result = checked(place)
    assert result.return_value == 0
    assert "1 waived, not satisfied (clocks); the first waiver ends " in result.stderr
    assert "not satisfied" in " ".join(result.stdout.split())
    document = json.loads(checked(place, "--json").stdout)
    check(document, "finding")
    assert document["findings"][0]["status"] == "not-satisfied"


def test_a_dry_run_keeps_nothing_and_the_same_waiver_is_kept_once(place: Path) -> None:
    assert "would be kept" in waived(place, "--dry-run").output
    assert kept(place) == []
    assert waived(place).output.rstrip().endswith("kept")
    assert "was there already" in waived(place).output
    assert len(kept(place)) == 1
    assert (
        kept(place)[0].stem
        == hashlib.sha256(dsse.parse(kept(place)[0].read_bytes()).payload).hexdigest()
    )


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda content: changed_payload(content, b"ordered", b"obvious"), 2),
        (lambda content: content[:-1], 2),
        (unsigned, 2),
        (
            lambda content: dsse.sign(
                dsse.parse(content).payload, statement.PAYLOAD_TYPE, STRANGER
            ).to_bytes(),
            1,
        ),
    ],
)
def test_a_waiver_that_was_tampered_with_is_named_and_does_not_count(
    place: Path, damage: Callable[[bytes], bytes], code: int
) -> None:
    waived(place)
    (file,) = kept(place)
    file.write_bytes(damage(file.read_bytes()))
    result = checked(place)
    assert result.return_value == code
    assert f"waiver not counted: waivers/{file.name}" in result.stderr
    assert "waived, not satisfied" not in result.stderr
    listed = called(place, "waivers", "--json")
    assert listed.return_value == (2 if code == 2 else 0)
    assert json.loads(listed.stdout)["waivers"] == []
    assert len(json.loads(listed.stdout)["problems"]) == 1


def test_an_expired_waiver_does_not_count_and_is_named(place: Path) -> None:
    past = datetime.now(UTC) - timedelta(days=9)
    more = {"from": timestamp(past), "until": timestamp(past + timedelta(days=1))}
    _, envelope = make(RULE, wanted(**more), KEYS["li-wei"], past)
    folder = place / "env" / "local" / "waivers"
    folder.mkdir()
    (folder / "old.json").write_bytes(envelope)
    result = checked(place)
    assert result.return_value == 1
    assert "(waiver-expired): expired " in result.stderr
    (row,) = json.loads(called(place, "waivers", "--json").stdout)["waivers"]
    assert row["state"] == "expired"


def test_the_waivers_of_an_environment_are_listed(place: Path) -> None:
    assert "no policy is waived in local" in called(place, "waivers").output
    waived(place)
    text = " ".join(called(place, "waivers").output.split())
    assert f"{kept(place)[0].stem[:8]} clocks b/* in force" in text
    assert "Li Wei, signed by li-wei" in text


def logged(place: Path) -> list[str]:
    """The statements of waivers in the log, in order."""
    return [e.statement for e in log_of(place, "local").entries() if e.kind == "waiver"]


def problems(place: Path) -> set[str]:
    return {one.code for one in audit(place, "local", [SIGNER.public_key]).problems}


def withdrawn(place: Path, name: str, reason: str = "the card is in") -> Result:
    key = str(place / "key.pem")
    return called(place, "withdraw", name, "--reason", reason, "--key", key)


def test_a_waiver_is_in_the_log_before_it_is_in_force_and_once(place: Path) -> None:
    waived(place)
    waived(place)
    assert logged(place) == [kept(place)[0].stem]
    found = audit(place, "local", [SIGNER.public_key])
    assert (found.status, found.to_json()["runs"]) == ("VALID", 0)


def test_when_nothing_can_be_signed_nothing_is_half_waived(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Down(LocalSigner):
        def public_key_pem(self) -> str:
            raise InfrastructureError("the secret manager is sealed", "unseal it")

    down = EvidenceStore(place, Down(Ed25519PrivateKey.generate()))
    with monkeypatch.context() as broken:
        broken.setattr(signing, "signing_store", lambda _: down)
        error = waived(place).exception
    assert isinstance(error, InfrastructureError)
    assert "nothing was changed" in error.what
    assert "sealed" in error.what
    assert (kept(place), logged(place)) == ([], [])
    assert not list((place / "evidence").rglob("*.dsse.json"))
    assert waived(place).exception is None


@pytest.mark.parametrize("left", ["statement", "statement and entry"])
def test_a_command_that_died_half_way_is_finished_by_the_same_again(place: Path, left: str) -> None:
    waived(place)
    (file,) = kept(place)
    digest = file.stem
    file.unlink()
    if left == "statement":
        shutil.rmtree(place / "evidence" / "log")
    assert "kept" in waived(place).output
    assert [one.stem for one in kept(place)] == [digest]
    assert logged(place) == [digest]


def test_a_waiver_that_the_log_does_not_hold_does_not_count_until_it_is_signed_again(
    place: Path,
) -> None:
    now = datetime.now(UTC)
    ends = datetime.combine(now.date() + timedelta(days=30), time(23, 59, 59, 999000), UTC)
    more = {"subjects": ["b/*"], "reason": "ordered", "from": timestamp(now)}
    _, envelope = make(RULE, wanted(**more, until=timestamp(ends)), KEYS["li-wei"], now)
    folder = place / "env" / "local" / "waivers"
    folder.mkdir()
    (folder / f"{hashlib.sha256(dsse.parse(envelope).payload).hexdigest()}.json").write_bytes(
        envelope
    )
    result = checked(place)
    assert (result.return_value, "(waiver-unlogged)" in result.stderr) == (1, True)
    assert waived(place).exception is None
    assert logged(place) == [kept(place)[0].stem]
    assert checked(place).return_value == 0


def test_a_withdrawn_waiver_counts_no_more_and_both_stay_in_the_log(place: Path) -> None:
    waived(place)
    (file,) = kept(place)
    content = file.read_bytes()
    assert withdrawn(place, file.stem[:8]).output.endswith(": withdrawn\n")
    assert checked(place).return_value == 1
    assert kept(place) == []
    assert withdrawn(place, file.stem[:8]).output.endswith("withdrawn already\n")
    assert len(logged(place)) == 2
    assert problems(place) == set()
    file.write_bytes(content)
    result = checked(place)
    assert (result.return_value, "(waiver-withdrawn)" in result.stderr) == (1, True)
    assert problems(place) == set()


def test_the_same_waiver_may_be_signed_again_after_it_was_withdrawn(place: Path) -> None:
    waived(place)
    first = kept(place)[0].stem
    withdrawn(place, first)
    assert waived(place).output.rstrip().endswith("kept")
    assert [one.stem for one in kept(place)] != [first]
    assert checked(place).return_value == 0


def test_who_may_not_waive_may_not_withdraw(place: Path) -> None:
    waived(place)
    pem = STRANGER._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (place / "key.pem").write_bytes(pem)
    error = withdrawn(place, kept(place)[0].stem).exception
    assert isinstance(error, Refused)
    assert isinstance(withdrawn(place, "0" * 64).exception, InputError)
    assert checked(place).return_value == 0


@pytest.mark.parametrize("which", ["waiver", "withdrawal"])
def test_a_logged_word_that_is_gone_or_changed_is_named(place: Path, which: str) -> None:
    waived(place)
    digest = kept(place)[0].stem
    withdrawn(place, digest)
    waived(place)
    number = 0 if which == "waiver" else 1
    file = place / "evidence/statements" / f"{logged(place)[number]}.dsse.json"
    file.write_bytes(file.read_bytes().replace(b'"sig":"', b'"sigs":"'))
    assert problems(place) == {"bad-statement"}
    file.unlink()
    assert problems(place) == {"bad-statement"}
    # It could be the withdrawal of the waiver that is in force.
    result = checked(place)
    assert (result.return_value, "(waiver-unknown)" in result.stderr) == (1, True)


def test_a_waiver_that_counted_in_a_run_and_is_not_in_the_log_is_named(tmp_path: Path) -> None:
    """Nor one that was logged after the result, or withdrawn before the plan."""
    begins = Sample().started_at
    ends = timestamp(begins + timedelta(days=30))
    more = {"policy": "tls-version", "subjects": ["common/front-door"]}
    waiver, envelope = make(
        RULE, wanted(**more, **{"from": timestamp(begins), "until": ends}), KEYS["li-wei"], begins
    )
    sample = Sample(
        drill="restore",
        run_id="restore-0001",
        weak_tls=True,
        waiver_rule=RULE,
        waivers={"one.json": envelope},
    )

    def log_it(state: Path, content: bytes, minutes: float) -> None:
        clock = Clock(begins + timedelta(minutes=minutes))
        one = ToLog("waiver", "waiver-local", dsse.parse(content).payload, content)
        EvidenceStore(state, SIGNER, clock).record_statement("local", one)

    gone = attestations.withdraw(RULE, waiver, KEYS["wang"], reason="x", now=begins)
    never, before, after, withdrawn_ = (tmp_path / name for name in "abcd")
    log_it(before, envelope, -10)
    log_it(withdrawn_, envelope, -10)
    log_it(withdrawn_, gone, -9)
    for state in (never, before, after, withdrawn_):
        record(state, sample, SIGNER)
    log_it(after, envelope, 10)
    log_it(before, gone, 10)
    assert problems(never) == problems(after) == {"unlogged-waiver"}
    assert problems(before) == set()
    assert problems(withdrawn_) == {"withdrawn-waiver"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["clock", "--subject", "b/*", "--until", "2099-01-01"], "did you mean clocks"),
        (["clocks", "--subject", "c/*", "--until", "2099-01-01"], "has no subject 'c/*'"),
        (["clocks", "--subject", "b/*", "--until", "soon"], "not a day"),
        (["clocks", "--subject", "b/*", "--until", "2020-01-01"], "would be over"),
        (["clocks", "--subject", "b/*", "--until", "2099-01-01"], "longer than 365 days"),
    ],
)
def test_what_cannot_be_waived_is_refused(place: Path, arguments: list[str], says: str) -> None:
    given = ["--reason", "x", "--owner", "y", "--key", str(place / "key.pem")]
    result = called(place, "waive", *arguments, *given)
    assert result.exception is not None
    assert says in str(result.exception)
    assert kept(place) == []
