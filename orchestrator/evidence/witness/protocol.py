"""What a witness decides: to cosign the checkpoint of a log, or why not. Pure.

A witness remembers the last checkpoint of each log that it cosigned, and cosigns the next one when
it continues that: two histories of one log cannot both be cosigned. Specification:
c2sp.org/tlog-witness, the call `add-checkpoint`. Stricter in form, as `note` is: a checkpoint with
extension lines is a bad request.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.evidence import dsse
from orchestrator.evidence.keys import PublicKey
from orchestrator.evidence.tlog import merkle, note, proofs
from orchestrator.evidence.tlog.entries import LogError
from orchestrator.evidence.tlog.note import Checkpoint
from orchestrator.evidence.tlog.proofs import Growth

PATH = "/add-checkpoint"
MOST_BYTES = 128 * 1024
"""Of a request: 63 hashes and a checkpoint have less."""
MOST_ANSWER_BYTES = 64 * 1024
TEXT, SIZE = "text/plain; charset=utf-8", "text/x.tlog.size"
OK, BAD_REQUEST, FORBIDDEN, NOT_FOUND, CONFLICT, UNPROCESSABLE = 200, 400, 403, 404, 409, 422


@dataclass(frozen=True)
class Answer:
    """What a witness answers: an HTTP status, a body and its type; `about` is for its log line."""

    status: int
    body: bytes
    kind: str = TEXT
    about: str = ""


class Refusal(ValueError):
    """A checkpoint that is not cosigned; `status` says why, `known` the size that is remembered."""

    def __init__(self, status: int, why: str, known: int | None = None) -> None:
        super().__init__(why)
        self.status = status
        self.known = known

    def answer(self, about: str) -> Answer:
        """Return it as an answer; `about` says what was asked."""
        about = f"{about}: {self}" if about else str(self)
        if self.known is not None:
            return Answer(self.status, b"%d\n" % self.known, SIZE, about)
        return Answer(self.status, f"{self}\n".encode(), TEXT, about)


def parse(request: bytes) -> tuple[Growth, Checkpoint]:
    """Return what a request says: how the log grew, and its checkpoint, unverified.

    Raises Refusal (400).
    """
    if len(request) > MOST_BYTES:
        raise Refusal(BAD_REQUEST, f"a request of {len(request)} bytes is too large")
    try:
        growth = proofs.parse_growth(request)
        return growth, note.parse(growth.checkpoint)
    except (LogError, dsse.SignatureError) as error:
        raise Refusal(BAD_REQUEST, str(error)) from error


def decide(growth: Growth, keys: Sequence[PublicKey], last: Checkpoint | None) -> Checkpoint:
    """Return the checkpoint to remember and cosign, with one signature of the log's own.

    `keys` are those that the witness accepts for this log (without any it does not know the log);
    `last` is the checkpoint that it cosigned last, None if it never did. Whoever calls holds the
    log alone from reading `last` until the new one is remembered. Raises Refusal.
    """
    if not keys:
        raise Refusal(NOT_FOUND, "this log is unknown here")
    try:
        checkpoint = note.verify(growth.checkpoint, keys)
    except (dsse.SignatureError, dsse.UntrustedError) as error:
        raise Refusal(FORBIDDEN, str(error)) from error
    before = last or Checkpoint(checkpoint.origin, 0, merkle.EMPTY_ROOT)
    if growth.old > checkpoint.size:
        raise Refusal(BAD_REQUEST, "the old size is larger than the checkpoint's")
    if growth.old != before.size:
        why = f"the last checkpoint that was cosigned has {before.size} entries, not {growth.old}"
        raise Refusal(CONFLICT, why, before.size)
    if checkpoint.size == 0 and checkpoint.root != merkle.EMPTY_ROOT:
        raise Refusal(UNPROCESSABLE, "an empty log has the hash of nothing as its root")
    try:
        merkle.check_consistency(
            before.size, before.root, checkpoint.size, checkpoint.root, growth.path
        )
    except merkle.ProofError as error:
        raise Refusal(UNPROCESSABLE, str(error)) from error
    return _with_one_signature(checkpoint, keys)


def known_size(answer: Answer) -> int:
    """Return the size that a 409 tells. Raises ValueError when it tells none."""
    match = re.fullmatch(rb"(0|[1-9][0-9]{0,15})\n", answer.body)
    if match is None:
        raise ValueError("it does not say which size it knows")
    return int(match[1])


def _with_one_signature(checkpoint: Checkpoint, keys: Sequence[PublicKey]) -> Checkpoint:
    """Anybody may add lines to a note that is no longer his: what is kept must stay small."""
    for one in checkpoint.signatures:
        alone = Checkpoint(checkpoint.origin, checkpoint.size, checkpoint.root, (one,))
        try:
            return note.verify(alone.to_bytes(), keys)
        except dsse.UntrustedError:
            continue
    raise ValueError("a checkpoint that verifies has a signature that does")
