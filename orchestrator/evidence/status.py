"""What the problems of a bundle amount to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

Status = Literal["VALID", "STALE", "INCOMPLETE", "UNTRUSTED", "INVALID"]
_UNTRUSTED = {
    "untrusted-signer",
    "wrong-role",
    "key-expired",
    "key-not-yet-valid",
    "key-revoked",
    "log-unknown",
    "witness-quorum",
    "timestamp-quorum",
    "timestamp-untrusted",
    "timestamp-expired",
}
_INCOMPLETE = {
    *("missing-file", "missing-statement", "missing-log-entry"),
    *("missing-run", "missing-scheduled-run"),  # of a period
}
_STALE = {"too-old"}


def status_of(codes: Iterable[str]) -> Status:
    """Return the status that problems with these codes lead to: the worst of them counts."""
    found = set(codes)
    if found - _UNTRUSTED - _INCOMPLETE - _STALE:
        return "INVALID"
    if found & _UNTRUSTED:
        return "UNTRUSTED"
    if found & _INCOMPLETE:
        return "INCOMPLETE"
    return "STALE" if found else "VALID"
