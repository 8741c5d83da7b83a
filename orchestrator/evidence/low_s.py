"""ECDSA signatures on P-256 in one form: DER with s in the lower half of the order.

From a signature (r, s) anybody can make a second one that holds, (r, n - s), without the key. So
that no byte of what was signed can be changed unnoticed, the lower s alone counts, as BIP 62 and
BIP 146 have it for secp256k1. DER itself gives two integers one encoding.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

# SEC 2 version 2, section 2.4.2.
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def lowered(signature: bytes) -> bytes:
    """Return the signature (DER) with the lower s; what is no ECDSA signature as it is."""
    try:
        r, s = decode_dss_signature(signature)
    except ValueError:
        return signature
    return encode_dss_signature(r, min(s, _ORDER - s)) if 0 < s < _ORDER else signature


def is_low(signature: bytes) -> bool:
    """Whether it is an ECDSA signature on P-256 in DER, with r and s in range and s the lower."""
    try:
        r, s = decode_dss_signature(signature)
    except ValueError:
        return False
    return 0 < r < _ORDER and 0 < s <= _ORDER // 2
