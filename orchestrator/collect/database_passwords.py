"""Stored passwords of database roles that whoever tries a few would find: pure.

A SCRAM verifier can be compared with a guess as the server itself does (RFC 5802, 7677).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping

_COMMON = ("password", "postgres", "changeme")


def guessable(verifiers: Mapping[str, str]) -> list[str]:
    """The roles whose password is their own name or one that everybody tries first."""
    return sorted(
        role
        for role, verifier in verifiers.items()
        if any(_is_password(verifier, guess) for guess in (role, *_COMMON))
    )


def _is_password(verifier: str, guess: str) -> bool:
    """Whether a verifier of pg_authid is of this password."""
    try:
        scheme, parameters, keys = verifier.split("$")
        iterations, salt = parameters.split(":")
        stored = base64.b64decode(keys.split(":")[0])
        rounds, salted_with = int(iterations), base64.b64decode(salt)
    except ValueError:
        return False  # an MD5 hash, which has a finding of its own
    if scheme != "SCRAM-SHA-256":
        return False
    salted = hashlib.pbkdf2_hmac("sha256", guess.encode(), salted_with, rounds)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    return hmac.compare_digest(hashlib.sha256(client_key).digest(), stored)
