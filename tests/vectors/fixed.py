"""Keys and persons of the vectors: made of their names, so that every run makes the same bytes.

They are public by their nature: nothing but tests may trust them.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, derive_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256

from orchestrator.evidence import LocalSigner


def seed(name: str) -> bytes:
    """32 bytes for a name."""
    return sha256(f"anlan test vectors: {name}".encode()).digest()


def ed25519(name: str) -> LocalSigner:
    """The Ed25519 signer of a name."""
    return LocalSigner(Ed25519PrivateKey.from_private_bytes(seed(name)))


class P256(LocalSigner):
    """A P-256 signer of a name; its signatures need no randomness (RFC 6979)."""

    def __init__(self, name: str) -> None:
        self._scalar = derive_private_key(int.from_bytes(seed(name), "big"), SECP256R1())
        super().__init__(self._scalar)

    def sign(self, message: bytes) -> bytes:
        return self._scalar.sign(message, ECDSA(SHA256(), deterministic_signing=True))


ENVIRONMENT, ROTATED, STRANGER = (ed25519(name) for name in ("environment", "rotated", "stranger"))
P256_ENVIRONMENT = P256("environment on P-256")
PERSONS = {name: ed25519(name) for name in ("li-wei", "wang")}


def rule(**more: Any) -> dict[str, Any]:
    """The approval rule: one of the persons."""
    approvers = [{"name": n, "public_key": key.public_key_pem()} for n, key in PERSONS.items()]
    return {"schema": "anlan.approvals/v1", "required": 1, "approvers": approvers, **more}
