"""Trust files of an auditor, and the cases that turn on them: roles, windows, logs, witnesses."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from forgers import SAMPLE, Good
from test_trust_tampering import by, cosigned, key, witnessed_by

from tests.vectors.case import Case
from tests.vectors.fixed import ENVIRONMENT, ROTATED, ed25519

WITNESS = "witness.example/one"
_WITNESSES = {WITNESS: ed25519("witness")}


def _trust(
    *roles: str,
    of_key: Mapping[str, str] | None = None,
    also: Sequence[dict[str, Any]] = (),
    **more: Any,
) -> bytes:
    """A trust file: the environment's key, by default in both of its roles."""
    wanted = roles or ("orchestrator", "log")
    keys = [key("evidence", ENVIRONMENT, *wanted, **(of_key or {})), *also]
    return json.dumps({"schema": "anlan.trust/v1", "keys": keys, **more}, indent=1).encode() + b"\n"


_WINDOW = {"valid_from": "2026-11-01T00:00:00Z", "valid_until": "2026-12-01T00:00:00Z"}
TRUSTS = {
    "window": _trust(of_key=_WINDOW),
    "expired": _trust(of_key={"valid_until": "2026-11-24T00:00:00Z"}),
    "not-yet-valid": _trust(of_key={"valid_from": "2026-11-26T00:00:00Z"}),
    "revoked": _trust(of_key={"revoked_at": "2026-11-25T03:00:00Z"}),
    "log-key-only": _trust("log", also=[key("another", ROTATED, "orchestrator")]),
    "another-log": _trust(logs=["anlan.dev/log/local/fedcba9876543210"]),
    "witness": _trust(**witnessed_by(_WITNESSES, 1)),
}
"""Name → content of `trust/NAME.json`."""


def make_trust_cases(good: Good) -> Iterator[Case]:
    """Cases of bundles that are sound, and trusted or not."""
    answers = {
        "window": ("VALID", None, None),
        "expired": ("UNTRUSTED", "key-expired", 28),
        "not-yet-valid": ("UNTRUSTED", "key-not-yet-valid", 28),
        "revoked": ("UNTRUSTED", "key-revoked", 28),
        "log-key-only": ("UNTRUSTED", "wrong-role", 37),
        "another-log": ("UNTRUSTED", "log-unknown", 24),
        "witness": ("UNTRUSTED", "witness-quorum", 26),
    }
    for name, (status, code, number) in answers.items():
        yield Case(
            f"trust-{name}",
            good.packed,
            status,
            code,
            number,
            trust=(f"trust/{name}.json",),
            same_as="good-passed",
        )
    signer = _WITNESSES[WITNESS]
    plan = by(WITNESS, signer, SAMPLE.started_at)
    run = by(WITNESS, signer, SAMPLE.started_at + timedelta(minutes=6))
    seen = good.seal(cosigned(good, [plan], [run]))
    yield Case("good-witnessed", seen, "VALID", trust=("trust/witness.json",))
