"""Others vouch for the head of a log: witnesses cosign it, authorities say when it existed.

They are asked after each append, all at once and for a bounded time. Nobody who is asked can stop
what the evidence is about: one that is down, slow, lying or of another opinion is noted beside the
log, and asked again at the next append.

Beside the log: `checkpoint.AUTHORITY.tst`, the tokens over the present checkpoint, and
`vouching.json`, how each answered the last time. A cosignature is kept in the checkpoint itself.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from orchestrator.evidence import dsse, layout
from orchestrator.evidence.bindings import Problem
from orchestrator.evidence.files import sync_directory, write_atomically
from orchestrator.evidence.timestamp import tokens
from orchestrator.evidence.tlog import note
from orchestrator.evidence.tlog.log import LockedLog
from orchestrator.evidence.tlog.note import Checkpoint, NoteSignature
from orchestrator.evidence.witness import protocol as witness
from orchestrator.evidence.witness.protocol import Answer
from orchestrator.model.canonical import StrictJsonError, canonical, strict_loads
from orchestrator.model.errors import AnlanError, InfrastructureError
from orchestrator.model.fact import parse_timestamp, timestamp

SECONDS = 3.0
"""How long all of them together may take."""
_SCHEMA = "anlan.vouching/v1"
_OUTCOMES = "vouching.json"
_CLOCKS_APART_SECONDS = 300
_Value = TypeVar("_Value")
Result = Literal["vouched", "failed", "contradicted"]


class Witness(Protocol):
    """Cosigns the checkpoints of logs; `public_key` is what its cosignatures are verified with."""

    @property
    def name(self) -> str:
        """Return its name, as its cosignatures say it."""

    @property
    def public_key(self) -> Ed25519PublicKey:
        """Return its key, from the environment's settings and never from itself."""

    def add_checkpoint(self, request: bytes) -> Answer:
        """Return its answer (c2sp.org/tlog-witness). Raises InfrastructureError for none."""


class Authority(Protocol):
    """Gives RFC 3161 timestamps."""

    @property
    def name(self) -> str:
        """Return its name in the environment's settings."""

    def stamp(self, digest: bytes) -> tuple[bytes, object]:
        """Return a verified token (DER) over a SHA-256 digest, and what it says.

        Raises InfrastructureError.
        """


@dataclass(frozen=True)
class Vouchers:
    """Who is asked to vouch, and for how long at most (all of them together)."""

    witnesses: tuple[Witness, ...] = ()
    authorities: tuple[Authority, ...] = ()
    seconds: float = SECONDS


@dataclass(frozen=True)
class Outcome:
    """How a `witness` or an `authority` answered for a log of `size` entries, `at` a time (UTC).

    `contradicted`: a witness knows another history of the log than the log itself.
    """

    kind: Literal["witness", "authority"]
    name: str
    result: Result
    size: int
    at: datetime
    message: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {**asdict(self), "at": timestamp(self.at)}

    def __str__(self) -> str:
        """Return it as a sentence for people."""
        who = f"{'witness' if self.kind == 'witness' else 'timestamp authority'} {self.name}"
        log = f"the log of {self.size} {'entry' if self.size == 1 else 'entries'}"
        if self.result == "vouched":
            return f"{who} vouches for {log}"
        if self.result == "contradicted":
            return f"ALARM: {who} contradicts {log}: {self.message}"
        return f"{who} did not vouch for {log}: {self.message}"


class Contradiction(InfrastructureError):
    """A witness knows another history of the log than the log itself."""


