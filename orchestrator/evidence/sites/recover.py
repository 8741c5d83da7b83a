"""A log, made again from the copies that sites hold: the largest that a trusted key signed.

A checkpoint names a root, and the root every tile: of each the copy that hashes right is taken,
whatever was put on top of it. Trees: RFC 6962; tiles: c2sp.org/tlog-tiles.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice, product

from orchestrator.evidence import dsse
from orchestrator.evidence.keys import PublicKey
from orchestrator.evidence.sites.copies import Copies, Copy
from orchestrator.evidence.sites.mirror import prefix_of
from orchestrator.evidence.tlog import merkle, note, tiles
from orchestrator.evidence.tlog.entries import Entry, LogError, parse_entry
from orchestrator.evidence.tlog.note import Checkpoint

_ID = re.compile(r"log/(?P<environment>[^/]+)/(?P<id>[^/]+)/(?P<path>.+)")
_ENTRIES = re.compile(r"tile/entries/(?P<number>(?:x\d{3}/)*\d{3})(?:\.p/(?P<width>\d{1,3}))?")
_MOST_COMBINATIONS = 4096
"""Of copies of the last tiles of a log, of which there are a few, each with one content."""


@dataclass(frozen=True)
class Recovered:
    """A whole log: the signed head, every tile by its path, its entries.

    `lost_entries` is how much larger a log was that a trusted key signed and that is not whole.
    """

    head: bytes
    checkpoint: Checkpoint
    files: Mapping[str, bytes]
    entries: tuple[Entry, ...]
    lost_entries: int


def ids(copies: Copies, environment: str) -> list[str]:
    """Return the ids of the logs of an environment that the sites hold something of."""
    found = (_ID.fullmatch(key) for key in copies.there)
    return sorted({one["id"] for one in found if one and one["environment"] == environment})


def heads(
    copies: Copies, origin: str, keys: Sequence[PublicKey]
) -> Iterator[tuple[Copy, bytes, Checkpoint]]:
    """Yield the checkpoints of a log that a trusted key signed, the largest first.

    Those that no trusted key signed, or that were changed, are passed over. A checkpoint is put
    behind its tiles, so none is larger than the tiles that are there: one that is as large is the
    largest, and the others are read only when it is not taken.
    """
    prefix = prefix_of(origin)
    most = max((_reach(key.removeprefix(prefix)) for key in copies.there), default=0)
    smaller: list[tuple[Copy, bytes, Checkpoint]] = []
    for copy, content in copies.contents(prefix + tiles.CHECKPOINT):
        try:
            checkpoint = note.verify(content, keys)
            if checkpoint.origin != origin:
                raise dsse.SignatureError(f"is of the log {checkpoint.origin}")
        except (dsse.SignatureError, dsse.UntrustedError) as error:
            copies.pass_over(copy, str(error))
            continue
        if checkpoint.size >= most:
            yield copy, content, checkpoint
        else:
            smaller.append((copy, content, checkpoint))
    yield from sorted(smaller, key=lambda one: -one[2].size)


def recover(copies: Copies, origin: str, keys: Sequence[PublicKey]) -> Recovered | None:
    """Return the largest log of an origin whose tiles are all there; None when there is none.

    A checkpoint whose tiles are not all there is passed over.
    """
    largest = 0
    for copy, head, checkpoint in heads(copies, origin, keys):
        largest = max(largest, checkpoint.size)
        try:
            files = _tiles(copies, checkpoint)
            entries = tuple(
                parse_entry(leaf, index)
                for index, leaf in enumerate(tiles.entries(checkpoint.size, files.get))
            )
        except (tiles.TileError, LogError) as error:
            path = f"{error.path} " if isinstance(error, tiles.TileError) else ""
            copies.pass_over(copy, f"of {checkpoint.size} entries, {path}{error}")
            continue
        return Recovered(head, checkpoint, files, entries, largest - checkpoint.size)
    return None


def _tiles(copies: Copies, checkpoint: Checkpoint) -> dict[str, bytes]:
    """Every tile of a checkpoint. Raises TileError naming the one of which no copy fits."""
    prefix, size = prefix_of(checkpoint.origin), checkpoint.size
    found = _edge(copies, checkpoint)
    rows = [size]
    while rows[-1] >= tiles.WIDTH:
        rows.append(rows[-1] // tiles.WIDTH)
    for level in reversed(range(len(rows) - 1)):
        above = b"".join(
            found[tiles.tile_path(level + 1, index, width)]
            for index, width in _widths(rows[level + 1])
        )
        for index, expected in enumerate(_hashes(above)):
            path = tiles.tile_path(level, index)
            content = copies.first(prefix + path, partial(_full_tile, path, expected))
            found[path] = _needed(path, content)
    hashes = _hashes(b"".join(found[tiles.tile_path(0, *one)] for one in _widths(size)))
    for index, width in _widths(size):
        path, first = tiles.tile_path(None, index, width), index * tiles.WIDTH
        expect = hashes[first : first + width]
        found[path] = _needed(path, copies.first(prefix + path, partial(_entries, path, expect)))
    return found


def _edge(copies: Copies, checkpoint: Checkpoint) -> dict[str, bytes]:
    """The tiles of hashes that are not full: together they give the root.

    A copy of each is chosen, the newest first, until they do.
    """
    prefix, size = prefix_of(checkpoint.origin), checkpoint.size
    paths, items = [], size
    for level in range(-(-size.bit_length() // 8)):
        if width := items % tiles.WIDTH:
            paths.append((tiles.tile_path(level, items // tiles.WIDTH, width), width))
        items //= tiles.WIDTH
    choices: list[list[tuple[Copy, bytes]]] = []
    for path, width in paths:
        right = []
        for copy, content in copies.contents(prefix + path):
            if len(content) == width * merkle.HASH_BYTES:
                right.append((copy, content))
            else:
                copies.pass_over(copy, f"does not hold {width} hashes")
        if not right:
            raise tiles.TileError(path, "is missing")
        choices.append(right)
    for chosen in islice(product(*choices), _MOST_COMBINATIONS):
        found = {path: content for (path, _), (_, content) in zip(paths, chosen, strict=True)}
        if merkle.root(size, tiles.subtrees(size, found.get)) == checkpoint.root:
            for right, taken in zip(choices, chosen, strict=True):
                for copy, _ in right[: right.index(taken)]:
                    copies.pass_over(copy, "does not lead to the root that was signed")
            return found
    raise tiles.TileError(", ".join(path for path, _ in paths), "leads to another root")


def _full_tile(path: str, expected: bytes, content: bytes) -> bytes:
    if len(content) != tiles.WIDTH * merkle.HASH_BYTES:
        raise tiles.TileError(path, f"does not hold {tiles.WIDTH} hashes")
    if merkle.perfect_root(_hashes(content)) != expected:
        raise tiles.TileError(path, "does not lead to the root that was signed")
    return content


def _entries(path: str, hashes: Sequence[bytes], content: bytes) -> bytes:
    leaves = tiles.unpack_entries(path, content, len(hashes))
    if [merkle.leaf_hash(leaf) for leaf in leaves] != list(hashes):
        raise tiles.TileError(path, "holds other entries than were logged")
    return content


def _needed(path: str, content: bytes | None) -> bytes:
    if content is None:
        raise tiles.TileError(path, "is there in no copy that fits")
    return content


def _hashes(content: bytes) -> list[bytes]:
    width = merkle.HASH_BYTES
    return [content[at : at + width] for at in range(0, len(content), width)]


def _widths(items: int) -> Iterator[tuple[int, int]]:
    for index in range(-(-items // tiles.WIDTH)):
        yield index, min(tiles.WIDTH, items - index * tiles.WIDTH)


def _reach(path: str) -> int:
    """How many entries a log has at least that has this tile of entries; else 0."""
    match = _ENTRIES.fullmatch(path)
    if match is None:
        return 0
    number = int(match["number"].replace("x", "").replace("/", ""))
    return number * tiles.WIDTH + int(match["width"] or tiles.WIDTH)
