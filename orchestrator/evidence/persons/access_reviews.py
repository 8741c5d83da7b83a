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

from orchestrator.evidence import predicates
from orchestrator.evidence.files import write_atomically
from orchestrator.evidence.keys import Signer
from orchestrator.evidence.persons import said
from orchestrator.model.access import Right, right_from_json, rights_digest
from orchestrator.model.canonical import sha256
from orchestrator.model.errors import Refused
from orchestrator.model.fact import parse_timestamp, timestamp

FOLDER = "access"
CURRENT = "review.dsse.json"
KEEP, REMOVE = "keep", "remove"
_WRONG = {
    "malformed": "it is no access review: {}",
    "signature": "the access review's signature does not hold: {}",
    "foreign": "the access review is signed by no reviewer's key",
}
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


def sign_review(
    environment: str,
    decisions: Mapping[str, Sequence[Decision]],
    rule: Mapping[str, Any] | None,
    signer: Signer,
    *,
    reason: str,
    now: datetime,
) -> tuple[str, bytes]:
    """Return the name of the reviewer whose key signs, and the envelope.

    The reviewers are the approvers of `rule`. Raises Refused when the key is none of theirs.
    """
    name = said.signer_name(rule, signer)
    if name is None:
        known = ", ".join(one["name"] for one in said.approvers(rule)) or "nobody"
        raise Refused(
            f"this key is of no reviewer of {environment} ({known} may review)",
            "name the reviewer as an approver in the environment's approval rule (`approvals`)",
        )
    subjects = [
        {
            "name": f"access/{subject}",
            "digest": {"sha256": rights_digest(one.right for one in words)},
        }
        for subject, words in sorted(decisions.items())
    ]
    moment = timestamp(now)
    about = {
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
                for one in sorted(words, key=lambda one: one.right)
            ]
            for subject, words in sorted(decisions.items())
        },
    }
    return name, said.say(predicates.ACCESS_REVIEW, subjects, about, signer)


def read_review(
    content: bytes, environment: str, rule: Mapping[str, Any] | None, now: datetime
) -> Review:
    """Return the review of an envelope. Raises ReviewError with what is wrong with it."""
    try:
        found = said.read(content, rule, predicates.ACCESS_REVIEW)
    except said.NotSaidError as error:
        raise ReviewError(_WRONG[error.how].format(error)) from error
    about = found.predicate
    try:
        if about["environment"] != environment:
            raise ReviewError(f"the access review is of environment {about['environment']!r}")
        if about["reviewer"] not in found.signers:
            raise ReviewError(f"the access review is not signed by {about['reviewer']}")
        review = _review(about, sha256(content))
    except ReviewError:
        raise
    except ValueError as error:  # a time that there is not
        raise ReviewError(f"it is no access review: {error}") from error
    if review.at > now + _CLOCK_SLACK:
        raise ReviewError(f"the access review is dated in the future: {timestamp(review.at)}")
    return review


def _review(about: Mapping[str, Any], digest: str) -> Review:
    decisions = {
        subject: tuple(
            Decision(right_from_json(one["right"]), one["word"], one["comment"], one["reviewer"])
            for one in entries
        )
        for subject, entries in about["decisions"].items()
    }
    return Review(
        about["reviewer"], parse_timestamp(about["at"]), about["reason"], decisions, digest
    )


def review_file(root: Path) -> Path:
    """Where an environment keeps the review that counts now; older ones lie beside it."""
    return root / FOLDER / CURRENT


def keep_review(root: Path, content: bytes) -> Path:
    """Keep an envelope by its digest and as the one that counts; returns where. Raises OSError."""
    kept = root / FOLDER / f"{sha256(content)}.dsse.json"
    write_atomically(kept, content)
    write_atomically(review_file(root), content)
    return kept
