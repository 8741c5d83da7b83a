"""Who signs: Ed25519 keys, their ids, and the interface of a signer.

A key's id is `sha256:` and the sha256 of its SubjectPublicKeyInfo (DER), so that anyone who holds
the public key can compute it. The private key of an environment never leaves its secret manager.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from orchestrator.model.errors import InputError


class Signer(Protocol):
    """Signs bytes with one Ed25519 key. Both verbs may raise InfrastructureError."""

    def public_key_pem(self) -> str:
        """Return the public key (PEM, SubjectPublicKeyInfo) of the key that `sign` uses now."""

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of `message`."""


def key_id(key: Ed25519PublicKey) -> str:
    """Return the id of a public key."""
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"sha256:{hashlib.sha256(der).hexdigest()}"


def public_key_pem(key: Ed25519PublicKey) -> str:
    """Return a public key as PEM text: what a trust key file holds."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def parse_public_key(pem: bytes, *, file: str = "") -> Ed25519PublicKey:
    """Return the Ed25519 public key of PEM text. Raises InputError."""
    try:
        key = load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(f"not a PEM public key: {error}", file=file) from error
    if not isinstance(key, Ed25519PublicKey):
        raise InputError("not an Ed25519 key", "evidence is signed with Ed25519", file=file)
    return key


def load_public_key(path: Path) -> Ed25519PublicKey:
    """Read a trust key from a file that did NOT come with the bundle. Raises InputError."""
    try:
        return parse_public_key(path.read_bytes(), file=str(path))
    except OSError as error:
        raise InputError(
            f"cannot read the trust key: {error.strerror}",
            "get evidence.pub from the environment's owner over a way you trust",
            file=str(path),
        ) from error


def load_private_key(path: Path, passphrase: Callable[[], str]) -> Ed25519PrivateKey:
    """Read a person's private key (PEM); `passphrase` is asked when it is encrypted.

    Raises InputError.
    """
    try:
        pem = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the key: {error.strerror}", file=str(path)) from error
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
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError("not an Ed25519 key", "approvals are signed with Ed25519", file=str(path))
    return key


class LocalSigner:
    """Signs with a key held in memory: an approver's, or in tests an environment's."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @property
    def public_key(self) -> Ed25519PublicKey:
        """The key that verifies."""
        return self._key.public_key()

    def public_key_pem(self) -> str:
        """Return the public key as PEM text."""
        return public_key_pem(self.public_key)

    def sign(self, message: bytes) -> bytes:
        """Return the signature of `message`."""
        return self._key.sign(message)