def vouch(log: LockedLog, vouchers: Vouchers, now: datetime) -> list[Outcome]:
    """Ask who has not vouched yet for the log's present checkpoint; keep what they give.

    Returns how each one stands now. Raises nothing for what they do.
    """
    checkpoint, folder = log.checkpoint, log.folder
    if checkpoint is None or not (vouchers.witnesses or vouchers.authorities):
        return []
    digest = hashlib.sha256(checkpoint.body).digest()
    _remove_others(folder, digest)
    tasks: dict[tuple[str, str], Callable[[], NoteSignature | bytes]] = {}
    for one in vouchers.witnesses:
        if not _is_witnessed(checkpoint, one):
            tasks["witness", one.name] = _cosigning(one, checkpoint, log)
    for authority in vouchers.authorities:
        if not (folder / _token_name(authority.name)).exists():
            tasks["authority", authority.name] = _stamping(authority, digest)
    given = at_once(tasks, vouchers.seconds)
    cosignatures = [value for value in given.values() if isinstance(value, NoteSignature)]
    if cosignatures:
        log.cosigned(cosignatures)
    for (_, name), value in given.items():
        if isinstance(value, bytes):
            write_atomically(folder / _token_name(name), value)
    late = InfrastructureError(f"no answer within {vouchers.seconds:g} s")
    outcomes: list[Outcome] = []
    for who in [("witness", one.name) for one in vouchers.witnesses] + [
        ("authority", one.name) for one in vouchers.authorities
    ]:
        value = given.get(who, late) if who in tasks else b""
        outcomes.append(_outcome(who, value, checkpoint.size, now))
    document = {"schema": _SCHEMA, "outcomes": [one.to_json() for one in outcomes]}
    write_atomically(folder / _OUTCOMES, canonical(document))
    return outcomes


