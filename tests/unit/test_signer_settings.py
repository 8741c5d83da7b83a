"""The signer that a descriptor names: it signs, is told to auditors, and is refused when wrong."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from moto_kms import make, server
from run_samples import REDERIVE, Clock, Sample, write_plan, write_result

from orchestrator.cli import demo
from orchestrator.cli import run as run_command
from orchestrator.cli.drill_work import require_ready, work
from orchestrator.cli.evidence import evidence
from orchestrator.collect.kinds import collect_kinds
from orchestrator.drivers.secrets import Secrets, TransitSigner
from orchestrator.drivers.signers import FileSigner, signer_of, trusted_key
from orchestrator.engine import runs
from orchestrator.engine.evidence import evidence_store
from orchestrator.engine.records import log_report
from orchestrator.evidence import Trust, key_id, verify
from orchestrator.evidence.audit import audit
from orchestrator.evidence.keys import holds, load_public_key, parse_public_key, signature_of
from orchestrator.model.environment import Environment, parse_environment
from orchestrator.model.errors import InfrastructureError, InputError
from orchestrator.steps import secrets as steps
from stacks.components.config import parse_config
from stacks.components.descriptor import describe
from stacks.components.layout import Layout
from stacks.places import service_user

WORD = "correct horse\n"


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = tmp_path / "state"
    found.mkdir()
    monkeypatch.setenv("ANLAN_STATE_DIR", str(found))
    return found


@pytest.fixture
def aws() -> Iterator[Any]:
    with server() as client:
        yield client


def configured(state: Path, signer: dict[str, Any] | None) -> Environment:
    """The environment of a stack whose evidence settings name this signer; nothing is running."""
    file = state / "evidence.yaml"
    settings = {"schema": "anlan.evidence-settings/v1", **({"signer": signer} if signer else {})}
    file.write_text(yaml.safe_dump(settings))
    values = {"evidence": str(file), "root": "/srv/anlan/nowhere"}
    config = parse_config(values, "local", state, service_user())
    layout = Layout(config, service_user(), state / "cache", state / "venv")
    descriptor = json.dumps(describe(layout, hashlib.sha256(b"").hexdigest()))
    folder = state / "env" / "local"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "environment.json").write_text(descriptor)
    return parse_environment(descriptor)


def private(path: Path, content: bytes | str, mode: int = 0o600) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)
    return path


def key_file(folder: Path, name: str = "evidence.key", *, p256: bool = False) -> dict[str, Any]:
    """A new encrypted key and its passphrase, as the settings name them."""
    key = ec.generate_private_key(ec.SECP256R1()) if p256 else Ed25519PrivateKey.generate()
    wrap = BestAvailableEncryption(WORD.strip().encode())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, wrap)
    file, word = folder / name, folder / f"{name}.word"
    private(file, pem)
    private(word, WORD)
    return {"driver": "file", "key": str(file), "passphrase_file": str(word)}


def record(state: Path, environment: Environment, run_id: str, hours: int = 0) -> Path:
    """A run of an environment, signed and exported by its own signer; returns the bundle."""
    started_at = Sample().started_at + timedelta(hours=hours)
    sample = Sample(drill="backup", run_id=run_id, started_at=started_at)
    run = state / "runs" / sample.run_id
    write_plan(run, sample)
    store = evidence_store(state, environment, Secrets(environment))
    store._clock = clock = Clock(started_at - timedelta(seconds=1))
    store.record_plan(run)
    write_result(run, sample)
    clock.now = started_at + timedelta(minutes=5)
    store.record_run(run)
    return store.export(run, state / f"{sample.run_id}.zip")


@pytest.mark.parametrize("settings", [None, {"driver": "transit"}])
def test_without_another_signer_transit_signs(state: Path, settings: Any) -> None:
    environment = configured(state, settings)
    assert isinstance(signer_of(environment, Secrets(environment)), TransitSigner)


@pytest.mark.parametrize("p256", [False, True])
def test_an_encrypted_key_file_signs_with_the_passphrase_of_its_file(
    state: Path, p256: bool
) -> None:
    environment = configured(state, key_file(state, p256=p256))
    signer = signer_of(environment, Secrets(environment))
    message = b"rto 4"
    public, signature = signature_of(signer, message)
    assert parse_public_key(signer.public_key_pem().encode()) == public
    assert holds(public, signature, message)


def spoil_mode(settings: dict[str, Any]) -> None:
    Path(settings["key"]).chmod(0o640)


def spoil_word_mode(settings: dict[str, Any]) -> None:
    Path(settings["passphrase_file"]).chmod(0o644)


def spoil_word(settings: dict[str, Any]) -> None:
    Path(settings["passphrase_file"]).write_text("another\n")


def empty_word(settings: dict[str, Any]) -> None:
    Path(settings["passphrase_file"]).write_text("\nsecond line\n")


def binary_word(settings: dict[str, Any]) -> None:
    Path(settings["passphrase_file"]).write_bytes(b"\xff\xfe")


def lose_key(settings: dict[str, Any]) -> None:
    Path(settings["key"]).unlink()


def lose_word(settings: dict[str, Any]) -> None:
    Path(settings["passphrase_file"]).unlink()


def unencrypted(settings: dict[str, Any]) -> None:
    pem = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    Path(settings["key"]).write_bytes(pem)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (spoil_mode, r"evidence\.key: others .* access to the key \(mode 0640\)"),
        (spoil_word_mode, r"evidence\.key\.word: others .* the passphrase \(mode 0644\)"),
        (spoil_word, r"evidence\.key: .* another passphrase"),
        (empty_word, r"evidence\.key\.word: the passphrase is empty"),
        (binary_word, r"evidence\.key\.word: is not UTF-8"),
        (lose_key, r"evidence\.key: cannot read the key: No such file"),
        (lose_word, r"evidence\.key\.word: cannot read the passphrase: No such file"),
        (unencrypted, r"evidence\.key: this private key is not encrypted"),
    ],
)
def test_a_key_file_that_cannot_be_used_is_named_and_ends_with_2(
    state: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[dict[str, Any]], None],
    said: str,
) -> None:
    settings = key_file(state)
    spoil(settings)
    environment = configured(state, settings)
    with pytest.raises(InputError, match=said):
        signer_of(environment, Secrets(environment)).sign(b"x")
    with pytest.raises(SystemExit) as ended:
        run_command(evidence, ["key", "local"], "anlan evidence")
    assert ended.value.code == 2
    told = capsys.readouterr()
    assert WORD.strip() not in told.err + told.out


def test_nothing_is_begun_that_could_not_be_signed(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.cli.drill_work._require_answers", lambda *_: None)
    settings = key_file(state)
    environment = configured(state, settings)
    require_ready({"steps": []}, environment)
    lose_word(settings)
    with pytest.raises(InputError, match="cannot read the passphrase"):
        require_ready({"steps": []}, environment)


@pytest.mark.parametrize(
    "signer",
    [
        {"driver": "pkcs11", "key": "x"},
        {"driver": "kms"},
        {"driver": "kms", "key": ""},
        {"driver": "file", "key": "/evidence.key"},
        {"driver": "file", "key": "evidence.key", "passphrase_file": "/word"},
        {"driver": "file", "key": "/evidence.key", "passphrase": "in the descriptor"},
    ],
)
def test_settings_that_are_none_are_refused_when_the_stack_is_configured(
    state: Path, signer: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match=r"evidence\.yaml"):
        configured(state, signer)


def test_evidence_is_signed_by_kms_where_the_descriptor_says_so(state: Path, aws: Any) -> None:
    environment = configured(state, {"driver": "kms", "key": make(aws)})
    bundle = record(state, environment, "backup-kms")
    out = state / "evidence.pub"
    assert key("--out", str(out)).exception is None
    found = verify(bundle, Trust.of([load_public_key(out)]), REDERIVE)
    assert (found.status, found.problems) == ("VALID", ())
    assert log_report(environment, state).problems == ()


def test_a_kms_key_that_is_none_says_what_to_do(state: Path, aws: Any) -> None:
    environment = configured(state, {"driver": "kms", "key": "alias/none"})
    with pytest.raises(InfrastructureError, match="alias/none"):
        signer_of(environment, Secrets(environment)).public_key_pem()
    assert key().exception.exit_code == 4  # type: ignore[union-attr]


def test_the_log_goes_on_when_another_signer_takes_over(state: Path, aws: Any) -> None:
    first = configured(state, key_file(state))
    record(state, first, "backup-one")
    before = audit(state, "local", keys_of(first))
    second = configured(state, {"driver": "kms", "key": make(aws)})
    bundle = record(state, second, "backup-two", hours=1)
    after = audit(state, "local", keys_of(second), before.checkpoint)
    assert (before.status, after.status) == ("VALID", "VALID")
    assert before.checkpoint is not None and after.checkpoint is not None
    assert after.checkpoint.origin == before.checkpoint.origin
    assert [one.run_id for one in after.entries][:: len(before.entries)] == [
        "backup-one",
        "backup-two",
    ]
    assert verify(bundle, Trust.of(keys_of(second)), REDERIVE).status == "VALID"
    assert verify(bundle, Trust.of(keys_of(first)), REDERIVE).status == "UNTRUSTED"
    assert {one.stem for one in (state / "evidence" / "keys").glob("*.pub")} == {
        key_id(one).removeprefix("sha256:") for one in (*keys_of(first), *keys_of(second))
    }


def keys_of(environment: Environment) -> list[Any]:
    pem = signer_of(environment, Secrets(environment)).public_key_pem()
    return [parse_public_key(pem.encode())]


def key(*arguments: str) -> Result:
    command = ["key", "local", *arguments]
    return CliRunner().invoke(evidence, command, standalone_mode=False)


def test_the_public_key_and_its_id_are_told(state: Path) -> None:
    environment = configured(state, key_file(state))
    (public,) = keys_of(environment)
    shown = key()
    assert parse_public_key(shown.stdout.encode()) == public
    assert shown.stderr == f"{key_id(public)}  signer file\n"
    told = json.loads(key("--json").output)
    assert (told["signer"], told["key_id"]) == ("file", key_id(public))
    out = state / "evidence.pub"
    assert key("--out", str(out)).output == f"{key_id(public)}  {out}\n"
    assert load_public_key(out) == public
    error = key("--out", str(state / "evidence.key" / "evidence.pub")).exception
    assert isinstance(error, InputError)


def test_the_demo_verifies_with_the_key_of_who_signs(state: Path, tmp_path: Path) -> None:
    bundle = record(state, configured(state, key_file(state)), "backup-demo")
    assert demo._verified(bundle, "local") == "VALID"
    configured(state, key_file(state, "other.key"))
    assert demo._verified(bundle, "local") == "UNTRUSTED"
    environment = configured(state, None)
    published = replace(environment, evidence_public_key=tmp_path / "evidence.pub")
    with pytest.raises(InputError, match=r"evidence\.pub: cannot read the trust key"):
        trusted_key(published, Secrets(published))


def test_a_run_whose_signer_was_lost_says_how_to_go_on(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def execute(*_: Any) -> list[str]:
        raise InputError("cannot read the passphrase", "put it back")

    write_plan(state / "runs" / "failover-1", Sample(run_id="failover-1"))
    monkeypatch.setattr("orchestrator.engine.execute.execute", execute)
    with pytest.raises(InputError) as error:
        work(runs.load(state, "failover-1"), as_json=True)
    assert error.value.todo == "put it back, then `anlan drill resume failover-1`"


def test_of_a_key_that_is_not_transits_nothing_is_claimed(state: Path) -> None:
    environment = configured(state, key_file(state))
    (fact,) = collect_kinds(environment, Secrets(environment), ["transit_key"])
    assert (fact.status, fact.data) == ("unreachable", {})
    assert "evidence is signed by file, not by Transit" in fact.error


def test_the_drill_of_the_secret_manager_claims_the_evidence_key_only_where_transit_signs(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Transit's key is proven in both cases, by the name of what it is."""
    word = FileSigner(*(Path(key_file(state)[name]) for name in ("key", "passphrase_file")))
    word.key_id = "sha256:0"  # type: ignore[attr-defined]
    monkeypatch.setattr(steps, "TransitSigner", lambda _: word)  # it holds the key in this test
    seen: list[tuple[str, bool, str]] = []
    for settings in (None, key_file(state, "other.key")):
        trusted = state / "evidence.pub"
        trusted.write_text(word.public_key_pem())
        environment = replace(configured(state, settings), evidence_public_key=trusted)
        context = SimpleNamespace(
            environment=environment,
            secrets=None,
            run_id="x",
            require=lambda *found: seen.append(found),
        )
        steps._prove_evidence_key(context)  # type: ignore[arg-type]
    assert [(name, ok) for name, ok, _ in seen] == [
        ("evidence_key_signs", True),
        ("transit_key_signs", True),
    ]
    assert "evidence is signed by file" in seen[1][2]
