"""DSSE v1: signatures over a payload and its type.

Specification: https://github.com/secure-systems-lab/dsse/blob/master/protocol.md
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from orchestrator.evidence.keys import Signer, key_id
from orchestrator.model.canonical import StrictJsonError, canonical, strict_loads
from orchestrator.model.errors import InputError
from orchestrator.model.schema import check


class SignatureError(ValueError):
    """A signature that does not hold: the envelope or its payload was changed."""


class UntrustedError(ValueError):
    """Signed, but not by enough of the keys that the verifier trusts."""


@dataclass(frozen=True)
class Signature:
    """One signature; `keyid` is a hint, never a reason to trust."""

    keyid: str
    value: bytes


@dataclass(frozen=True)
class Envelope:
    """A payload with its type and signatures."""

    payload: bytes
    payload_type: str
    signatures: tuple[Signature, ...]

    def to_bytes(self) -> bytes:
        """Return the canonical JSON form."""
        return canonical(
            {
                "payload": base64.b64encode(self.payload).decode(),
                "payloadType": self.payload_type,
                "signatures": [
                    {"keyid": item.keyid, "sig": base64.b64encode(item.value).decode()}
                    for item in self.signatures
                ],
            }
        )


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return the pre-authentication encoding: the bytes that are signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign(payload: bytes, payload_type: str, signer: Signer) -> Envelope:
    """Return an envelope signed by `signer`."""
    signature = signer.sign(pae(payload_type, payload))
    return Envelope(payload, payload_type, (Signature(signer.key_id, signature),))


def _decode(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def parse(content: bytes) -> Envelope:
    """Return the envelope of its JSON form. Raises SignatureError when it is malformed."""
    try:
        data: Any = strict_loads(content)
        check(data, "envelope")
        return Envelope(
            _decode(data["payload"]),
            data["payloadType"],
            tuple(Signature(item["keyid"], _decode(item["sig"])) for item in data["signatures"]),
        )
    except (StrictJsonError, InputError, binascii.Error) as error:
        raise SignatureError(f"not a DSSE envelope: {error}") from error


def _holds(key: Ed25519PublicKey, signature: bytes, message: bytes) -> bool:
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def verify(
    envelope: Envelope, payload_type: str, keys: Sequence[Ed25519PublicKey], threshold: int = 1
) -> frozenset[str]:
    """Return the ids of the trusted keys that signed the payload as `payload_type`.

    Raises SignatureError when the type differs or a signature that names a trusted key does not
    hold; UntrustedError when fewer than `threshold` different trusted keys signed.
    """
    if envelope.payload_type != payload_type:
        raise SignatureError(
            f"payload type is {envelope.payload_type!r}, expected {payload_type!r}"
        )
    message = pae(envelope.payload_type, envelope.payload)
    trusted = {key_id(key): key for key in keys}
    good = frozenset(
        name
        for name, key in trusted.items()
        if any(_holds(key, item.value, message) for item in envelope.signatures)
    )
    if len(good) >= threshold:
        return good
    for item in envelope.signatures:
        if item.keyid in trusted and item.keyid not in good:
            raise SignatureError(f"signature of {item.keyid} does not hold")
    raise UntrustedError(
        f"signed by {len(good)} of the trusted keys, needed {threshold} "
        f"(signatures name {', '.join(item.keyid or 'no key' for item in envelope.signatures)})"
    )
