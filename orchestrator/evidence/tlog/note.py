"""Signed notes, and the checkpoints and cosignatures of a log that are written as such.

A checkpoint says: the log with this origin had this many entries, and they hash to this root.
Specifications: c2sp.org/signed-note, c2sp.org/tlog-checkpoint, c2sp.org/tlog-cosignature.
Stricter in form: a note is at most 64 KiB, its base64 has one spelling, no two signatures are the
same, and a checkpoint has no extension lines.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from orchestrator.evidence.dsse import SignatureError, UntrustedError, decode
from orchestrator.evidence.keys import PublicKey, Signer, holds, key_id, signature_of
from orchestrator.evidence.tlog.merkle import HASH_BYTES
from orchestrator.model.errors import InputError

MOST_BYTES = 64 * 1024
_LOG, _WITNESS = b"\x01", b"\x04"
_SIGNATURE = re.compile("— ([^\\s+\x00-\x20]+) ([A-Za-z0-9+/]+={0,2})")
_BODY = re.compile(
    "(?P<origin>[^\\s+\x00-\x20]+)\n(?P<size>0|[1-9][0-9]{0,15})\n(?P<root>[A-Za-z0-9+/]{43}=)\n"
)


@dataclass(frozen=True)
class NoteSignature:
    """One line: whose name, which key (4 bytes of a hash), and what it signed with."""

    name: str
    key: bytes
    value: bytes

    def to_text(self) -> str:
        """Return the line, with its newline."""
        return f"— {self.name} {base64.b64encode(self.key + self.value).decode()}\n"


@dataclass(frozen=True)
class Checkpoint:
    """The head of a log: `root` is 32 bytes; `signatures` are the log's and those of witnesses."""

    origin: str
    size: int
    root: bytes
    signatures: tuple[NoteSignature, ...] = ()

    @property
    def body(self) -> bytes:
        """What is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n".encode()

    def to_bytes(self) -> bytes:
        """Return the signed note."""
        return self.body + b"\n" + "".join(one.to_text() for one in self.signatures).encode()

    def with_signatures(self, more: Iterable[NoteSignature]) -> Checkpoint:
        """Return it with these signatures beside its own."""
        every = tuple(dict.fromkeys((*self.signatures, *more)))
        return Checkpoint(self.origin, self.size, self.root, every)


def parse_signatures(content: bytes) -> tuple[NoteSignature, ...]:
    """Return the signatures of whole lines. Raises SignatureError."""
    found: list[NoteSignature] = []
    try:
        lines = content.decode().split("\n")
        if lines.pop():
            raise ValueError("the last line is torn")
        for line in lines:
            match = _SIGNATURE.fullmatch(line)
            if match is None:
                raise ValueError("a signature line is malformed")
            value = decode(match[2])
            if len(value) <= 4:
                raise ValueError("a signature is too short")
            found.append(NoteSignature(match[1], value[:4], value[4:]))
        if len(set(found)) != len(found):
            raise ValueError("a signature is there twice")
    except ValueError as error:
        raise SignatureError(f"not a signed note: {error}") from error
    return tuple(found)


def parse(content: bytes) -> Checkpoint:
    """Return a checkpoint, unverified. Raises SignatureError when it is none."""
    if len(content) > MOST_BYTES:
        raise SignatureError(f"not a checkpoint: {len(content)} bytes")
    head, gap, signatures = content.partition(b"\n\n")
    try:
        match = _BODY.fullmatch(head.decode() + "\n") if gap else None
        if match is None:
            raise ValueError("wants origin, size, root hash, an empty line and signatures")
        root = decode(match["root"])
        if len(root) != HASH_BYTES:
            raise ValueError("the root is no SHA-256")
    except ValueError as error:
        raise SignatureError(f"not a checkpoint: {error}") from error
    return Checkpoint(match["origin"], int(match["size"]), root, parse_signatures(signatures))


def sign(checkpoint: Checkpoint, signer: Signer) -> Checkpoint:
    """Return the checkpoint signed as its log, earlier signatures dropped.

    Raises InfrastructureError when what was signed does not verify with the signer's key.
    """
    key, value = signature_of(signer, checkpoint.body)
    name = checkpoint.origin
    mine = NoteSignature(name, _log_key(name, key), value)
    return Checkpoint(checkpoint.origin, checkpoint.size, checkpoint.root, (mine,))


def verify(content: bytes, keys: Sequence[PublicKey]) -> Checkpoint:
    """Return a checkpoint that one of these keys signed as its log.

    Raises SignatureError when it is none or a signature that names a trusted key does not hold,
    UntrustedError when no trusted key signed it.
    """
    checkpoint = parse(content)
    if not signers(checkpoint, keys):
        raise UntrustedError(f"the checkpoint of {checkpoint.origin} is signed by no trusted key")
    return checkpoint


def signers(checkpoint: Checkpoint, keys: Sequence[PublicKey]) -> frozenset[str]:
    """Return the ids of these keys that signed a checkpoint as its log.

    Raises SignatureError when a signature that names one of them does not hold.
    """
    trusted = {_log_key(checkpoint.origin, key): key for key in keys}
    found = set()
    for one in checkpoint.signatures:
        if one.name == checkpoint.origin and one.key in trusted:
            if not holds(trusted[one.key], one.value, checkpoint.body):
                raise SignatureError(f"the checkpoint of {checkpoint.origin} was changed")
            found.add(key_id(trusted[one.key]))
    return frozenset(found)


def cosign(checkpoint: Checkpoint, name: str, signer: Signer, moment: datetime) -> NoteSignature:
    """Return the witness's signature over a checkpoint that it found consistent.

    Raises InputError when its key is not an Ed25519 key: the format has no other of ours.
    """
    seconds = int(moment.timestamp())
    key, value = signature_of(signer, _cosigned(checkpoint, seconds))
    if not isinstance(key, Ed25519PublicKey):
        raise InputError(
            f"the key of the witness {name} is no Ed25519 key", "make one of that kind"
        )
    return NoteSignature(name, _ed25519(name, _WITNESS, key), seconds.to_bytes(8, "big") + value)


def witnessed(
    checkpoint: Checkpoint, witnesses: Mapping[str, Ed25519PublicKey]
) -> dict[str, datetime]:
    """Return which of these witnesses (by name) cosigned the checkpoint, and when (UTC).

    Raises SignatureError when a signature that names a known witness's key does not hold.
    """
    found: dict[str, datetime] = {}
    for name, key in witnesses.items():
        mine = _ed25519(name, _WITNESS, key)
        for one in checkpoint.signatures:
            if (one.name, one.key) != (name, mine):
                continue
            seconds = int.from_bytes(one.value[:8], "big")
            if not holds(key, one.value[8:], _cosigned(checkpoint, seconds)):
                raise SignatureError(f"the cosignature of {name} does not hold")
            try:
                moment = datetime.fromtimestamp(seconds, UTC)
            except (ValueError, OverflowError, OSError) as error:
                message = f"the cosignature of {name} is of no time"
                raise SignatureError(message) from error
            found[name] = min(moment, found.get(name, moment))
    return found


def verifier_key(name: str, key: Ed25519PublicKey) -> str:
    """Return a witness's name and key in one line (a `vkey` of c2sp.org/signed-note)."""
    encoded = base64.b64encode(_WITNESS + key.public_bytes_raw()).decode()
    return f"{name}+{_ed25519(name, _WITNESS, key).hex()}+{encoded}"


def _cosigned(checkpoint: Checkpoint, seconds: int) -> bytes:
    return b"cosignature/v1\ntime %d\n" % seconds + checkpoint.body


def _log_key(name: str, key: PublicKey) -> bytes:
    """How a signature names the log's key; of P-256 it is the first bytes of the key's id."""
    if isinstance(key, Ed25519PublicKey):
        return _ed25519(name, _LOG, key)
    return bytes.fromhex(key_id(key).removeprefix("sha256:")[:8])


def _ed25519(name: str, kind: bytes, key: Ed25519PublicKey) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + kind + key.public_bytes_raw()).digest()[:4]
