"""The names of WAL files (PostgreSQL manual, "WAL Internals"), and what is missing among them.

A segment's name is its timeline, and its number in two parts of 8 hexadecimal digits each.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

# pgBackRest adds a checksum and the kind of compression to a segment's name.
_SEGMENT = re.compile(r"/([0-9A-F]{24})-[0-9a-f]{40}[^/]*$")
_HISTORY = re.compile(r"/([0-9A-F]{8})\.history[^/]*$")


@dataclass(frozen=True)
class ArchivedWal:
    """The segments of an archive, and its newest timeline: of a segment or a history file."""

    segments: frozenset[str]
    newest_timeline: int

    def missing(self, first: str, last: str, segment_bytes: int) -> tuple[str, ...]:
        """The segments from `first` to `last`, on the timeline of these, that are not there."""
        numbers = range(
            segment_number(first, segment_bytes), segment_number(last, segment_bytes) + 1
        )
        names = (last[:8] + segment_name(number, segment_bytes) for number in numbers)
        return tuple(name for name in names if name not in self.segments)

    def lacking(self, held: frozenset[str]) -> frozenset[str]:
        """Of these segments those that are not there, and not older than all that is."""
        oldest = min((name[8:] for name in self.segments), default="G")
        return held - self.segments - {name for name in held if name[8:] < oldest}


def archived_wal(paths: Iterable[str]) -> ArchivedWal:
    """What the paths of the files of a pgBackRest archive hold."""
    segments, timelines = set(), [0]
    for path in paths:
        if found := _SEGMENT.search(path):
            segments.add(found[1])
            timelines.append(int(found[1][:8], 16))
        elif found := _HISTORY.search(path):
            timelines.append(int(found[1], 16))
    return ArchivedWal(frozenset(segments), max(timelines))


def timeline_of(segment: str) -> int:
    """The timeline of a segment."""
    return int(segment[:8], 16)


def segment_number(segment: str, segment_bytes: int) -> int:
    """The number of a segment, from 0 on, the same on each timeline."""
    return ((int(segment[8:16], 16) << 32) + int(segment[16:], 16) * segment_bytes) // segment_bytes


def segment_name(number: int, segment_bytes: int) -> str:
    """The name of a segment without its timeline: 16 hexadecimal digits."""
    per_log = (1 << 32) // segment_bytes
    return f"{number // per_log:08X}{number % per_log:08X}"
