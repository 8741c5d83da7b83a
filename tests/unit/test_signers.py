"""Signers: a key in a file of its owner's, a P-256 key, and the one form of each signature."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from orchestrator.evidence import dsse, low_s
from orchestrator.evidence.keys import (
    LocalSigner,
    holds,
    key_id,
    load_private_key,
    parse_public_key,
    signature_of,
)
from orchestrator.model.errors import InfrastructureError, InputError

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
MESSAGE = b"rto 4"
FOREIGN = [
    ec.generate_private_key(ec.SECP384R1()),
    ec.generate_private_key(ec.SECP256K1()),
    ed448.Ed448PrivateKey.generate(),
    rsa.generate_private_key(65537, 2048),
]


class Asked(Exception):
    """The passphrase was asked for."""


def never() -> str:
    raise Asked


def p256() -> LocalSigner:
    return LocalSigner(ec.generate_private_key(ec.SECP256R1()))


def pem(key, passphrase: bytes = b"") -> bytes:
    wrap = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, wrap)


def private_file(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    file = folder / "li-wei.key"
    file.write_bytes(content)
    file.chmod(mode)
    return file


def high(signature: bytes) -> bytes:
    """The other signature that holds: what anybody can make of one."""
    r, s = decode_dss_signature(signature)
    return encode_dss_signature(r, ORDER - s)


@pytest.mark.parametrize("make", [Ed25519PrivateKey.generate, lambda: p256()._key])
def test_an_encrypted_key_file_signs_with_its_passphrase(tmp_path: Path, make) -> None:
    key = make()
    file = private_file(tmp_path, pem(key, b"swordfish"))
    signer = LocalSigner.from_file(file, lambda: "swordfish")
    envelope = dsse.sign(b"x", "t", signer)
    public = parse_public_key(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    assert dsse.verify(envelope, "t", [public]) == {key_id(public)}


def test_another_passphrase_names_the_file_and_says_how_to_make_a_key(tmp_path: Path) -> None:
    file = private_file(tmp_path, pem(Ed25519PrivateKey.generate(), b"swordfish"))
    with pytest.raises(InputError, match=r"li-wei\.key.*another passphrase"):
        load_private_key(file, lambda: "guess")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644, 0o601])
def test_a_key_file_that_others_have_access_to_is_refused_before_it_is_read(
    tmp_path: Path, mode: int
) -> None:
    file = private_file(tmp_path, pem(Ed25519PrivateKey.generate(), b"swordfish"), mode)
    with pytest.raises(InputError, match="chmod 600"):
        load_private_key(file, never)
    file.chmod(0o400)
    with pytest.raises(Asked):
        load_private_key(file, never)


def test_a_missing_key_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.key: cannot read the key"):
        load_private_key(tmp_path / "none.key", never)


@pytest.mark.parametrize("key", FOREIGN)
def test_a_key_of_another_kind_or_curve_neither_signs_nor_verifies(tmp_path: Path, key) -> None:
    public = key.public_key()
    text = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(InputError, match="neither an Ed25519 nor a P-256 key"):
        parse_public_key(text)
    with pytest.raises(InputError, match="neither an Ed25519 nor a P-256 key"):
        load_private_key(private_file(tmp_path, pem(key)), never)
    with pytest.raises(InputError, match="neither an Ed25519 nor a P-256 key"):
        LocalSigner(key)
    with pytest.raises(InputError, match="neither an Ed25519 nor a P-256 key"):
        holds(public, b"", MESSAGE)


def test_a_trust_key_of_another_curve_is_named_with_its_curve() -> None:
    text = FOREIGN[0].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(InputError, match=r"secp384r1") as refused:
        parse_public_key(text, file="evidence.pub")
    assert refused.value.file == "evidence.pub"


def test_every_p256_signature_that_is_handed_out_has_a_low_s() -> None:
    signer = p256()
    for number in range(40):  # a signer gives a high one half of the time
        key, signature = signature_of(signer, b"%d" % number)
        assert decode_dss_signature(signature)[1] <= ORDER // 2
        assert holds(key, signature, b"%d" % number)


def test_the_second_signature_that_anybody_can_make_does_not_hold() -> None:
    key, signature = signature_of(p256(), MESSAGE)
    other = high(signature)
    key.verify(other, MESSAGE, ec.ECDSA(SHA256()))  # as the algorithm has it, it holds
    assert not holds(key, other, MESSAGE)
    assert low_s.lowered(other) == signature


def test_no_bit_of_a_p256_signature_can_be_changed() -> None:
    key, signature = signature_of(p256(), MESSAGE)
    for position in range(len(signature) * 8):
        flipped = bytearray(signature)
        flipped[position // 8] ^= 1 << position % 8
        assert not holds(key, bytes(flipped), MESSAGE)


@pytest.mark.parametrize(
    "change",
    [
        lambda r, s: encode_dss_signature(r, s) + b"\x00",
        lambda r, s: b"\x30\x81" + encode_dss_signature(r, s)[1:],  # a length in two bytes
        lambda r, s: encode_dss_signature(r + ORDER, s),
        lambda r, s: encode_dss_signature(r, s + ORDER),
        lambda r, s: encode_dss_signature(0, s),
        lambda r, s: encode_dss_signature(r, 0),
        lambda r, s: r.to_bytes(32, "big") + s.to_bytes(32, "big"),  # IEEE P1363
        lambda r, s: b"",
    ],
)
def test_a_p256_signature_in_any_other_form_does_not_hold(change) -> None:
    key, signature = signature_of(p256(), MESSAGE)
    assert not holds(key, change(*decode_dss_signature(signature)), MESSAGE)


def test_no_byte_of_an_envelope_signed_with_p256_can_be_changed_unnoticed() -> None:
    signer = p256()
    content = dsse.sign(b'{"rto":4}', "t", signer).to_bytes()
    assert dsse.verify(dsse.parse(content), "t", [signer.public_key])
    for position in range(len(content)):
        for bit in range(8):
            changed = bytearray(content)
            changed[position] ^= 1 << bit
            with pytest.raises((dsse.SignatureError, dsse.UntrustedError)):
                dsse.verify(dsse.parse(bytes(changed)), "t", [signer.public_key])


def test_an_envelope_with_the_second_signature_is_refused() -> None:
    signer = p256()
    (good,) = dsse.sign(b"x", "t", signer).signatures
    forged = dsse.Envelope(b"x", "t", (dsse.Signature(good.keyid, high(good.value)),))
    with pytest.raises(dsse.SignatureError, match="does not hold"):
        dsse.verify(forged, "t", [signer.public_key])


def test_keys_of_both_kinds_count_towards_a_threshold() -> None:
    one, two = LocalSigner(Ed25519PrivateKey.generate()), p256()
    keys = [one.public_key, two.public_key]
    both = [dsse.sign(b"x", "t", signer).signatures[0] for signer in (one, two)]
    envelope = dsse.Envelope(b"x", "t", tuple(both))
    assert dsse.verify(envelope, "t", keys, 2) == {key_id(key) for key in keys}
    with pytest.raises(dsse.UntrustedError):
        dsse.verify(dsse.Envelope(b"x", "t", (both[1],)), "t", keys, 2)


@pytest.mark.parametrize("answer", [b"", b"\x30\x06\x02\x01\x01\x02\x01\x01", bytes(64)])
def test_nonsense_from_a_signer_is_never_handed_out(answer: bytes) -> None:
    class Broken(LocalSigner):
        def sign(self, message: bytes) -> bytes:
            return answer

    for key in (Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())):
        with pytest.raises(InfrastructureError, match="does not verify"):
            signature_of(Broken(key), MESSAGE)
