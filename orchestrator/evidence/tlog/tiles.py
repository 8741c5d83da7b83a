"""The files of a log: entries and hashes in tiles of 256, each of which never changes once full.

Specification: c2sp.org/tlog-tiles. The paths are the same on disk, in an object store and in a
bundle; `read(path)` returns a file's bytes, or None when it is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

from orchestrator.evidence.tlog.merkle import HASH_BYTES, Subtree, leaf_hash, perfect_root, root

CHECKPOINT = "checkpoint"
WIDTH = 256
_HEIGHT = 8
_LENGTH_BYTES = 2

Read = Callable[[str], bytes | None]


class TileError(ValueError):
    """A tile that is missing or is none; `path` names it."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path = path


def tile_path(level: int | None, index: int, width: int = WIDTH) -> str:
    """Return the path of a tile of hashes, or of entries (`level` None)."""
    digits = f"{index:03d}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    parts = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    number = "/".join([*(f"x{part}" for part in parts[:-1]), parts[-1]])
    partial = f".p/{width}" if width < WIDTH else ""
    return f"tile/{'entries' if level is None else level}/{number}{partial}"


def paths(size: int) -> Iterator[str]:
    """Yield the path of every tile that a log of `size` entries has."""
    for index, width in _widths(size):
        yield tile_path(None, index, width)
    level = 0
    while size:
        for index, width in _widths(size):
            yield tile_path(level, index, width)
        level, size = level + 1, size // WIDTH


def edge(size: int) -> Iterator[str]:
    """Yield the paths of the last two tiles of each row."""
    rows: list[int | None] = [None, 0]
    while size:
        for row in rows:
            for index in range(max(0, -(-size // WIDTH) - 2), -(-size // WIDTH)):
                yield tile_path(row, index, min(WIDTH, size - index * WIDTH))
        rows, size = [(rows[-1] or 0) + 1], size // WIDTH


def entries(size: int, read: Read) -> Iterator[bytes]:
    """Yield every entry of a log of `size`. Raises TileError."""
    for index, width in _widths(size):
        yield from unpack_entries(*_read(None, index, width, read), width)


def leaf_hashes(size: int, read: Read) -> Iterator[bytes]:
    """Yield the hash of every entry as the tiles have it. Raises TileError."""
    for index, width in _widths(size):
        yield from _unpack_hashes(*_read(0, index, width, read), width)


def subtrees(size: int, read: Read) -> Subtree:
    """Return the hashes of the perfect subtrees of a log of `size`. They raise TileError."""

    @lru_cache(maxsize=64)
    def tile(level: int, index: int) -> tuple[bytes, ...]:
        width = min(WIDTH, (size >> (_HEIGHT * level)) - index * WIDTH)
        return _unpack_hashes(*_read(level, index, width, read), width)

    def subtree(level: int, index: int) -> bytes:
        row, inner = divmod(level, _HEIGHT)
        first = index << inner
        hashes = tile(row, first // WIDTH)
        return perfect_root(hashes[first % WIDTH : first % WIDTH + (1 << inner)])

    return subtree


def grow(size: int, more: Sequence[bytes], read: Read) -> tuple[dict[str, bytes], bytes]:
    """Return the tiles that a log of `size` gets with these entries, and its new root.

    Raises TileError when the log's own tiles cannot be read.
    """
    made: dict[str, bytes] = {}
    total = size + len(more)
    for index, width, kept in _changed(size, total):
        old = _read(None, index, kept, read)[1] if kept else b""
        first = max(size, index * WIDTH)
        new = more[first - size : index * WIDTH + width - size]
        made[tile_path(None, index, width)] = old + b"".join(map(_pack_entry, new))
    hashes = [leaf_hash(entry) for entry in more]
    level, low = 0, size
    while hashes:
        high = low + len(hashes)
        upper: list[bytes] = []
        for index, width, kept in _changed(low, high):
            old = _read(level, index, kept, read)[1] if kept else b""
            first = max(low, index * WIDTH)
            tile = old + b"".join(hashes[first - low : index * WIDTH + width - low])
            made[tile_path(level, index, width)] = tile
            if width == WIDTH:
                upper.append(perfect_root(_unpack_hashes("", tile, WIDTH)))
        level, low, hashes = level + 1, low // WIDTH, upper
    return made, root(total, subtrees(total, lambda path: made.get(path) or read(path)))


def unpack_entries(path: str, content: bytes, width: int) -> list[bytes]:
    """Return the entries of one tile. Raises TileError."""
    found: list[bytes] = []
    at = 0
    while at < len(content):
        end = at + _LENGTH_BYTES + int.from_bytes(content[at : at + _LENGTH_BYTES], "big")
        found.append(content[at + _LENGTH_BYTES : end])
        at = end
    if at != len(content) or len(found) != width:
        raise TileError(path, f"does not hold {width} whole entries")
    return found


def _pack_entry(entry: bytes) -> bytes:
    return len(entry).to_bytes(_LENGTH_BYTES, "big") + entry


def _unpack_hashes(path: str, content: bytes, width: int) -> tuple[bytes, ...]:
    if len(content) != width * HASH_BYTES:
        raise TileError(path, f"does not hold {width} hashes")
    return tuple(content[at : at + HASH_BYTES] for at in range(0, len(content), HASH_BYTES))


def _read(level: int | None, index: int, width: int, read: Read) -> tuple[str, bytes]:
    """A tile's path and content."""
    path = tile_path(level, index, width)
    content = read(path)
    if content is None:
        raise TileError(path, "is missing")
    return path, content


def _widths(size: int) -> Iterator[tuple[int, int]]:
    """Each tile's index and width, of `size` items in one row."""
    for index in range(-(-size // WIDTH)):
        yield index, min(WIDTH, size - index * WIDTH)


def _changed(old: int, new: int) -> Iterator[tuple[int, int, int]]:
    """Each tile that grows: index, width, and how much of it was there."""
    for index in range(old // WIDTH, -(-new // WIDTH)):
        start = index * WIDTH
        yield index, min(WIDTH, new - start), max(0, old - start)