def outcomes_of(folder: Path) -> list[Outcome]:
    """Return how each answered the last time, of the log in a folder; none if nobody was asked.

    Raises InfrastructureError when the file is damaged.
    """
    path = folder / _OUTCOMES
    try:
        found = strict_loads(path.read_bytes())["outcomes"]
        return [Outcome(**{**one, "at": parse_timestamp(one["at"])}) for one in found]
    except FileNotFoundError:
        return []
    except (OSError, StrictJsonError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise InfrastructureError(
            f"{path} is damaged: {error}", "remove it; `anlan evidence log cosign` writes it anew"
        ) from error


def contradictions(outcomes: Sequence[Outcome], path: str) -> list[Problem]:
    """Return a problem for each witness that knew another history when it was asked last."""
    return [
        Problem("log-forked", path, f"the witness {one.name}: {one.message}")
        for one in outcomes
        if one.result == "contradicted"
    ]


def keep_tokens(log: LockedLog, authorities: Sequence[Authority], run_dir: Path, kind: str) -> None:
    """Copy the tokens over the log's present checkpoint into a run, for its proof of this kind.

    Call it before that proof is written: no token of another checkpoint stays beside it.
    """
    if log.checkpoint is None:
        return
    digest = hashlib.sha256(log.checkpoint.body).digest()
    for path in run_dir.glob(layout.timestamp_path(kind, "*")):
        if not is_about(path, digest):
            path.unlink()
    for one in authorities:
        token = log.folder / _token_name(one.name)
        kept = run_dir / layout.timestamp_path(kind, one.name)
        if is_about(token, digest) and not kept.exists():
            write_atomically(kept, token.read_bytes())


def is_about(token: Path, digest: bytes) -> bool:
    """Whether a file is a token over this digest."""
    try:
        return tokens.parse(token.read_bytes()).info.digest == digest
    except (OSError, ValueError):
        return False


def at_once(
    tasks: Mapping[tuple[str, str], Callable[[], _Value]], seconds: float
) -> dict[tuple[str, str], _Value | Exception]:
    """Return what the tasks that end in time return or raise; the others are not waited for."""
    done: dict[tuple[str, str], _Value | Exception] = {}

    def work(key: tuple[str, str], task: Callable[[], _Value]) -> None:
        try:
            done[key] = task()
        except Exception as error:  # noqa: BLE001  (it is an outcome, whatever it is)
            done[key] = error

    deadline = time.monotonic() + seconds
    # Daemons: a server or a share that hangs must not keep this process from its end.
    threads = [threading.Thread(target=work, args=one, daemon=True) for one in tasks.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return {key: done[key] for key in tasks if key in done}


def cosignature(
    one: Witness, checkpoint: Checkpoint, old: int, growth: Callable[[int], bytes]
) -> NoteSignature:
    """Return a witness's cosignature, verified; `old` is the size that it probably cosigned last.

    Raises Contradiction when it knows another history, InfrastructureError when it does not answer
    or gives no good cosignature.
    """
    answer = one.add_checkpoint(growth(old))
    if answer.status == witness.CONFLICT:
        try:
            old = witness.known_size(answer)
        except ValueError as error:
            raise InfrastructureError(f"answered 409, and {error}") from error
        if old > checkpoint.size:
            raise Contradiction(
                f"it cosigned {old} entries: the log's tail was cut, or the log is an older copy"
            )
        answer = one.add_checkpoint(growth(old))
    if answer.status == witness.UNPROCESSABLE:
        raise Contradiction(f"the log does not continue the {old} entries that it cosigned")
    if answer.status != witness.OK:
        raise InfrastructureError(f"answered {answer.status}: {_printable(answer.body)}")
    return _verified(one, checkpoint, answer.body)


def _verified(one: Witness, checkpoint: Checkpoint, body: bytes) -> NoteSignature:
    """The signature of the answer that is this witness's; others are passed over."""
    try:
        for signature in note.parse_signatures(body):
            alone = Checkpoint(checkpoint.origin, checkpoint.size, checkpoint.root, (signature,))
            found = note.witnessed(alone, {one.name: one.public_key})
            if one.name not in found:
                continue
            if found[one.name].timestamp() > time.time() + _CLOCKS_APART_SECONDS:
                when = timestamp(found[one.name])
                raise InfrastructureError(f"its cosignature is of a time to come, {when}")
            return signature
    except dsse.SignatureError as error:
        raise InfrastructureError(f"what it answered is no cosignature: {error}") from error
    raise InfrastructureError("its cosignature is not of the key in the evidence settings")


def _is_witnessed(checkpoint: Checkpoint, one: Witness) -> bool:
    try:
        return one.name in note.witnessed(checkpoint, {one.name: one.public_key})
    except dsse.SignatureError:
        return False


def _cosigning(
    one: Witness, checkpoint: Checkpoint, log: LockedLog
) -> Callable[[], NoteSignature | bytes]:
    """What asks a witness; it probably cosigned the checkpoint that this process appended to."""
    before = log.before
    old = before.size if before is not None and _is_witnessed(before, one) else 0
    return lambda: cosignature(one, checkpoint, old, log.growth)


def _stamping(one: Authority, digest: bytes) -> Callable[[], NoteSignature | bytes]:
    return lambda: one.stamp(digest)[0]


def _outcome(
    who: tuple[str, str], value: NoteSignature | bytes | Exception, size: int, now: datetime
) -> Outcome:
    kind: Literal["witness", "authority"] = "witness" if who[0] == "witness" else "authority"
    if not isinstance(value, Exception):
        return Outcome(kind, who[1], "vouched", size, now)
    result: Result = "contradicted" if isinstance(value, Contradiction) else "failed"
    message = value.what if isinstance(value, AnlanError) else f"{type(value).__name__}: {value}"
    return Outcome(kind, who[1], result, size, now, _printable(message.encode()))


def _token_name(authority: str) -> str:
    return f"checkpoint.{authority.replace('/', '_')}.tst"


def _remove_others(folder: Path, digest: bytes) -> None:
    """Remove the tokens over earlier checkpoints: runs keep those that are about theirs."""
    stale = [path for path in folder.glob("checkpoint.*.tst") if not is_about(path, digest)]
    for path in stale:
        path.unlink(missing_ok=True)
    if stale:
        sync_directory(folder)


def _printable(content: bytes) -> str:
    """The beginning of what somebody else said, on one line."""
    text = " ".join(content[:400].decode("utf-8", "replace").split())
    return "".join(char if char.isprintable() else "?" for char in text)[:200]
