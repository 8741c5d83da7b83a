"""Keys that evidence is signed and verified with: Ed25519, or ECDSA on P-256 with SHA-256.

A key's id is `sha256:` and the sha256 of its SubjectPublicKeyInfo (DER), so that anyone who holds
the public key can compute it. The private key of an environment never leaves its secret manager or
its key management service (`orchestrator.drivers`); a person's is in a PEM file of their own.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from orchestrator.evidence import low_s
from orchestrator.model.errors import InfrastructureError, InputError

# An elliptic curve key may be of any curve: `accepted` says whether it is a key of ours.
PublicKey = Ed25519PublicKey | EllipticCurvePublicKey
PrivateKey = Ed25519PrivateKey | EllipticCurvePrivateKey


class Signer(Protocol):
    """Signs bytes with one key, Ed25519 or P-256. Both verbs may raise InfrastructureError."""

    def public_key_pem(self) -> str:
        """Return the public key (PEM, SubjectPublicKeyInfo) of the key that `sign` uses now."""

    def sign(self, message: bytes) -> bytes:
        """Return the signature of `message`: 64 bytes of Ed25519, or ECDSA with SHA-256 in DER."""


def not_accepted(what: str, *, file: str = "") -> InputError:
    """Return the error for a key of a kind that evidence is not signed with."""
    return InputError(
        f"{what} is neither an Ed25519 nor a P-256 key",
        "evidence is signed with Ed25519, or with ECDSA on P-256 (prime256v1)",
        file=file,
    )


def accepted(key: object, *, file: str = "") -> PublicKey:
    """Return the key if evidence may be signed with its kind. Raises InputError."""
    if isinstance(key, Ed25519PublicKey):
        return key
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return key
    curve = key.curve.name if isinstance(key, EllipticCurvePublicKey) else ""
    raise not_accepted(f"a key on {curve}" if curve else "this key", file=file)


def key_id(key: PublicKey) -> str:
    """Return the id of a public key."""
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"sha256:{hashlib.sha256(der).hexdigest()}"


def public_key_pem(key: PublicKey) -> str:
    """Return a public key as PEM text: what a trust key file holds."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def parse_public_key(pem: bytes, *, file: str = "") -> PublicKey:
    """Return the Ed25519 or P-256 public key of PEM text. Raises InputError."""
    try:
        key = load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(
            "not a PEM public key",
            "give the text that begins with -----BEGIN PUBLIC KEY-----; of a private key of yours "
            "it is `openssl pkey -in KEYFILE -pubout`",
            file=file,
        ) from error
    return accepted(key, file=file)


def load_public_key(path: Path) -> PublicKey:
    """Read a trust key from a file that did NOT come with the bundle. Raises InputError."""
    try:
        return parse_public_key(path.read_bytes(), file=str(path))
    except OSError as error:
        raise InputError(
            f"cannot read the trust key: {error.strerror}",
            "get evidence.pub from the environment's owner over a way you trust",
            file=str(path),
        ) from error


def load_public_keys(folder: Path) -> list[PublicKey]:
    """Return the keys of a folder's *.pub files, in order of their names. Raises InputError."""
    return [load_public_key(path) for path in sorted(folder.glob("*.pub"))]


def holds(key: PublicKey, signature: bytes, message: bytes) -> bool:
    """Whether the signature is this key's over `message`, in the one form that counts.

    Raises InputError for a key of another kind or curve.
    """
    accepted(key)
    try:
        if isinstance(key, Ed25519PublicKey):
            key.verify(signature, message)
        elif not low_s.is_low(signature):
            return False
        else:
            key.verify(signature, message, ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def signature_of(signer: Signer, message: bytes) -> tuple[PublicKey, bytes]:
    """Return the signer's public key and its signature, in the one form that verifiers take.

    Raises InfrastructureError when what it signed does not verify with the key that it names:
    such a signature must never get into the log.
    """
    key = parse_public_key(signer.public_key_pem().encode(), file="the signer's public key")
    signature = signer.sign(message)
    if isinstance(key, EllipticCurvePublicKey):
        signature = low_s.lowered(signature)
    if not holds(key, signature, message):
        raise InfrastructureError(
            f"the signature does not verify with the signer's key {key_id(key)}",
            "was the key rotated just now? then try again; else look at who holds the key",
        )
    return key, signature


def read_private_file(path: Path, what: str) -> bytes:
    """Return the content of a file that nobody but its owner has any access to.

    `what` is in it ("the key"). Raises InputError.
    """
    try:
        with path.open("rb") as stream:
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            content = stream.read()
    except OSError as error:
        raise InputError(
            f"cannot read {what}: {error.strerror}",
            "check the path and your rights",
            file=str(path),
        ) from error
    if mode & 0o077:
        raise InputError(
            f"others than its owner have access to {what} (mode {mode:04o})",
            f"`chmod 600 {path}`; if somebody may have read it, make a new one",
            file=str(path),
        )
    return content


def load_private_key(path: Path, passphrase: Callable[[], str]) -> PrivateKey:
    """Read a private key (PEM) that its owner alone can read; an encrypted one asks `passphrase`.

    Raises InputError.
    """
    pem = read_private_file(path, "the key")
    try:
        try:
            key = load_pem_private_key(pem, None)
        except TypeError:  # it is encrypted
            key = load_pem_private_key(pem, passphrase().encode())
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(
            "not a private key in PEM, or another passphrase",
            "make one: `openssl genpkey -algorithm ed25519 -aes256 -out KEYFILE`",
            file=str(path),
        ) from error
    if isinstance(key, Ed25519PrivateKey | EllipticCurvePrivateKey):
        accepted(key.public_key(), file=str(path))
        return key
    raise not_accepted("this key", file=str(path))


class LocalSigner:
    """Signs with a key held in memory: an approver's, or in tests an environment's."""

    def __init__(self, key: PrivateKey) -> None:
        self._key = key
        self.public_key = accepted(key.public_key())

    @classmethod
    def from_file(cls, path: Path, passphrase: Callable[[], str]) -> LocalSigner:
        """Return the signer of a PEM file, see `load_private_key`. Raises InputError."""
        return cls(load_private_key(path, passphrase))

    def public_key_pem(self) -> str:
        """Return the public key as PEM text."""
        return public_key_pem(self.public_key)

    def sign(self, message: bytes) -> bytes:
        """Return the signature of `message`."""
        if isinstance(self._key, Ed25519PrivateKey):
            return self._key.sign(message)
        return self._key.sign(message, ECDSA(SHA256()))
