"""The trust file: what it may say, and the commands that make, change and show it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from authorities import Openssl, make
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from run_samples import Sample, record
from test_evidence_cli import anlan

from orchestrator.evidence import EvidenceStore, LocalSigner, key_id
from orchestrator.evidence.trust import edit as trust_edit
from orchestrator.evidence.trust import file as trust_file
from orchestrator.model.errors import InputError, Refused
from orchestrator.report import render
from stacks.components.config import StackConfig
from stacks.components.descriptor import describe
from stacks.components.layout import Layout
from stacks.places import service_user

OLD, NEW, PERSON, WITNESS = (LocalSigner(Ed25519PrivateKey.generate()) for _ in range(4))
P256 = LocalSigner(generate_private_key(SECP256R1()))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Openssl:
    return make(tmp_path_factory.mktemp("tsa"))


def key(name: str, signer: LocalSigner, *roles: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "roles": list(roles), "public_key": signer.public_key_pem(), **more}


def trust(**more: Any) -> dict[str, Any]:
    keys = [key("evidence", OLD, "orchestrator", "log")]
    return {"schema": "anlan.trust/v1", "keys": keys, **more}


def parse(data: Any) -> trust_file.Trust:
    content = data if isinstance(data, bytes) else json.dumps(data).encode()
    return trust_file.parse(content, file="trust.json")


def test_a_trust_file_says_who_in_which_role_and_when(authority: Openssl) -> None:
    found = parse(
        trust(
            environment="production",
            logs=["anlan.dev/log/production/0123456789abcdef"],
            keys=[
                key("evidence", OLD, "orchestrator", "log", valid_until="2027-01-01T00:00:00Z"),
                key("next", P256, "orchestrator", valid_from="2027-01-01T08:00:00+08:00"),
                key("olga", PERSON, "operator"),
            ],
            witnesses=[{"name": "witness.example/a", "public_key": WITNESS.public_key_pem()}],
            timestamp_authorities=[
                {"name": "tsa.example", "roots": authority.pem("root").decode()}
            ],
            thresholds={"witnesses": 1, "timestamps": 1, "operator": 1},
            max_age_days=92,
        )
    )
    assert [one.name for one in found.of_role("orchestrator")] == ["evidence", "next"]
    assert [one.name for one in found.of_role("log")] == ["evidence"]
    assert found.signers[0].valid_until == found.signers[1].valid_from
    assert found.signers[0].valid_until == datetime(2027, 1, 1, tzinfo=UTC)
    assert (found.thresholds.orchestrator, found.thresholds.operator) == (1, 1)
    assert (found.witnesses[0].key, found.authorities[0].name) == (
        WITNESS.public_key,
        "tsa.example",
    )
    assert (found.environment, found.max_age_days) == ("production", 92)
    assert found.keys == (OLD.public_key, P256.public_key)


def two(part: str, *entries: dict[str, Any]) -> dict[str, Any]:
    return trust(**{part: list(entries)})


def own(**more: Any) -> dict[str, Any]:
    return two("keys", key("evidence", OLD, "orchestrator", "log", **more))


def witness(name: str, signer: LocalSigner, **more: str) -> dict[str, str]:
    return {"name": name, "public_key": signer.public_key_pem(), **more}


BAD: dict[str, tuple[Any, str]] = {
    "no json": (b"{", "not strict JSON"),
    "a key twice in an object": (b'{"schema":"anlan.trust/v1","schema":"x"}', "not strict JSON"),
    "no keys": (two("keys"), "$.keys"),
    "another schema": (trust(schema="anlan.trust/v9"), "$.schema"),
    "something unknown": (trust(key=1), "key"),
    "a role that is none": (two("keys", key("a", OLD, "owner")), "$.keys[0].roles[0]"),
    "no time": (own(valid_from="2026-13-01T00:00:00Z"), "$.keys[0].valid_from: '2026-13-01"),
    "a time without zone": (own(valid_from="2026-10-01T00:00:00"), "$.keys[0].valid_from"),
    "a window that ends before it begins": (
        own(valid_from="2026-10-02T00:00:00Z", valid_until="2026-10-01T00:00:00Z"),
        "$.keys[0]: ends before it begins",
    ),
    "why without when": (own(revoked_why="stolen"), "$.keys[0]: says why"),
    "a key that is none": (own(public_key="x"), "$.keys[0].public_key: not a PEM public key"),
    "a private key": (
        own(
            public_key=Ed25519PrivateKey.generate()
            .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
            .decode()
        ),
        "$.keys[0].public_key: not a PEM public key",
    ),
    "one key under two names": (
        two("keys", key("a", OLD, "orchestrator", "log"), key("b", OLD, "operator")),
        "$.keys: two have the same key",
    ),
    "one name for two": (
        two("keys", key("a", OLD, "orchestrator", "log"), key("a", NEW, "operator")),
        "two have the same name: a",
    ),
    "one witness under two names": (
        two("witnesses", witness("a", WITNESS), witness("b", WITNESS)),
        "$.witnesses: two have the same key",
    ),
    "a witness with a P-256 key": (two("witnesses", witness("a", P256)), "$.witnesses[0].public"),
    "an authority without certificates": (
        two("timestamp_authorities", {"name": "a", "roots": "x"}),
        "$.timestamp_authorities[0]: not PEM certificates",
    ),
    "nobody who signs": (two("keys", key("a", OLD, "log")), "$.thresholds.orchestrator: asks for"),
    "nobody who signs logs": (two("keys", key("a", OLD, "orchestrator")), "$.keys: asks for 1 of"),
    "more signers than there are": (
        trust(thresholds={"orchestrator": 2}),
        "$.thresholds.orchestrator: asks for 2 of 1 keys",
    ),
    "more witnesses than there are": (trust(thresholds={"witnesses": 1}), "$.thresholds.witnesses"),
    "more authorities than there are": (trust(thresholds={"timestamps": 1}), "timestamps: asks"),
    "no signer needed": (trust(thresholds={"orchestrator": 0}), "$.thresholds.orchestrator"),
    "an approval rule that nobody can follow": (
        trust(approvals={"schema": "anlan.approvals/v1", "required": 1, "approvers": []}),
        "$.approvals.required: 1 approvals are required of 0",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_trust_that_could_mislead_is_refused_and_says_where(name: str) -> None:
    data, said = BAD[name]
    with pytest.raises(InputError) as refused:
        parse(data)
    assert str(refused.value).startswith("trust.json: ")
    assert said in str(refused.value)
    assert refused.value.todo or "strict" not in said


def test_one_authority_under_two_names_is_refused(authority: Openssl) -> None:
    roots = authority.pem("root").decode()
    with pytest.raises(InputError, match="the same roots and intermediates"):
        parse(trust(timestamp_authorities=[{"name": n, "roots": roots} for n in ("a", "b")]))


def test_public_keys_are_given_together_and_a_trust_file_alone(tmp_path: Path) -> None:
    files = {"a.pub": OLD.public_key_pem(), "b.pub": NEW.public_key_pem()}
    for name, text in (*files.items(), ("trust.json", json.dumps(trust()))):
        (tmp_path / name).write_text(text)
    keys = [tmp_path / name for name in files]
    assert trust_file.load(keys, 2).thresholds.orchestrator == 2
    assert {one.id for one in trust_file.load(keys).of_role("log")} == {
        key_id(OLD.public_key),
        key_id(NEW.public_key),
    }
    with pytest.raises(InputError, match="all of the trust"):
        trust_file.load([tmp_path / "trust.json", keys[0]])
    with pytest.raises(InputError, match="--threshold"):
        trust_file.load([tmp_path / "trust.json"], 1)
    with pytest.raises(InputError, match="cannot read the trust key or file"):
        trust_file.load([tmp_path / "gone.pub"])


def test_a_key_that_follows_another_ends_it() -> None:
    turn = {"valid_from": "2027-01-01T00:00:00.000Z"}
    entry = key("evidence-2027", NEW, "orchestrator", "log", **turn)
    made = trust_edit.with_key(trust(), entry, replaces="evidence")
    assert made["keys"][0]["valid_until"] == made["keys"][1]["valid_from"]
    assert trust_edit.with_key(made, entry, replaces="evidence") == made
    with pytest.raises(InputError, match="from when"):
        trust_edit.with_key(trust(), key("x", NEW, "log"), replaces="evidence")


def test_a_revocation_is_moved_to_earlier_times_alone() -> None:
    at = datetime(2026, 11, 2, tzinfo=UTC)
    made = trust_edit.revoked(trust(), "evidence", at, "stolen")
    assert made["keys"][0]["revoked_at"] == "2026-11-02T00:00:00.000Z"
    assert trust_edit.revoked(made, key_id(OLD.public_key), at, "stolen") == made
    earlier = trust_edit.revoked(made, "evidence", at.replace(day=1), "stolen")
    assert earlier["keys"][0]["revoked_at"] == "2026-11-01T00:00:00.000Z"
    with pytest.raises(Refused, match="earlier"):
        trust_edit.revoked(made, "evidence", at.replace(day=3), "stolen")
    with pytest.raises(InputError, match="its keys: evidence"):
        trust_edit.revoked(made, "nobody", at, "stolen")
    parts = trust(witnesses=[witness("w", WITNESS)])
    with pytest.raises(InputError, match="take it out"):
        trust_edit.revoked(parts, "w", at, "stolen")


@pytest.mark.parametrize(("listed", "wanted"), [(0, 0), (1, 1), (2, 2), (3, 2), (5, 3)])
def test_a_draft_asks_for_more_than_half_of_the_witnesses(listed: int, wanted: int) -> None:
    settings = {
        "witnesses": [
            {**witness(f"w{n}", LocalSigner(Ed25519PrivateKey.generate())), "url": "file:///w"}
            for n in range(listed)
        ]
    }
    made = trust_edit.draft("production", OLD.public_key_pem(), "", settings, None)
    assert made["thresholds"]["witnesses"] == wanted
    assert "logs" not in made


def described(root: Path) -> dict[str, Any]:
    """The descriptor of a stack, as it is provisioned."""
    addresses = dict.fromkeys(("a", "b", "common"), "127.0.14.249")
    config = StackConfig(name="local", root=root, link=None, addresses=addresses)
    layout = Layout(config, service_user(), root / "cache", root / "venv")
    return json.loads(json.dumps(describe(layout, hashlib.sha256(b"").hexdigest())))


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory with an environment and a recorded run of it."""
    state, sample = tmp_path / "state", Sample(run_id="failover-20261125t031500-ab12")
    run_dir = record(state, sample, OLD)
    (run_dir / "report.html").write_text(render(run_dir))
    EvidenceStore(state, OLD).export(run_dir, tmp_path / "bundle.zip")
    root = state / "env/local"
    root.mkdir(parents=True)
    (root / "evidence.pub").write_text(OLD.public_key_pem())
    data = described(root)
    data["trust"]["evidence_public_key"] = str(root / "evidence.pub")
    data["evidence"] = {
        "schema": "anlan.evidence-settings/v1",
        "witnesses": [{**witness("witness.example/a", WITNESS), "url": "file:///srv/witness"}],
    }
    (root / "environment.json").write_text(json.dumps(data))
    return state


