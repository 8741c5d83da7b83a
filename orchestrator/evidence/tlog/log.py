"""The append-only evidence log of an environment: a Merkle tree with a signed checkpoint.

Entries (`tlog.entries`) and hashes are in tiles (`tlog.tiles`), the checkpoint (`tlog.note`) signs
their root: nothing can be removed, moved or changed without another root. Appending is safe under
kill -9: entries count once the checkpoint over them is on disk, and what a dead writer left beyond
it is written anew.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from orchestrator.evidence import dsse
from orchestrator.evidence.files import write_atomically
from orchestrator.evidence.keys import PublicKey, Signer
from orchestrator.evidence.tlog import merkle, note, proofs, tiles
from orchestrator.evidence.tlog.entries import Entry, LogError, leaf_of, parse_entry
from orchestrator.evidence.tlog.note import Checkpoint
from orchestrator.model.errors import InfrastructureError, InputError
from orchestrator.model.fact import timestamp

_Result = TypeVar("_Result")

FOLDER = "evidence/log"
ORIGIN = "anlan.dev/log"


def utc_now() -> datetime:
    """The time now, aware, UTC."""
    return datetime.now(UTC)


def new_id() -> str:
    """Return the id of a log that begins (16 hex digits): no two logs have one origin."""
    return secrets.token_hex(8)


def verify(
    read: tiles.Read, keys: Sequence[PublicKey], known: Checkpoint | None = None
) -> tuple[list[Entry], Checkpoint]:
    """Return the entries of a log and its checkpoint, after checking all of it.

    Its tiles must hash to the root that a trusted key signed, each entry to its leaf, time must
    not go back, and what a `known` checkpoint saw must still be there. Raises LogError, or
    UntrustedError when the checkpoint is signed by no trusted key.
    """
    content = read(tiles.CHECKPOINT)
    if content is None:
        raise LogError("log-checkpoint", "the checkpoint is missing")
    try:
        checkpoint = note.verify(content, keys)
    except dsse.SignatureError as error:
        raise LogError("log-signature", str(error)) from error
    try:
        return _verify_tiles(read, checkpoint, known), checkpoint
    except tiles.TileError as error:
        raise LogError("log-tile", f"{error.path} {error}") from error


def _verify_tiles(
    read: tiles.Read, checkpoint: Checkpoint, known: Checkpoint | None
) -> list[Entry]:
    hashes = list(tiles.leaf_hashes(checkpoint.size, read))
    if merkle.root_of(hashes) != checkpoint.root:
        message = "the hashes of the entries do not lead to the root that was signed"
        raise LogError("log-root", message)
    subtree = tiles.subtrees(checkpoint.size, read)
    if checkpoint.size and merkle.root(checkpoint.size, subtree) != checkpoint.root:
        raise LogError("log-tile", "the upper tiles do not lead to the root that was signed")
    found: list[Entry] = []
    for index, leaf in enumerate(tiles.entries(checkpoint.size, read)):
        if merkle.leaf_hash(leaf) != hashes[index]:
            raise LogError("log-entry", f"entry {index} was changed, moved or replaced")
        entry = parse_entry(leaf, index)
        if found and entry.time_text < found[-1].time_text:
            raise LogError("log-time", f"entry {index} is dated before the one before it")
        found.append(entry)
    if known is not None:
        check_continues(known, checkpoint, lambda size: merkle.root_of(hashes[:size]))
    return found


def check_continues(
    known: Checkpoint, checkpoint: Checkpoint, root_at: Callable[[int], bytes]
) -> None:
    """Check that a log holds what `known` saw; `root_at(size)` is the root of its first entries.

    Raises LogError.
    """
    if known.origin != checkpoint.origin:
        raise LogError("log-forked", f"is the log {checkpoint.origin}, not {known.origin}")
    if known.size > checkpoint.size:
        message = f"has {checkpoint.size} entries and had {known.size}: its tail was cut"
        raise LogError("log-rollback", message)
    if root_at(known.size) != known.root:
        raise LogError("log-forked", f"its first {known.size} entries are not those of before")


def environments(state: Path) -> list[str]:
    """Return the environments that have a log in a state directory."""
    return sorted(path.name for path in (state / FOLDER).glob("[!.]*") if path.is_dir())


def heads(state: Path) -> dict[str, bytes | None]:
    """Return the checkpoint of every log of a state directory: it changes whenever a log grows."""
    return {name: log_of(state, name).read(tiles.CHECKPOINT) for name in environments(state)}


def log_of(state: Path, environment: str, clock: Callable[[], datetime] = utc_now) -> Log:
    """Return the log of an environment in a state directory, begun or not."""
    return Log(state / FOLDER / environment, clock)


class Log:
    """The log of one environment, in a folder of its own; several processes may append."""

    def __init__(self, folder: Path, clock: Callable[[], datetime] = utc_now) -> None:
        self.folder = folder
        self._clock = clock

    def read(self, path: str) -> bytes | None:
        """Return a file of the log, None when it is not there. Raises OSError."""
        try:
            return (self.folder / path).read_bytes()
        except FileNotFoundError:
            return None

    def entries(self) -> list[Entry]:
        """Return the entries, unverified: for who trusts the folder. None without a log.

        Raises InfrastructureError when the log is damaged.
        """
        try:
            return self.steadily(_entries)
        except (OSError, ValueError) as error:
            raise self.damaged(error) from error

    def damaged(self, error: Exception) -> InfrastructureError:
        """Return what to raise about a log whose files cannot be read."""
        return InfrastructureError(
            f"the evidence log {self.folder} is damaged: {error}",
            "keep a copy of the folder and see `anlan evidence log verify`; then "
            f"`anlan evidence restore {self.folder.name}` mends it from the sites' buckets",
        )

    def steadily(self, work: Callable[[tiles.Read], _Result]) -> _Result:
        """Return what `work` makes of the log's files, again when the log grew under it.

        A writer removes the partial tiles of checkpoints that are no longer the last.
        """
        while True:
            checkpoint = self.read(tiles.CHECKPOINT)
            pinned = partial(_pinned, self.read, checkpoint)
            try:
                return work(pinned)
            except ValueError:
                if self.read(tiles.CHECKPOINT) == checkpoint:
                    raise

    @contextmanager
    def locked(self) -> Iterator[LockedLog]:
        """Hold the log alone (flock) until the block ends. Raises InfrastructureError."""
        with self.held():
            yield LockedLog(self, self._clock)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold its folder alone, whatever is in it, until the block ends."""
        import fcntl  # noqa: PLC0415  (not on Windows, where logs are read alone)

        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


