"""A log in the evidence bucket of a site: what is where there, and what must be put.

The bucket holds `log/ENVIRONMENT/ID/`, the same files as the log's folder (c2sp.org/tlog-tiles),
and beside them what makes it readable alone: `keys/` (who signed) and the statements of entries
that belong to no run (`schedules/`). A checkpoint is put when all that it stands for is there, so a
reader finds a whole log at any moment, and its newest version says what need not be put again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from orchestrator.evidence import dsse, layout, schedules
from orchestrator.evidence.keys import PublicKey, parse_public_key
from orchestrator.evidence.persons import attestations
from orchestrator.evidence.retained import holds, kept, tombstones
from orchestrator.evidence.tlog import log, merkle, note, tiles
from orchestrator.evidence.tlog.entries import Entry, parse_entry
from orchestrator.evidence.tlog.note import Checkpoint
from orchestrator.model.errors import InputError

KEYS = "keys"
STATEMENTS = {
    schedules.KIND: schedules.FOLDER,
    tombstones.KIND: tombstones.FOLDER,
    **dict.fromkeys((holds.KIND, *attestations.KINDS), kept.FOLDER),
}
"""Kind of an entry whose statement is in no bundle → where the state directory keeps it."""


@dataclass(frozen=True)
class Standing:
    """A log as it stands in a state directory: its signed head and all that a bucket must have.

    `partial` are its tiles that are not full, path → content: they go when the log grows.
    """

    state: Path
    environment: str
    head: bytes
    checkpoint: Checkpoint
    partial: Mapping[str, bytes]
    entries: tuple[Entry, ...]
    keys: Mapping[str, bytes]

    @property
    def prefix(self) -> str:
        """Where the log is in a bucket, with a slash at the end."""
        return prefix_of(self.checkpoint.origin)

    def read(self, path: str) -> bytes | None:
        """Return a tile of this head, None when it is not there. Raises OSError."""
        if path in self.partial:
            return self.partial[path]
        return log.log_of(self.state, self.environment).read(path)

    def content(self, path: str) -> bytes:
        """Return what belongs at a path below the prefix. Raises OSError when it is gone."""
        folder, _, name = path.partition("/")
        if folder == KEYS:
            return self.keys[name]
        if path == tiles.CHECKPOINT or path in self.partial:
            return self.head if path == tiles.CHECKPOINT else self.partial[path]
        place = next((one for one in STATEMENTS.values() if Path(one).name == folder), None)
        home = self.state / place if place else self.state / log.FOLDER / self.environment / folder
        return (home / name).read_bytes()

    def trusted(self) -> list[PublicKey]:
        """The keys that this state directory knows signatures of."""
        found = []
        for name, pem in self.keys.items():
            try:
                found.append(parse_public_key(pem, file=name))
            except InputError:
                continue  # not a key: nothing is believed for its sake
        return found


def prefix_of(origin: str) -> str:
    """Return where the log of an origin is in a bucket, with a slash at the end."""
    return f"{origin.removeprefix('anlan.dev/')}/"


def standing(state: Path, environment: str) -> Standing | None:
    """Return the log of an environment as it stands, None before it began.

    Raises InfrastructureError when it is damaged.
    """
    journal = log.log_of(state, environment)
    try:
        return journal.steadily(partial(_standing, state, environment))
    except (OSError, ValueError) as error:
        raise journal.damaged(error) from error


def _standing(state: Path, environment: str, read: tiles.Read) -> Standing | None:
    head = read(tiles.CHECKPOINT)
    if head is None:
        return None
    checkpoint = note.parse(head)
    edge = {}
    for path in tiles.edge(checkpoint.size):
        if ".p/" in path:
            content = read(path)
            if content is None:
                raise tiles.TileError(path, "is missing")
            edge[path] = content
    leaves = tiles.entries(checkpoint.size, lambda path: edge.get(path) or read(path))
    entries = tuple(parse_entry(leaf, index) for index, leaf in enumerate(leaves))
    keys = {
        path.name: path.read_bytes() for path in sorted((state / layout.KEYS).glob("[!.]*.pub"))
    }
    return Standing(state, environment, head, checkpoint, edge, entries, keys)


def known_there(ours: Standing, head: bytes | None) -> Checkpoint | None:
    """Return the checkpoint that is newest in a bucket, when our log continues it.

    None when there is none, or one that no key of ours signed: it says nothing. Raises LogError
    when the bucket has more than our log, or something else in its place: then ours is not the one
    that goes on.
    """
    if head is None:
        return None
    try:
        there = note.verify(head, ours.trusted())
    except (dsse.SignatureError, dsse.UntrustedError):
        return None
    subtree = tiles.subtrees(ours.checkpoint.size, ours.read)
    log.check_continues(there, ours.checkpoint, partial(merkle.root, subtree=subtree))
    return there


def wanted(ours: Standing, there: Checkpoint | None) -> list[str]:
    """Return the paths below the prefix to put, in this order, the checkpoint last.

    `there` is the newest checkpoint of the bucket, with all that it stands for; None: everything.
    """
    size = there.size if there else 0
    behind = set(tiles.paths(size))
    paths = [path for path in tiles.paths(ours.checkpoint.size) if path not in behind]
    for entry in ours.entries[size:]:
        if entry.kind in STATEMENTS:
            paths.append(f"{Path(STATEMENTS[entry.kind]).name}/{entry.statement}.dsse.json")
    if there is None or _signers(there) != _signers(ours.checkpoint):
        paths += [f"{KEYS}/{name}" for name in ours.keys]
    return [*dict.fromkeys(paths), tiles.CHECKPOINT]


def _signers(checkpoint: Checkpoint) -> Sequence[bytes]:
    return [one.key for one in checkpoint.signatures if one.name == checkpoint.origin]
