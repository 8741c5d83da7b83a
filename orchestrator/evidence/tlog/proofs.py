"""Proofs that a log holds an entry, and that it continues an older one: small, offline, alone.

Specifications: c2sp.org/tlog-proof; for growth the request `add-checkpoint` of
c2sp.org/tlog-witness, which is what a witness is sent.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.evidence import dsse
from orchestrator.evidence.keys import PublicKey
from orchestrator.evidence.tlog import merkle, note
from orchestrator.evidence.tlog.entries import Entry, LogError, parse_entry
from orchestrator.evidence.tlog.note import Checkpoint

_HEAD = "c2sp.org/tlog-proof@v1"
_MOST_BYTES = 128 * 1024
_MOST_HASHES = 63


@dataclass(frozen=True)
class Proof:
    """An entry with its place in a log; the file holds the entry itself as `extra`."""

    leaf: bytes
    index: int
    path: tuple[bytes, ...]
    checkpoint: bytes

    def to_bytes(self) -> bytes:
        """Return the file."""
        extra = base64.b64encode(self.leaf).decode()
        return _file([_HEAD, f"extra {extra}", f"index {self.index}"], self.path, self.checkpoint)


@dataclass(frozen=True)
class Growth:
    """That the log with this checkpoint continues its first `old` entries."""

    old: int
    path: tuple[bytes, ...]
    checkpoint: bytes

    def to_bytes(self) -> bytes:
        """Return the file."""
        return _file([f"old {self.old}"], self.path, self.checkpoint)


def parse_proof(content: bytes) -> Proof:
    """Return a proof, unverified. Raises LogError when it is none."""
    try:
        (head, extra, index), path, checkpoint = _parts(content, 3)
        if head != _HEAD:
            raise ValueError(f"does not begin with {_HEAD}")
        return Proof(
            dsse.decode(_after("extra ", extra)), _number("index ", index), path, checkpoint
        )
    except ValueError as error:
        raise LogError("log-proof", f"not a proof: {error}") from error


def parse_growth(content: bytes) -> Growth:
    """Return a proof of growth, unverified. Raises LogError when it is none."""
    try:
        (old,), path, checkpoint = _parts(content, 1)
        return Growth(_number("old ", old), path, checkpoint)
    except ValueError as error:
        raise LogError("log-proof", f"not a proof of growth: {error}") from error


def included(content: bytes, keys: Sequence[PublicKey]) -> tuple[Entry, Checkpoint]:
    """Return the entry that a proof shows to be under a checkpoint, and that; signed or not.

    Raises LogError, also when a signature that names one of these keys does not hold.
    """
    proof = parse_proof(content)
    try:
        checkpoint = note.parse(proof.checkpoint)
        note.signers(checkpoint, keys)
        leaf = merkle.leaf_hash(proof.leaf)
        size, root = checkpoint.size, checkpoint.root
        merkle.check_inclusion(leaf, proof.index, size, proof.path, root)
    except dsse.SignatureError as error:
        raise LogError("log-signature", str(error)) from error
    except merkle.ProofError as error:
        raise LogError("log-proof", str(error)) from error
    return parse_entry(proof.leaf, proof.index), checkpoint


def _file(head: list[str], path: Sequence[bytes], checkpoint: bytes) -> bytes:
    lines = [*head, *(base64.b64encode(one).decode() for one in path)]
    return "\n".join(lines).encode() + b"\n\n" + checkpoint


def _parts(content: bytes, lines: int) -> tuple[list[str], tuple[bytes, ...], bytes]:
    """The first lines, the hashes after them, and the checkpoint. Raises ValueError."""
    if len(content) > _MOST_BYTES:
        raise ValueError("it is too large")
    head, gap, checkpoint = content.partition(b"\n\n")
    every = head.decode("ascii").split("\n")
    hashes = tuple(dsse.decode(one) for one in every[lines:])
    if not gap or len(every) < lines:
        raise ValueError("a part is missing")
    if len(hashes) > _MOST_HASHES or any(len(one) != merkle.HASH_BYTES for one in hashes):
        raise ValueError("a hash is no SHA-256, or there are too many")
    return every[:lines], hashes, checkpoint


def _after(name: str, line: str) -> str:
    if not line.startswith(name):
        raise ValueError(f"the line {name!r} is missing")
    return line.removeprefix(name)


def _number(name: str, line: str) -> int:
    text = _after(name, line)
    if not re.fullmatch("0|[1-9][0-9]{0,15}", text):
        raise ValueError(f"{name}is followed by no number")
    return int(text)
