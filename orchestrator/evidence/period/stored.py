"""A zip of any size whose members are stored as they are, in one form: written and read member by
member, so that memory stays flat.

Every byte of it follows from the names and contents of the members and their order: fixed times,
modes and versions, no compression, no extra fields, no comment, no zip64. The reader makes the
headers again and compares: there is no second way to write an archive, and nowhere to hide in one.
Sizes: APPNOTE 4.3.7 (local header), 4.3.12 (directory), 4.3.16 (end).
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from orchestrator.evidence.bundle import PackageError, alias_of, check_name, unreadable
from orchestrator.evidence.files import sync_directory
from orchestrator.model.errors import InputError

MOST_BYTES = 2**32 - 2
MOST_MEMBERS = 2**16 - 2
"""What a zip can say without zip64."""
_MOST_NAME_BYTES = 1_000
_UTF8 = 0x800
_VERSION = 20
_UNIX = 3 << 8
_DATE = 0x21  # 1980-01-01
_MODE = 0o100644 << 16
LOCAL_BYTES, _ENTRY_BYTES, _END_BYTES = 30, 46, 22


@dataclass(frozen=True)
class Member:
    """Where a member is: its content begins at byte `start`."""

    name: str
    crc: int
    size_bytes: int
    offset: int

    @property
    def start(self) -> int:
        """The place of its first byte in the archive."""
        return self.offset + LOCAL_BYTES + len(self.name.encode())

    @property
    def end(self) -> int:
        """The place behind its last byte."""
        return self.start + self.size_bytes

    def local(self) -> bytes:
        """Return the header before its content."""
        name = self.name.encode()
        fixed = (b"PK\3\4", _VERSION, _flags(self.name), 0, 0, _DATE, self.crc)
        sizes = (self.size_bytes, self.size_bytes, len(name), 0)
        return struct.pack("<4s5H3L2H", *fixed, *sizes) + name

    def entry(self) -> bytes:
        """Return its entry in the directory."""
        name = self.name.encode()
        fixed = (b"PK\1\2", _UNIX | _VERSION, _VERSION, _flags(self.name), 0, 0, _DATE, self.crc)
        sizes = (self.size_bytes, self.size_bytes, len(name), 0, 0, 0, 0, _MODE, self.offset)
        return struct.pack("<4s6H3L5H2L", *fixed, *sizes) + name


class Writer:
    """Appends members to a stream that is empty."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._members: list[Member] = []
        self._at = 0

    def add(self, name: str, content: bytes) -> None:
        """Append a member. Raises InputError when the archive becomes larger than a zip can be."""
        member = Member(name, zlib.crc32(content), len(content), self._at)
        if member.end > MOST_BYTES or len(self._members) == MOST_MEMBERS:
            raise InputError(
                f"more than {MOST_MEMBERS} files or {MOST_BYTES} bytes do not fit into one archive",
                "make two of it, each over a shorter time",
            )
        self._stream.write(member.local())
        self._stream.write(content)
        self._members.append(member)
        self._at = member.end

    def close(self) -> None:
        """Write the directory. Raises InputError as `add` does."""
        directory = b"".join(member.entry() for member in self._members)
        if self._at + len(directory) > MOST_BYTES:
            raise InputError(f"more than {MOST_BYTES} bytes do not fit into one archive")
        self._stream.write(directory)
        self._stream.write(_end(len(self._members), len(directory), self._at))


@contextmanager
def written(target: Path) -> Iterator[Writer]:
    """Give a writer; when the block ends the archive is `target`, whole and on disk, or nothing is.

    Raises InputError when it cannot be written there.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        try:
            with temporary.open("wb") as stream:
                writer = Writer(stream)
                yield writer
                writer.close()
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(target)
            sync_directory(target.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", file=str(target)) from error


class Archive:
    """An archive that is in that form; contents are read when they are asked for."""

    def __init__(self, file: Path, members: Mapping[str, Member]) -> None:
        self._file = file
        self.members = members

    def read(self, name: str, most_bytes: int) -> bytes:
        """Return the content of a member. Raises KeyError, PackageError."""
        member = self.members[name]
        if member.size_bytes > most_bytes:
            message = f"{name} has {member.size_bytes} bytes: over the limits"
            raise PackageError("zip-bomb", name, message)
        try:
            with self._file.open("rb") as stream:
                stream.seek(member.start)
                content = stream.read(member.size_bytes)
        except OSError as error:
            raise PackageError("damaged-archive", name, f"cannot be read: {error}") from error
        if len(content) != member.size_bytes or zlib.crc32(content) != member.crc:
            raise PackageError("damaged-archive", name, f"{name} is damaged")
        return content


def opened(file: Path) -> Archive:
    """Return an archive after checking every byte of it that is no content.

    Raises PackageError when it is not in the one form; InputError when it cannot be read.
    """
    try:
        with file.open("rb") as stream:
            return Archive(file, MappingProxyType(_members(stream)))
    except OSError as error:
        raise unreadable(file, error) from error


def _members(stream: BinaryIO) -> dict[str, Member]:
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - _END_BYTES))
    end = stream.read(_END_BYTES)
    if len(end) != _END_BYTES or end[:4] != b"PK\5\6":
        raise PackageError("damaged-archive", "", "the archive is damaged: it has no end")
    count, length, start = struct.unpack_from("<10xHLL2x", end)
    if end != _end(count, length, start) or start + length + _END_BYTES != size:
        raise PackageError("hidden-data", "", "the archive holds more than its members")
    if length > count * (_ENTRY_BYTES + _MOST_NAME_BYTES):
        raise PackageError("zip-bomb", "", f"a directory of {length} bytes: over the limits")
    stream.seek(start)
    directory = stream.read(length)
    found: dict[str, Member] = {}
    known: set[str] = set()
    at = offset = 0
    for _ in range(count):
        member = _member(directory, at)
        if member.offset != offset:
            raise PackageError("hidden-data", member.name, f"{member.name} is not at {offset}")
        local = member.local()
        stream.seek(offset)
        if stream.read(len(local)) != local:
            message = f"{member.name} has two headers that differ"
            raise PackageError("hidden-data", member.name, message)
        alias = alias_of(member.name)
        if alias in known:
            raise PackageError("duplicate-member", member.name, f"{member.name} is there twice")
        known.add(alias)
        found[member.name] = member
        at, offset = at + len(member.entry()), member.end
    if at != length or offset != start:
        raise PackageError("hidden-data", "", "the archive holds more than its members")
    return found


def _member(directory: bytes, at: int) -> Member:
    """The member of the entry at a place of the directory. Raises PackageError."""
    try:
        crc, _, size, length, offset = struct.unpack_from("<16x3LH12xL", directory, at)
        name = directory[at + _ENTRY_BYTES : at + _ENTRY_BYTES + length].decode()
    except (struct.error, UnicodeDecodeError) as error:
        raise PackageError("damaged-archive", "", f"the archive is damaged: {error}") from error
    check_name(name)
    member = Member(name, crc, size, offset)
    entry = member.entry()
    if directory[at : at + len(entry)] != entry:
        message = f"{name} is not stored in the one form that there is"
        raise PackageError("unsupported-member", name, message)
    return member


def _flags(name: str) -> int:
    return 0 if name.isascii() else _UTF8


def _end(count: int, length: int, start: int) -> bytes:
    return struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, length, start, 0)
