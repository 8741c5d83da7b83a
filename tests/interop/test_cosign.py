"""Our statements as cosign reads them: a plain DSSE envelope and a local key, offline.

`make interop` installs cosign and runs this. Without cosign on PATH these tests are skipped,
unless ANLAN_INTEROP is set.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from orchestrator.evidence import LocalSigner
from orchestrator.evidence.keys import PrivateKey
from orchestrator.evidence.predicates import DR_DRILL, PLAN, SCHEMAS
from orchestrator.evidence.statement import PREDICATES
from orchestrator.model.canonical import canonical

sys.path.append(str(Path(__file__).resolve().parents[1] / "unit"))

from run_samples import Sample, record

COSIGN = shutil.which("cosign")
pytestmark = pytest.mark.skipif(
    COSIGN is None and "ANLAN_INTEROP" not in os.environ,
    reason="cosign is not on PATH: `make interop` builds it (minutes)",
)
KINDS: dict[str, Callable[[], PrivateKey]] = {
    "ed25519": Ed25519PrivateKey.generate,
    "p256": lambda: generate_private_key(SECP256R1()),
}
# A blob that each statement has as a subject.
BLOBS = {"plan": "drill.yaml", "controls": "findings.json", "run": "run.json"}
VECTORS = Path(__file__).resolve().parents[1] / "vectors"
STATEMENTS = {
    one["predicate_type"].split("/")[-2]: one
    for one in json.loads((VECTORS / "expected.json").read_bytes())["statements"]
}


class Recorded:
    """A recorded run, and the public key that it was signed with."""

    def __init__(self, folder: Path, key: PrivateKey) -> None:
        signer = LocalSigner(key)
        self.run = record(folder, Sample(drill="failover"), signer)
        self.key = folder / "evidence.pub"
        self.key.write_text(signer.public_key_pem())

    def statement(self, kind: str = "run") -> Path:
        return self.run / "statements" / f"{kind}.dsse.json"


@pytest.fixture(scope="module", params=KINDS)
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return Recorded(tmp_path_factory.mktemp("state"), KINDS[request.param]())


def cosign(key: Path, kind: str, given: tuple[str, Path], blob: Path) -> str:
    """What cosign says of a statement; `Verified OK` is the only good answer."""
    assert COSIGN, "ANLAN_INTEROP is set and cosign is not on PATH"
    type_ = PREDICATES.get(kind, kind)
    options = ["--key", str(key), "--type", type_, given[0], str(given[1])]
    done = subprocess.run(
        [COSIGN, "verify-blob-attestation", "--insecure-ignore-tlog=true", *options, str(blob)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        # Nothing here may be asked of the network.
        env={**os.environ, "HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"},
    )
    assert (done.returncode == 0) == ("Verified OK" in done.stderr)
    return done.stderr


def plain(path: Path) -> tuple[str, Path]:
    return "--signature", path


@pytest.mark.parametrize("kind", PREDICATES)
def test_cosign_accepts_each_statement_as_it_is_in_a_bundle(recorded: Recorded, kind: str) -> None:
    blob = recorded.run / BLOBS[kind]
    assert "Verified OK" in cosign(recorded.key, kind, plain(recorded.statement(kind)), blob)


def test_cosign_accepts_a_statement_wrapped_as_a_sigstore_bundle(
    recorded: Recorded, tmp_path: Path
) -> None:
    envelope = json.loads(recorded.statement().read_bytes())
    for one in envelope["signatures"]:
        del one["keyid"]  # cosign takes an SSH fingerprint there, or nothing
    wrapped = tmp_path / "run.sigstore.json"
    wrapped.write_text(
        json.dumps(
            {
                "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
                "verificationMaterial": {"publicKey": {"hint": ""}},
                "dsseEnvelope": envelope,
            }
        )
    )
    said = cosign(recorded.key, "run", ("--bundle", wrapped), recorded.run / "run.json")
    assert "Verified OK" in said


@pytest.mark.parametrize("part", ["payload", "sig"])
def test_cosign_refuses_a_flipped_byte(recorded: Recorded, tmp_path: Path, part: str) -> None:
    content = bytearray(recorded.statement().read_bytes())
    position = content.index(f'"{part}":"'.encode()) + len(part) + 24
    content[position] = ord("A" if content[position] == ord("B") else "B")  # base64 as before
    changed = tmp_path / "changed.json"
    changed.write_bytes(content)
    said = cosign(recorded.key, "run", plain(changed), recorded.run / "run.json")
    assert "accepted signatures do not match threshold" in said


def test_cosign_refuses_another_key_of_either_kind(recorded: Recorded, tmp_path: Path) -> None:
    for name, make in KINDS.items():
        other = tmp_path / f"{name}.pub"
        other.write_text(LocalSigner(make()).public_key_pem())
        said = cosign(other, "run", plain(recorded.statement()), recorded.run / "run.json")
        assert "accepted signatures do not match threshold" in said


def test_cosign_refuses_a_file_that_the_statement_is_not_about(recorded: Recorded) -> None:
    blob = recorded.run / "drill.yaml"
    said = cosign(recorded.key, "run", plain(recorded.statement()), blob)
    assert "no matching subject digest" in said


def test_cosign_refuses_a_statement_of_another_kind(recorded: Recorded) -> None:
    blob = recorded.run / "plan.json"  # both are about it
    assert "Verified OK" in cosign(recorded.key, "run", plain(recorded.statement()), blob)
    said = cosign(recorded.key, "plan", plain(recorded.statement()), blob)
    assert "invalid predicate type" in said


def payload(name: str) -> bytes:
    """The statement in a vector."""
    envelope = json.loads((VECTORS / STATEMENTS[name]["file"]).read_bytes())
    return base64.b64decode(envelope["payload"])


def predicate(name: str) -> Any:
    return json.loads(payload(name))["predicate"]


def member(path: str) -> bytes:
    with zipfile.ZipFile(VECTORS / "bundles" / "good-passed.zip") as bundle:
        return bundle.read(path)


# What one subject of the vector of each type is the digest of (docs/reference/predicates.md).
SUBJECTS: dict[str, Callable[[], bytes]] = {
    "plan": lambda: member("drill/drill.yaml"),
    "control-result": lambda: member("controls/findings.json"),
    "dr-drill": lambda: member("raw/facts.json"),
    "approval": lambda: canonical(predicate("plan")["plan"]),
    "schedule": lambda: canonical(predicate("schedule")["record"]),
    "waiver": lambda: canonical(predicate("waiver")["waiver"]),
    "waiver-withdrawal": lambda: payload("waiver"),
    "legal-hold": lambda: payload("plan"),
    "tombstone": lambda: payload("dr-drill"),
    "access-review": lambda: canonical(
        [one["right"] for one in predicate("access-review")["decisions"]["common/postgresql"]]
    ),
}


def test_there_is_a_vector_of_each_type_for_cosign() -> None:
    assert {one["predicate_type"] for one in STATEMENTS.values()} == set(SCHEMAS)
    assert set(STATEMENTS) == set(SUBJECTS)


@pytest.mark.parametrize("name", STATEMENTS)
def test_cosign_accepts_each_type_as_it_is_and_refuses_other_keys_types_and_payloads(
    name: str, tmp_path: Path
) -> None:
    type_ = STATEMENTS[name]["predicate_type"]
    file, key = VECTORS / STATEMENTS[name]["file"], VECTORS / STATEMENTS[name]["trust"]
    blob = tmp_path / "blob"
    blob.write_bytes(SUBJECTS[name]())
    assert "Verified OK" in cosign(key, type_, plain(file), blob)

    said = cosign(VECTORS / "keys" / "rotated.pub", type_, plain(file), blob)
    assert "accepted signatures do not match threshold" in said

    other = PLAN if type_ == DR_DRILL else DR_DRILL
    assert "invalid predicate type" in cosign(key, other, plain(file), blob)

    envelope, text = json.loads(file.read_bytes()), payload(name)
    changed = tmp_path / "changed.json"
    edited = text.replace(b"2026", b"2027", 1)
    envelope["payload"] = base64.b64encode(edited).decode()
    assert edited != text
    changed.write_text(json.dumps(envelope))
    said = cosign(key, type_, plain(changed), blob)
    assert "accepted signatures do not match threshold" in said
