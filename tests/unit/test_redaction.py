"""Secrets are found by what they look like, replaced in place, and never taken for evidence."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given
from hypothesis import strategies as st
from real_samples import record_real
from run_samples import Sample, write_plan, write_result

from orchestrator.engine import finish, runs
from orchestrator.evidence import EvidenceStore, LocalSigner, bundle, layout, predicates
from orchestrator.evidence.contents import Contents
from orchestrator.evidence.persons import said
from orchestrator.evidence.redaction import (
    FILE,
    check_secrets,
    redact,
    redacted,
    scan,
    scan_files,
)
from orchestrator.evidence.secret_patterns import PATTERNS
from orchestrator.model.errors import InputError, Refused
from orchestrator.model.folders import data_folder
from orchestrator.model.schema import check

ROOT = Path(__file__).parents[2]
TOKEN = "hvs.CAESIJ8wq2Zk3tYbXn4Lr7PfVd0Hs6Gc"  # of no server
SAMPLE = Sample(run_id="failover-0001")
SIGNER = LocalSigner(Ed25519PrivateKey.generate())
WORD = "Zk3tYbXn4Lr7PfVd0Hs6GcQ2"


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, form: PrivateFormat) -> str:
    return key.private_bytes(Encoding.PEM, form, NoEncryption()).decode()


RSA, EC = rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1())
SECRETS: dict[str, list[tuple[str, str]]] = {
    "private-key": [
        (text, text.splitlines()[2][:24] if text.count("\n") > 3 else text.splitlines()[1][:24])
        for text in (
            pem(RSA, PrivateFormat.TraditionalOpenSSL),
            pem(RSA, PrivateFormat.PKCS8),
            pem(EC, PrivateFormat.TraditionalOpenSSL),
            pem(EC, PrivateFormat.OpenSSH),
            RSA.private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")
            ).decode(),
            RSA.private_bytes(
                Encoding.PEM, PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(b"x")
            ).decode(),
            pem(RSA, PrivateFormat.PKCS8)[:400],  # cut off
        )
    ],
    "vault-token": [
        (f"token {TOKEN}.", TOKEN),
        (f"X: s.{WORD}", WORD),
        (f"hvb.{WORD}-_{WORD}", WORD),
    ],
    "aws-access-key": [(one, one) for one in ("AKIAIOSFODNN7EXAMPLE", "ASIAIOSFODNN7EXAMPLE")],
    "secret-key": [
        (f"aws_secret_access_key = {WORD}/+", WORD),
        (f"repo1-s3-key-secret={WORD}", WORD),
        (f"client_secret={WORD}", WORD),
        (f"api-key: {WORD}", WORD),
    ],
    "secret-id": [("secret_id=6a174c20-f6de-a53c-74d2-6018fcceff64", "6018fcceff64")],
    "password": [
        ("host=a user=erp password=hunter2 dbname=erp", "hunter2"),
        ("PGPASSWORD=hunter2 psql", "hunter2"),
        ("passwd: correct-horse-battery", "correct-horse"),
        ("repo1-cipher-pass=correct-horse", "correct-horse"),
        ("ALTER ROLE erp PASSWORD = 'hunter22'", "hunter22"),
    ],
    "token": [(f"client_token={WORD}", WORD), (f"X-Vault-Token: {WORD}", WORD)],
    "authorization": [
        (f"Authorization: Bearer {WORD}", WORD),
        ("Authorization: Basic ZXJwOmh1bnRlcjI=", "ZXJwOmh1bnRlcjI="),
        ("authorization: Session YWRtaW46MTpmMDBmMDA=", "YWRtaW46MTpmMDBmMDA="),
        (f"curl -H 'bearer {WORD}'", WORD),
    ],
    "url-password": [("postgresql://erp:hunter2@127.0.0.1:5432/erp", "hunter2")],
    "password-hash": [
        (
            "SCRAM-SHA-256$4096:c2FsdHNhbHRzYWx0$c3RvcmVkLWtleS1zdG9yZWQ=:c2VydmVyLWtleQ==",
            "c3RvcmVkLWtleS1zdG9yZWQ=",
        ),
        ("md5ab2c8e6f7c0a7a8c2b34f2f0f0a8a111", "ab2c8e6f7c0a7a8c2b34f2f0f0a8a111"),
        ("$2b$12$" + "abcdefghijklmnopqrstuv" + "ABCDEFGHIJKLMNOPQRSTUVWXYZ01234", "ABCDEFG"),
        ("$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA", "aGFzaGhhc2"),
    ],
    "unseal-key": [
        (f"Unseal Key 1: {base64.b64encode(bytes(range(33))).decode()}", "AAECAwQF"),
    ],
    "jwt": [(f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.{WORD}", WORD)],
    "session": [],
    "service-token": [
        (f"ghp_{WORD}{WORD}", WORD),
        (f"github_pat_{WORD}", WORD),
        (f"glpat-{WORD}", WORD),
        ("xoxb-1234567890-abcdef", "1234567890-abcdef"),
        (f"https://hooks.slack.com/services/T0/B0/{WORD}", WORD),
    ],
}
# Pairs of a name and a value in JSON, which no line of text has.
PAIRS: dict[str, list[tuple[str, object, str]]] = {
    "password": [("password", "correct-horse", "horse"), ("db_passwd", "hunter22", "hunter22")],
    "secret-id": [("secret_id", "6a174c20-f6de-a53c-74d2-6018fcceff64", "6018fcceff64")],
    "secret-key": [("secret_key", WORD, WORD), ("SecretAccessKey", WORD, WORD)],
    "token": [("client_token", WORD, WORD), ("root_token", WORD, WORD)],
    "session": [("session", "0123456789abcdef" * 4, "abcdef01")],
    "unseal-key": [
        ("keys_base64", [base64.b64encode(bytes([n] * 33)).decode() for n in (7, 99)], "Y2NjY2Nj"),
        ("unseal_keys_b64", [base64.b64encode(bytes([n] * 33)).decode() for n in (7,)], "BwcHBwcH"),
    ],
}
# With ids of their own: keys are made anew in each process.
PLANTED = {
    f"{name}-{number}": (name, *one)
    for name, several in SECRETS.items()
    for number, one in enumerate(several)
}
PAIRED = [(name, *one) for name, several in PAIRS.items() for one in several]


def as_json(text: str) -> str:
    return json.dumps({"error": f"it said {text}", "n": [1, 2.5, "x"]}, indent=1)


def as_lines(text: str) -> str:
    rows = [{"kind": "check", "t": 1, "detail": text}, {"kind": "end", "t": 2}]
    return "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)


def as_json_in_json(text: str) -> str:
    return json.dumps({"output": json.dumps({"inner": text})})


def as_yaml(text: str) -> str:
    return f"a: 1\nb: |\n  it said\n  {text}\nc: 2\n"


def as_text(text: str) -> str:
    return text


FORMS = [as_json, as_lines, as_json_in_json, as_yaml, as_text]


def read(form: object, content: bytes) -> None:
    """Raise ValueError when the file is none any more."""
    if form in (as_json, as_json_in_json):
        data = json.loads(content)
        if form is as_json_in_json:
            json.loads(data["output"])
    if form is as_lines:
        assert [json.loads(line)["kind"] for line in content.splitlines()] == ["check", "end"]


def test_every_kind_of_secret_has_an_example() -> None:
    known = {one.name for one in PATTERNS}
    assert known == {name for name, *_ in (*PLANTED.values(), *PAIRED)}


def test_the_reference_lists_every_kind() -> None:
    page = (ROOT / "docs/reference/redaction.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert rows == [f"| `{one.name}` | {one.what} |" for one in PATTERNS]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("name", "text", "value"), PLANTED.values(), ids=PLANTED.keys())
def test_a_secret_is_found_named_and_replaced(
    form: object, name: str, text: str, value: str
) -> None:
    content = form(text).encode()  # type: ignore[operator]
    assert name in scan(content)
    clean = redact(content)
    assert value.encode() not in clean
    assert f"[redacted:{name}]".encode() in clean
    assert scan(clean) == {}
    assert redact(clean) == clean
    read(form, clean)


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize(("name", "key", "value", "part"), PAIRED)
def test_a_value_with_the_name_of_a_secret_is_one(
    name: str, key: str, value: object, part: str, indent: int | None
) -> None:
    inner = json.dumps({key: value, "after": "stays"}, indent=indent)
    for content in (inner.encode(), json.dumps({"output": inner}).encode()):
        assert name in scan(content)
        clean = redact(content)
        assert part.encode() not in clean
        assert scan(clean) == {}
        data = json.loads(clean)
        data = json.loads(data["output"]) if "output" in data else data
        assert data["after"] == "stays"


@pytest.mark.parametrize(
    "text",
    [
        '"password_encryption": "scram-sha-256"',
        '"has_password": true, "forbidden_passwords": 40, "password_length": 12',
        '"secret_id_networks": ["127.0.0.0/8"], "needs_secret_id": true, "token_type": "default"',
        "a password: at least 12 characters, and none of the 40 most used ones",
        "no password in the URL postgresql://erp@127.0.0.1:5432/erp?sslmode=verify-full",
        "https://[::1]:8443/a@b and https://127.0.0.1:8443/x?at=a@b",
        "the files that hold -----BEGIN PRIVATE KEY----- are readable by their owner alone",
        "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA7Vx0p3Zq9v0b6m5T0J8wq2Zk3tYbXn4Lr7PfVd0Hs6=\n",
        "sha256:20e6de39df9bd0ec6a001cfa5ed57c1d0102030405060708090a0b0c0d0e0f10",
        "password=*** secret_id=[redacted:secret-id] PGPASSWORD=$PGPASSWORD password={{ secret }}",
        "eyJwYXlsb2FkIjoiZXlKd1lYbHNiMkZrSWpvaWFIUjBjSE02THk5aGJteGhiaTVrWlhZaWZRPT0ifQ==",
        "tls.ServerNameAndMinimumVersion2 is.AtLeastThisLongAndNoToken1x",
        "md5sum 5a7c3e1f-0000-4000-8000-000000000000",
    ],
)
def test_what_only_speaks_of_secrets_is_none(text: str) -> None:
    assert scan(text.encode()) == {}
    assert redact(text.encode()) == text.encode()


def test_nothing_that_this_project_ships_looks_like_a_secret() -> None:
    files = {
        path.as_posix(): path.read_bytes()
        for folder in ("policies", "drills")
        for path in data_folder(folder).rglob("*.yaml")
    }
    assert len(files) > 20
    assert scan_files(files) == []


def test_a_run_of_real_size_holds_none_and_stays_as_it_is(tmp_path: Path) -> None:
    run_dir = record_real(tmp_path, "failover-0001", SIGNER, datetime(2026, 10, 1, tzinfo=UTC))
    contents = layout.read_run_directory(run_dir)
    assert scan_files(contents) == []
    assert all(redact(content) == content for content in contents.values())


JSON_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)


@given(st.lists(st.one_of(JSON_TEXT, st.sampled_from([text for _, text, _ in PLANTED.values()]))))
def test_json_stays_json_whatever_is_replaced_in_it(texts: list[str]) -> None:
    content = json.dumps({"all": texts, "one": "".join(texts)}).encode()
    clean = redact(content, ["Zk3tYbXn4L", 'q"uo\\ted'])
    assert len(json.loads(clean)["all"]) == len(texts)
    assert scan(clean) == {}
    assert redact(clean, ["Zk3tYbXn4L", 'q"uo\\ted']) == clean


def test_a_secret_that_the_run_was_given_is_replaced_whatever_it_looks_like() -> None:
    value = 'rot"te\\r bär'
    content = json.dumps({"error": f"login as {value} failed", "other": f"{value}{value}"}).encode()
    clean = redact(content, [value, "short", ""])
    assert json.loads(clean) == {
        "error": "login as [redacted:known-value] failed",
        "other": "[redacted:known-value][redacted:known-value]",
    }
    assert redact(clean, [value, "redacted:", "known-value"]) == clean


def run_with(tmp_path: Path, **raw: bytes) -> runs.Run:
    run_dir = tmp_path / "runs" / SAMPLE.run_id
    write_plan(run_dir, SAMPLE)
    (run_dir / "raw").mkdir(exist_ok=True)
    for name, content in raw.items():
        (run_dir / "raw" / name.replace("_json", ".json")).write_bytes(content)
    return runs.load(tmp_path, SAMPLE.run_id)


def test_raw_data_are_redacted_before_they_are_judged_and_the_marks_are_listed(
    tmp_path: Path,
) -> None:
    run = run_with(tmp_path, notes_jsonl=as_lines(TOKEN).encode(), a_json=as_json("x").encode())
    finish.redact_raw(run)
    files = layout.read_run_directory(run.directory)
    listed = json.loads(files[FILE])
    check(listed, "redactions")
    assert [(one["secret"], one["count"]) for one in listed["redactions"]] == [("vault-token", 1)]
    assert TOKEN.encode() not in b"".join(files.values())
    assert files["raw/a.json"] == as_json("x").encode()
    assert check_secrets(Contents(files)) == []
    finish.redact_raw(run)
    assert layout.read_run_directory(run.directory) == files


def test_a_redaction_that_was_cut_short_is_finished(tmp_path: Path) -> None:
    """Killed between two files, or before the list: the next attempt gives the same."""
    whole = run_with(tmp_path / "whole", a_json=as_json(TOKEN).encode(), b_json=b'"' + b"x" * 9)
    finish.redact_raw(whole)
    expected = layout.read_run_directory(whole.directory)
    clean = expected["raw/a.json"]
    cut = run_with(tmp_path / "cut", a_json=clean, b_json=b'"' + b"x" * 9)
    finish.redact_raw(cut)
    assert layout.read_run_directory(cut.directory) == expected


def test_a_run_without_secrets_has_no_list(tmp_path: Path) -> None:
    run = run_with(tmp_path, a_json=as_json("x").encode())
    before = layout.read_run_directory(run.directory)
    finish.redact_raw(run)
    assert layout.read_run_directory(run.directory) == before


def test_what_holds_a_secret_is_neither_recorded_nor_exported(tmp_path: Path) -> None:
    store, run_dir = EvidenceStore(tmp_path, SIGNER), tmp_path / "runs" / SAMPLE.run_id
    write_plan(run_dir, SAMPLE)
    store.record_plan(run_dir)
    write_result(run_dir, SAMPLE)
    (run_dir / "raw/stray.json").write_bytes(as_json(TOKEN).encode())
    with pytest.raises(Refused, match=r"vault-token in raw/stray\.json") as refused:
        store.record_run(run_dir)
    assert TOKEN not in str(refused.value)
    assert not (run_dir / layout.PROOFS["run"]).exists()
    contents = layout.read_run_directory(run_dir)
    with pytest.raises(Refused, match=r"vault-token in raw/stray\.json"):
        bundle.pack(contents, SIGNER)


def test_a_plan_with_a_secret_is_refused_before_there_is_a_run(tmp_path: Path) -> None:
    plan = {"run_id": "r", "parameters": {"note": TOKEN}}
    with pytest.raises(InputError, match="vault-token") as refused:
        runs.create(tmp_path, plan, "drill", b"{}", {})
    assert refused.value.file == "plan.json"
    assert TOKEN not in str(refused.value)
    assert not (tmp_path / "runs").exists()


def test_nobody_signs_a_reason_with_a_secret_in_it() -> None:
    subject = [{"name": "plan", "digest": {"sha256": "0" * 64}}]
    with pytest.raises(InputError, match="password"):
        said.say(
            predicates.APPROVAL,
            subject,
            {
                "runId": "run-1",
                "approver": "eve",
                "decision": "approve",
                "reason": "password=hunter2",
                "at": "2026-11-29T00:00:00.000Z",
            },
            SIGNER,
        )


def test_the_payload_of_an_approval_is_looked_into() -> None:
    payload = base64.b64encode(json.dumps({"reason": f"with {TOKEN}"}).encode()).decode()
    files = {"raw/approvals/eve.json": json.dumps({"payload": payload}).encode()}
    assert [one.secret for one in scan_files(files)] == ["vault-token"]


def test_a_mark_that_is_not_listed_is_named_and_one_that_is_not_there_too(tmp_path: Path) -> None:
    marked = {"raw/a.json": redact(as_json(TOKEN).encode())}
    assert [one.code for one in check_secrets(Contents(marked))] == ["redaction-mismatch"]
    listed = {**marked, FILE: json.dumps(redacted(marked)).encode()}
    assert check_secrets(Contents(listed)) == []
    gone = {"raw/a.json": b'"nothing"', FILE: listed[FILE]}
    assert [one.code for one in check_secrets(Contents(gone))] == ["redaction-mismatch"]
