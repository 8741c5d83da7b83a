"""Access reviews: a reviewer's signed decision on every right of an environment.

The reviewers are the approvers of the environment's approval rule (`approvals` in the descriptor):
their public keys are what a review is trusted by. A review is the in-toto statement of one of them
about the rights that there were, with `keep` or `remove` for each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from orchestrator.evidence import dsse, statement
from orchestrator.evidence.keys import Signer, key_id, parse_public_key
from orchestrator.evidence.store import write_atomically
from orchestrator.model.access import Right, right_from_json, rights_digest
from orchestrator.model.canonical import canonical, canonical_loads, sha256
from orchestrator.model.errors import InputError, Refused
from orchestrator.model.fact import parse_timestamp, timestamp
from orchestrator.model.schema import check

PREDICATE = "https://anlan.dev/predicates/access-review/v1"
FOLDER = "access"
CURRENT = "review.dsse.json"
KEEP, REMOVE = "keep", "remove"
_CLOCK_SLACK = timedelta(minutes=5)

Rights = Mapping[str, Sequence[Right]]
"""Subject of a fact `access_rights` to its rights."""


class ReviewError(ValueError):
    """What cannot be taken for a reviewer's decision about this environment."""


@dataclass(frozen=True)
class Decision:
    """What a reviewer says about one right; `reviewer` is whom they name for it."""

    right: Right
    word: str
    comment: str = ""
    reviewer: str = ""


@dataclass(frozen=True)
class Review:
    """A verified review: who signed when, why, and the decisions by subject."""

    reviewer: str
    at: datetime
    reason: str
    decisions: Mapping[str, tuple[Decision, ...]]
    digest: str

    def rights(self, subject: str, word: str) -> list[Right]:
        """The rights of a subject that got this word."""
        return [one.right for one in self.decisions.get(subject, ()) if one.word == word]


def reviewers_of(rule: Mapping[str, Any] | None) -> dict[str, Ed25519PublicKey]:
    """Return name → public key of those who may review; empty without an approval rule."""
    approvers = (rule or {}).get("approvers", [])
    return {one["name"]: parse_public_key(one["public_key"].encode()) for one in approvers}


def sign_review(
    environment: str,
    decisions: Mapping[str, Sequence[Decision]],
    reviewers: Mapping[str, Ed25519PublicKey],
    signer: Signer,
    *,
    reason: str,
    now: datetime,
) -> tuple[str, bytes]:
    """Return the name of the reviewer whose key signs, and the envelope.

    Raises Refused when the key is no reviewer's.
    """
    mine = key_id(parse_public_key(signer.public_key_pem().encode()))
    name = next((name for name, key in reviewers.items() if key_id(key) == mine), None)
    if name is None:
        known = ", ".join(reviewers) or "nobody"
        raise Refused(
            f"the key {mine} is of no reviewer of {environment} ({known} may review)",
            "name the reviewer as an approver in the environment's approval rule (`approvals`)",
        )
    subjects = [
        {
            "name": f"access/{subject}",
            "digest": {"sha256": rights_digest(one.right for one in said)},
        }
        for subject, said in sorted(decisions.items())
    ]
    moment = timestamp(now)
    data = {
        "_type": statement.STATEMENT_TYPE,
        "subject": subjects,
        "predicateType": PREDICATE,
        "predicate": {
            "runId": f"access-review-{environment}-{moment}",
            "environment": environment,
            "reviewer": name,
            "reason": reason,
            "at": moment,
            "decisions": {
                subject: [
                    {
                        "right": one.right.to_json(),
                        "word": one.word,
                        "comment": one.comment,
                        "reviewer": one.reviewer,
                    }
                    for one in sorted(said, key=lambda one: one.right)
                ]
                for subject, said in sorted(decisions.items())
            },
        },
    }
    check(data, "statement")
    return name, dsse.sign(canonical(data), statement.PAYLOAD_TYPE, signer).to_bytes()


def read_review(
    content: bytes,
    environment: str,
    reviewers: Mapping[str, Ed25519PublicKey],
    now: datetime,
) -> Review:
    """Return the review of an envelope. Raises ReviewError with what is wrong with it."""
    try:
        envelope = dsse.parse(content)
        signed = dsse.verify(envelope, statement.PAYLOAD_TYPE, list(reviewers.values()))
    except dsse.UntrustedError as error:
        raise ReviewError("the access review is signed by no reviewer's key") from error
    except (dsse.SignatureError, InputError) as error:
        raise ReviewError(f"the access review's signature does not hold: {error}") from error
    try:
        data = canonical_loads(envelope.payload)
        check(data, "statement")
        said = data["predicate"]
        if data["predicateType"] != PREDICATE:
            raise ReviewError(f"it is no access review but {data['predicateType']}")
        if said["environment"] != environment:
            raise ReviewError(f"the access review is of environment {said['environment']!r}")
        if key_id(reviewers.get(said["reviewer"]) or _nobody()) not in signed:
            raise ReviewError(f"the access review is not signed by {said['reviewer']}")
        review = _review(said, sha256(content))
    except ReviewError:
        raise
    except (InputError, ValueError, KeyError, TypeError) as error:
        raise ReviewError(f"it is no access review: {error!r}") from error
    if review.at > now + _CLOCK_SLACK:
        raise ReviewError(f"the access review is dated in the future: {timestamp(review.at)}")
    return review


def _nobody() -> Ed25519PublicKey:
    raise ReviewError("the access review names a reviewer that the environment does not have")


def _review(said: Mapping[str, Any], digest: str) -> Review:
    decisions = {
        subject: tuple(
            Decision(right_from_json(one["right"]), one["word"], one["comment"], one["reviewer"])
            for one in entries
        )
        for subject, entries in said["decisions"].items()
    }
    words = {one.word for entries in decisions.values() for one in entries}
    if not words <= {KEEP, REMOVE}:
        raise ReviewError(f"the access review says {', '.join(sorted(words))}")
    return Review(said["reviewer"], parse_timestamp(said["at"]), said["reason"], decisions, digest)


def review_file(root: Path) -> Path:
    """Where an environment keeps the review that counts now; older ones lie beside it."""
    return root / FOLDER / CURRENT


def keep_review(root: Path, content: bytes) -> Path:
    """Keep an envelope by its digest and as the one that counts; returns where. Raises OSError."""
    kept = root / FOLDER / f"{sha256(content)}.dsse.json"
    write_atomically(kept, content)
    write_atomically(review_file(root), content)
    return kept