class LockedLog:
    """The log while this process alone may append."""

    def __init__(self, log: Log, clock: Callable[[], datetime]) -> None:
        self._log = log
        self._clock = clock
        self.folder = log.folder
        self.entries = log.entries()
        content = log.read(tiles.CHECKPOINT)
        self.checkpoint = note.parse(content) if content else None
        self.before: Checkpoint | None = None  # the one that was appended to
        _tidy(log.folder, len(self.entries))

    def find(self, kind: str, run_id: str) -> Entry | None:
        """Return the entry of this kind for this run, if it was logged."""
        return next((e for e in self.entries if (e.kind, e.run_id) == (kind, run_id)), None)

    def append(self, statements: Iterable[tuple[str, str, str]], signer: Signer) -> list[Entry]:
        """Log statements (kind, run id, sha256) under one new checkpoint; on return it is on disk.

        Raises InputError for what is no entry, InfrastructureError when it cannot be signed.
        """
        size = len(self.entries)
        now = self._clock()
        time = timestamp(max(now, self.entries[-1].time) if self.entries else now)
        try:
            made = [
                parse_entry(leaf_of(kind, run_id, statement, time), size + n)
                for n, (kind, run_id, statement) in enumerate(statements)
            ]
        except LogError as error:
            raise InputError(f"cannot be logged: {error}") from error
        if not made:
            return []
        grown, root = tiles.grow(size, [entry.leaf for entry in made], self._log.read)
        begun = self.checkpoint
        origin = begun.origin if begun else f"{ORIGIN}/{self._log.folder.name}/{new_id()}"
        signed = note.sign(Checkpoint(origin, size + len(made), root), signer)
        for path, content in grown.items():
            write_atomically(self._log.folder / path, content)
        self.before = self.checkpoint
        self._keep(signed)
        self.entries += made
        _tidy(self._log.folder, signed.size)
        return made

    def cosigned(self, more: Iterable[note.NoteSignature]) -> None:
        """Keep the signatures of witnesses over the present checkpoint."""
        if self.checkpoint is not None:
            self._keep(self.checkpoint.with_signatures(more))

    def proof(self, entry: Entry) -> bytes:
        """Return the proof that an entry is in the log as it is now."""
        checkpoint = self._head()
        subtree = tiles.subtrees(checkpoint.size, self._log.read)
        path = tuple(merkle.inclusion(entry.index, checkpoint.size, subtree))
        return proofs.Proof(entry.leaf, entry.index, path, checkpoint.to_bytes()).to_bytes()

    def growth(self, old: int) -> bytes:
        """Return the proof that the log as it is now continues its first `old` entries."""
        checkpoint = self._head()
        subtree = tiles.subtrees(checkpoint.size, self._log.read)
        path = tuple(merkle.consistency(old, checkpoint.size, subtree))
        return proofs.Growth(old, path, checkpoint.to_bytes()).to_bytes()

    def _head(self) -> Checkpoint:
        if self.checkpoint is None:
            raise ValueError("nothing was logged yet")
        return self.checkpoint

    def _keep(self, checkpoint: Checkpoint) -> None:
        write_atomically(self._log.folder / tiles.CHECKPOINT, checkpoint.to_bytes())
        self.checkpoint = checkpoint


def _entries(read: tiles.Read) -> list[Entry]:
    content = read(tiles.CHECKPOINT)
    if content is None:
        return []
    size = note.parse(content).size
    return [parse_entry(leaf, index) for index, leaf in enumerate(tiles.entries(size, read))]


def _pinned(read: tiles.Read, checkpoint: bytes | None, path: str) -> bytes | None:
    return checkpoint if path == tiles.CHECKPOINT else read(path)


def _tidy(folder: Path, size: int) -> None:
    """Remove the tiles of checkpoints that are no longer the last, and what a dead writer left."""
    for path in tiles.edge(size):
        tile = folder / path
        is_partial = tile.parent.name.endswith(".p")
        narrower = tile.parent if is_partial else tile.with_name(f"{tile.name}.p")
        for other in narrower.iterdir() if narrower.is_dir() else ():
            if other != tile:
                other.unlink()
        if not is_partial and narrower.is_dir():
            narrower.rmdir()