Run = Callable[..., Any]


@pytest.fixture
def run(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "40")  # ids are shown whole on a narrow terminal too
    return lambda *arguments: anlan("evidence", *arguments, state=state, cwd=tmp_path)


def test_a_trust_file_is_drafted_kept_and_used(run: Run, tmp_path: Path) -> None:
    done = run("trust", "init", "local")
    assert done.returncode == 0, done.stderr
    assert key_id(OLD.public_key) in done.stdout and key_id(WITNESS.public_key) in done.stdout
    assert "compare every id" in done.stdout
    file = tmp_path / "trust.json"
    drafted = json.loads(file.read_bytes())
    assert drafted["thresholds"] == {"orchestrator": 1, "witnesses": 1, "timestamps": 0}
    assert drafted["logs"][0].startswith("anlan.dev/log/local/")
    assert run("trust", "init", "local").returncode == 0  # the same draft again

    (tmp_path / "olga.pub").write_text(PERSON.public_key_pem())
    add = ("trust", "add", "olga", "--role", "operator", "--key", "olga.pub", "--json")
    assert json.loads(run(*add).stdout)["changed"] is True
    assert json.loads(run(*add).stdout)["changed"] is False
    refused = run("trust", "init", "local")
    assert (refused.returncode, "another trust file" in refused.stderr) == (2, True)

    done = run("verify", "bundle.zip", "--trust", "trust.json")
    assert done.returncode == 1 and "not proven" in done.stdout
    assert done.stdout.startswith("UNTRUSTED") and "witness-quorum" in done.stdout
    assert "local-evidence (log, orchestrator)" in done.stdout
    done = run("log", "verify", "local", "--trust", "trust.json")
    assert (done.returncode, "witness-quorum" in done.stdout) == (1, True)

    revoke = ("trust", "revoke", "local-evidence", "--at", "2026-12-01", "--why", "stolen")
    assert "revoked 2026-12-01T00:00:00.000Z: stolen" in run(*revoke).stdout
    shown = json.loads(run("trust", "show", "trust.json", "--json").stdout)
    assert shown["ids"]["olga"] == [key_id(PERSON.public_key)]
    assert shown["trust"] == json.loads(file.read_bytes())
    assert "key-revoked" in run("verify", "bundle.zip", "--trust", "trust.json").stdout
    assert sorted(one.name for one in tmp_path.iterdir()) == [
        "bundle.zip",
        "olga.pub",
        "state",
        "trust.json",
    ]


