"""Which characters a font has: the `cmap` table of an OpenType file or collection.

Format: https://learn.microsoft.com/typography/opentype/spec/cmap (subtable format 12).
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_UNICODE_FULL = {(3, 10), (0, 4), (0, 6)}  # (platform, encoding) of all of Unicode

_MOST_FONTS = 1_000  # of a file; one that is damaged may say billions


@dataclass(frozen=True)
class Coverage:
    """Code points as ranges: `starts[n]` to `ends[n]`, in order, both included."""

    starts: Sequence[int]
    ends: Sequence[int]

    def has(self, code_point: int) -> bool:
        """Whether the font has a glyph for it."""
        place = bisect_right(self.starts, code_point) - 1
        return place >= 0 and code_point <= self.ends[place]


def count_fonts(path: Path) -> int:
    """Return how many fonts a file holds. Raises ValueError for one that cannot hold so many."""
    with path.open("rb") as file:
        if file.read(4) != b"ttcf":
            return 1
        try:
            (count,) = _read(file, 8, ">I")
        except struct.error as error:
            raise ValueError(f"{path.name} is no OpenType font: {error}") from error
    if count > _MOST_FONTS:
        raise ValueError(f"{path.name} is no OpenType font: it would hold {count}")
    return count


def read_coverage(path: Path, index: int = 0) -> Coverage:
    """Return what the font at `index` of a file covers. Raises ValueError when it is none."""
    with path.open("rb") as file:
        try:
            start = _table(file, _font_offset(file, index), b"cmap")
            subtable = _subtable(file, start)
            groups = _groups(file, subtable)
        except struct.error as error:
            raise ValueError(f"{path.name} is no OpenType font: {error}") from error
    return Coverage(tuple(one[0] for one in groups), tuple(one[1] for one in groups))


def _read(file: BinaryIO, offset: int, layout: str) -> tuple[int, ...]:
    file.seek(offset)
    return struct.unpack(layout, file.read(struct.calcsize(layout)))


def _font_offset(file: BinaryIO, index: int) -> int:
    """Where the tables of a font are listed: a collection has several."""
    file.seek(0)
    if file.read(4) != b"ttcf":
        return 0
    return _read(file, 12 + 4 * index, ">I")[0]


def _table(file: BinaryIO, offset: int, wanted: bytes) -> int:
    (count,) = _read(file, offset + 4, ">H")
    for number in range(count):
        place = offset + 12 + 16 * number
        file.seek(place)
        if file.read(4) == wanted:
            return _read(file, place + 8, ">I")[0]
    raise ValueError(f"the font has no table {wanted.decode()}")


def _subtable(file: BinaryIO, cmap: int) -> int:
    (count,) = _read(file, cmap + 2, ">H")
    for number in range(count):
        platform, encoding, offset = _read(file, cmap + 4 + 8 * number, ">HHI")
        if (platform, encoding) in _UNICODE_FULL and _read(file, cmap + offset, ">H")[0] == 12:
            return cmap + offset
    raise ValueError("the font has no map of all of Unicode")


def _groups(file: BinaryIO, subtable: int) -> list[tuple[int, int]]:
    """The ranges with a glyph: glyph 0 is the box that stands for a missing one."""
    (count,) = _read(file, subtable + 12, ">I")
    file.seek(subtable + 16)
    return sorted(
        (start, end)
        for start, end, glyph in struct.iter_unpack(">III", file.read(12 * count))
        if glyph
    )
