"""DSSE v1: signatures over a payload and its type.

Specification: https://github.com/secure-systems-lab/dsse/blob/master/protocol.md
Stricter than it in form, so that no byte of an envelope can be changed unnoticed: an envelope is
canonical JSON, its base64 has one spelling, every signature names its key and has one form.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.evidence.keys import PublicKey, Signer, holds, key_id, signature_of
from orchestrator.model.canonical import canonical, canonical_loads
from orchestrator.model.errors import InputError
from orchestrator.model.schema import check


class SignatureError(ValueError):
    """A signature that does not hold: the envelope or its payload was changed."""


class UntrustedError(ValueError):
    """Signed, but not by enough of the keys that the verifier trusts."""


@dataclass(frozen=True)
class Signature:
    """One signature; `keyid` says which trusted key to try, and is never a reason to trust."""

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
    """Return an envelope signed by `signer`. Raises InfrastructureError, see `signature_of`."""
    key, signature = signature_of(signer, pae(payload_type, payload))
    return Envelope(payload, payload_type, (Signature(key_id(key), signature),))


def decode(text: str) -> bytes:
    """Return the bytes of standard base64 in its one canonical spelling. Raises ValueError."""
    content = base64.b64decode(text, validate=True)
    if base64.b64encode(content).decode() != text:
        raise ValueError("not in canonical base64")
    return content


def parse(content: bytes) -> Envelope:
    """Return the envelope of its JSON form. Raises SignatureError when it is malformed."""
    try:
        data: Any = canonical_loads(content)
        check(data, "envelope")
        return Envelope(
            decode(data["payload"]),
            data["payloadType"],
            tuple(Signature(item["keyid"], decode(item["sig"])) for item in data["signatures"]),
        )
    except (InputError, ValueError) as error:
        raise SignatureError(f"not a DSSE envelope: {error}") from error


def verify(
    envelope: Envelope, payload_type: str, keys: Sequence[PublicKey], threshold: int = 1
) -> frozenset[str]:
    """Return the ids of the trusted keys that signed the payload as `payload_type`.

    Raises SignatureError when the type differs or a signature that names a trusted key does not
    hold; UntrustedError when fewer than `threshold` (at least 1) different trusted keys signed.
    """
    if threshold < 1:
        raise InputError(f"a threshold of {threshold} would accept unsigned evidence")
    if envelope.payload_type != payload_type:
        raise SignatureError(
            f"payload type is {envelope.payload_type!r}, expected {payload_type!r}"
        )
    message = pae(envelope.payload_type, envelope.payload)
    trusted = {key_id(key): key for key in keys}
    good = frozenset(
        name
        for name, key in trusted.items()
        if any(
            item.keyid == name and holds(key, item.value, message) for item in envelope.signatures
        )
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