def test_witnesses_and_authorities_are_added_by_their_files(
    run: Run, tmp_path: Path, authority: Openssl
) -> None:
    (tmp_path / "trust.json").write_text(json.dumps(trust()))
    (tmp_path / "w.pub").write_text(WITNESS.public_key_pem())
    for name in ("root", "between"):
        (tmp_path / f"{name}.pem").write_bytes(authority.pem(name))
    assert run("trust", "add", "w", "--role", "witness", "--key", "w.pub").returncode == 0
    tsa = ("trust", "add", "tsa", "--role", "timestamp-authority", "--roots", "root.pem")
    done = run(*tsa, "--intermediates", "between.pem", "--until", "2027-01-01")
    assert done.returncode == 0, done.stderr
    found = parse((tmp_path / "trust.json").read_bytes())
    assert (found.witnesses[0].name, len(found.authorities[0].intermediates)) == ("w", 1)
    assert "until 2027-01-01T00:00:00.000Z" in done.stdout
    mixed = run("trust", "add", "x", "--role", "witness", "--role", "log", "--key", "w.pub")
    assert (mixed.returncode, "a witness is that alone" in mixed.stderr) == (2, True)


def test_a_bad_change_leaves_the_file_as_it_was(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "trust.json"
    file.write_text(json.dumps(trust()))
    before = file.read_bytes()
    (tmp_path / "same.pub").write_text(OLD.public_key_pem())
    done = run("trust", "add", "twin", "--role", "operator", "--key", "same.pub")
    assert (done.returncode, "two have the same key" in done.stderr) == (2, True)
    done = run("trust", "revoke", "nobody", "--at", "2026-12-01", "--why", "x")
    assert (done.returncode, "there is no key" in done.stderr) == (2, True)
    done = run("trust", "revoke", "evidence", "--at", "soon", "--why", "x")
    assert (done.returncode, "is no time" in done.stderr) == (2, True)
    add = ("trust", "add", "new", "--role", "operator", "--from", "2027-01-01")
    done = run(*add, "--key", "trust.json")
    assert (done.returncode, "trust.json: not a PEM public key" in done.stderr) == (2, True)
    (tmp_path / "new.pub").write_text(NEW.public_key_pem())
    done = run(*add, "--key", "new.pub", "--replaces", "new")
    assert (done.returncode, "there is no key 'new'" in done.stderr) == (2, True)
    assert "its keys: evidence\n" in done.stderr
    assert file.read_bytes() == before


def test_a_key_does_not_follow_itself(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "trust.json"
    file.write_text(json.dumps(trust()))
    (tmp_path / "new.pub").write_text(NEW.public_key_pem())
    add = ("trust", "add", "new", "--role", "operator", "--from", "2027-01-01", "--key", "new.pub")
    assert run(*add).returncode == 0
    before = file.read_bytes()
    done = run(*add, "--replaces", "new")
    assert (done.returncode, "cannot follow itself" in done.stderr) == (2, True)
    assert file.read_bytes() == before


def test_a_person_countersigns_a_bundle_with_an_encrypted_key(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = Ed25519PrivateKey.generate()
    signer, file = LocalSigner(private), tmp_path / "verifier.key"
    secret = BestAvailableEncryption(b"quiet")
    file.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secret))
    file.chmod(0o600)
    data = trust(thresholds={"verifier": 1})
    data["keys"].append(key("vera", signer, "verifier"))
    (tmp_path / "trust.json").write_text(json.dumps(data))
    verify = ("verify", "bundle.zip", "--trust", "trust.json")
    assert "UNTRUSTED" in run(*verify).stdout
    monkeypatch.setenv("ANLAN_KEY_PASSPHRASE", "quiet")
    sign = ("countersign", "bundle.zip", "--key", "verifier.key")
    done = run(*sign, "--out", "signed.zip")
    assert done.returncode == 0, done.stderr
    assert "UNTRUSTED" in run(*verify).stdout
    assert run(*sign).returncode == 0
    assert (tmp_path / "bundle.zip").read_bytes() == (tmp_path / "signed.zip").read_bytes()
    assert "already" in run(*sign).stdout
    done = run(*verify)
    assert done.stdout.startswith("VALID") and "vera (verifier)" in done.stdout


def test_what_is_no_bundle_is_not_countersigned(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "verifier.key"
    assert run("countersign", "gone.zip", "--key", "verifier.key").returncode == 2
    good = Ed25519PrivateKey.generate()
    pem = good.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "good.key").write_bytes(pem)
    (tmp_path / "good.key").chmod(0o600)
    (tmp_path / "some.zip").write_bytes(b"x")
    done = run("countersign", "some.zip", "--key", "good.key")
    assert (done.returncode, "some.zip: no bundle" in done.stderr) == (2, True)
    before = (tmp_path / "bundle.zip").read_bytes()
    done = run("countersign", "bundle.zip", "--key", "good.key", "--out", "good.key/b.zip")
    assert (done.returncode, "good.key/b.zip: cannot be written" in done.stderr) == (2, True)
    assert (tmp_path / "bundle.zip").read_bytes() == before
    file.write_text("x")
    done = run("countersign", "bundle.zip", "--key", "verifier.key")
    assert done.returncode == 2


def test_stale_evidence_still_proves_what_it_says(run: Run, tmp_path: Path) -> None:
    (tmp_path / "trust.json").write_text(json.dumps(trust(max_age_days=30)))
    verify = ("verify", "bundle.zip", "--trust", "trust.json", "--at")
    done = run(*verify, "2026-12-01")
    assert (done.returncode, done.stdout[:5]) == (0, "VALID")
    done = run(*verify, "2027-12-01")
    assert (done.returncode, done.stdout[:5]) == (1, "STALE")
    assert "too-old" in done.stdout and "not proven" not in done.stdout
    assert "more than 30 days before 2027-12-01T00:00:00.000Z" in done.stdout
    assert run(*verify, "soon").returncode == 2


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({}, ""),
        ({"logs": ["anlan.dev/log/local/0123456789abcdef"]}, "log-unknown"),
        ({"environment": "production"}, "other-environment"),
        ({"keys": [key("evidence", OLD, "orchestrator"), key("log", NEW, "log")]}, "wrong-role"),
        (own(revoked_at="2026-12-01T00:00:00Z"), "key-revoked"),
        (own(valid_until="2026-01-01T00:00:00Z"), "key-expired"),
    ],
)
def test_a_whole_log_is_held_against_the_trust_file_too(
    run: Run, tmp_path: Path, parts: dict[str, Any], said: str
) -> None:
    (tmp_path / "trust.json").write_text(json.dumps(trust() | parts))
    done = run("log", "verify", "local", "--trust", "trust.json", "--json")
    codes = {problem["code"] for one in json.loads(done.stdout) for problem in one["problems"]}
    assert (done.returncode, codes) == ((1, {said}) if said else (0, set()))
