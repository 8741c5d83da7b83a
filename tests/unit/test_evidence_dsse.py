"""DSSE against the specification's vector, and the stricter form that bundles need."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from orchestrator.evidence import dsse
from orchestrator.evidence.keys import LocalSigner, key_id, load_public_key, parse_public_key
from orchestrator.model.errors import InfrastructureError, InputError

TYPE = "http://example.com/HelloWorld"

# https://github.com/secure-systems-lab/dsse/blob/master/protocol.md#test-vectors
SPEC_X = 46950820868899156662930047687818585632848591499744589407958293238635476079160
SPEC_Y = 5640078356564379163099075877009565129882514886557779369047442380624545832820
SPEC_SIGNATURE = base64.b64decode(
    "A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA=="
)


@pytest.fixture
def signer() -> LocalSigner:
    return LocalSigner(Ed25519PrivateKey.generate())


def test_the_encoding_is_the_specifications() -> None:
    encoded = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert dsse.pae(TYPE, b"hello world") == encoded


def test_the_specifications_signature_holds_over_the_encoding_and_over_nothing_else() -> None:
    key = ec.EllipticCurvePublicNumbers(SPEC_X, SPEC_Y, ec.SECP256R1()).public_key()
    halves = (int.from_bytes(SPEC_SIGNATURE[i : i + 32], "big") for i in (0, 32))
    signature = encode_dss_signature(*halves)
    key.verify(signature, dsse.pae(TYPE, b"hello world"), ec.ECDSA(SHA256()))
    with pytest.raises(InvalidSignature):
        key.verify(signature, dsse.pae(TYPE, b"hello World"), ec.ECDSA(SHA256()))


def test_lengths_count_bytes_not_characters() -> None:
    assert dsse.pae("类型", "é".encode()) == b"DSSEv1 6 \xe7\xb1\xbb\xe5\x9e\x8b 2 \xc3\xa9"


@pytest.mark.parametrize(("kind", "payload"), [("", b""), ("a b", b"1 2"), ("x", b"\x00\xff\n")])
def test_a_signed_envelope_reads_back_and_verifies(
    signer: LocalSigner, kind: str, payload: bytes
) -> None:
    envelope = dsse.sign(payload, kind or "t", signer)
    again = dsse.parse(envelope.to_bytes())
    assert again == envelope
    assert dsse.verify(again, kind or "t", [signer.public_key]) == {key_id(signer.public_key)}


def test_type_and_payload_cannot_lend_each_other_bytes(signer: LocalSigner) -> None:
    envelope = dsse.sign(b"b 1 c", "a", signer)
    other = dsse.Envelope(b"c", "a 5 b", envelope.signatures)
    with pytest.raises(dsse.SignatureError):
        dsse.verify(other, "a 5 b", [signer.public_key])


def test_another_payload_type_is_refused_before_the_signature_counts(signer: LocalSigner) -> None:
    envelope = dsse.sign(b"{}", "one", signer)
    with pytest.raises(dsse.SignatureError, match="payload type is 'one', expected 'two'"):
        dsse.verify(envelope, "two", [signer.public_key])


def test_a_changed_payload_is_a_broken_signature_not_an_unknown_signer(signer: LocalSigner) -> None:
    envelope = dsse.sign(b"rto 4", "t", signer)
    with pytest.raises(dsse.SignatureError, match="does not hold"):
        dsse.verify(dsse.Envelope(b"rto 3", "t", envelope.signatures), "t", [signer.public_key])


def test_a_key_that_is_not_trusted_is_said_to_be_so(signer: LocalSigner) -> None:
    stranger = LocalSigner(Ed25519PrivateKey.generate())
    envelope = dsse.sign(b"x", "t", stranger)
    with pytest.raises(dsse.UntrustedError, match=key_id(stranger.public_key)):
        dsse.verify(envelope, "t", [signer.public_key])


def test_a_threshold_counts_different_keys(signer: LocalSigner) -> None:
    second = LocalSigner(Ed25519PrivateKey.generate())
    keys = [signer.public_key, second.public_key]
    one = dsse.sign(b"x", "t", signer).signatures
    twice = dsse.Envelope(b"x", "t", one + one)
    with pytest.raises(dsse.UntrustedError, match="signed by 1 of the trusted keys, needed 2"):
        dsse.verify(twice, "t", [*keys, signer.public_key], threshold=2)
    both = dsse.Envelope(b"x", "t", one + dsse.sign(b"x", "t", second).signatures)
    assert dsse.verify(both, "t", keys, threshold=2) == {key_id(key) for key in keys}


@pytest.mark.parametrize("threshold", [0, -1])
def test_no_threshold_accepts_unsigned_evidence(signer: LocalSigner, threshold: int) -> None:
    envelope = dsse.Envelope(b"x", "t", ())
    with pytest.raises(InputError, match="would accept unsigned"):
        dsse.verify(envelope, "t", [signer.public_key], threshold)


def test_a_stolen_key_id_does_not_help(signer: LocalSigner) -> None:
    stranger = LocalSigner(Ed25519PrivateKey.generate())
    value = dsse.sign(b"x", "t", stranger).signatures[0].value
    forged = dsse.Envelope(b"x", "t", (dsse.Signature(key_id(signer.public_key), value),))
    with pytest.raises(dsse.SignatureError):
        dsse.verify(forged, "t", [signer.public_key])


def test_a_signature_that_its_own_key_refuses_is_never_handed_out(signer: LocalSigner) -> None:
    class Rotated(LocalSigner):
        def public_key_pem(self) -> str:
            return signer.public_key_pem()

    with pytest.raises(InfrastructureError, match="does not verify"):
        dsse.sign(b"x", "t", Rotated(Ed25519PrivateKey.generate()))


def envelope_json(signer: LocalSigner) -> dict[str, object]:
    return json.loads(dsse.sign(b"payload", "t", signer).to_bytes())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: json.dumps(data).encode(),  # spaces: not canonical
        lambda data: json.dumps(
            {**data, "payload": "cGF5bG9hZB=="}, separators=(",", ":")
        ).encode(),
        lambda data: b"",
        lambda data: b"[]",
        lambda data: b'{"payload":"","payload":"","payloadType":"t","signatures":[]}',
        lambda data: json.dumps({**data, "signatures": []}, separators=(",", ":")).encode(),
        lambda data: json.dumps({**data, "payload": "é"}, separators=(",", ":")).encode(),
        lambda data: json.dumps({**data, "payload": "YQ==\n"}, separators=(",", ":")).encode(),
        lambda data: json.dumps({**data, "key": "mine"}, separators=(",", ":")).encode(),
        lambda data: b"[" * 5000 + b"]" * 5000,
        lambda data: b"\xff\xfe",
    ],
)
def test_an_envelope_in_any_other_form_is_refused(signer: LocalSigner, spoil) -> None:
    with pytest.raises(dsse.SignatureError, match="not a DSSE envelope"):
        dsse.parse(spoil(envelope_json(signer)))


def test_base64_with_spare_bits_set_is_refused() -> None:
    assert base64.b64decode("QR==") == dsse.decode("QQ==") == b"A"
    with pytest.raises(ValueError, match="canonical"):
        dsse.decode("QR==")


def test_a_key_id_is_the_sha256_of_the_der_key(signer: LocalSigner, tmp_path: Path) -> None:
    import hashlib

    der = signer.public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert key_id(signer.public_key) == f"sha256:{hashlib.sha256(der).hexdigest()}"
    file = tmp_path / "evidence.pub"
    file.write_text(signer.public_key_pem())
    assert key_id(load_public_key(file)) == key_id(signer.public_key)


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        ec.generate_private_key(ec.SECP384R1())
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    ],
)
def test_a_trust_key_that_cannot_be_used_names_its_file(pem: bytes) -> None:
    with pytest.raises(InputError, match=r"keys/evidence\.pub"):
        parse_public_key(pem, file="keys/evidence.pub")


def test_a_missing_trust_key_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="over a way you trust"):
        load_public_key(tmp_path / "none.pub")
