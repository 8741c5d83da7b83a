"""DER (X.690), as much of it as a timestamp needs: read strictly, one level at a time, and write.

Reading one level at a time takes no recursion, so that nested input of any depth costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

BOOLEAN, INTEGER, BIT_STRING, OCTET_STRING, OID = 0x01, 0x02, 0x03, 0x04, 0x06
UTF8_STRING, GENERALIZED_TIME, SEQUENCE, SET = 0x0C, 0x18, 0x30, 0x31
NULL = b"\x05\x00"


class DerError(ValueError):
    """Bytes that are not DER, or not the element that was expected there."""


@dataclass(frozen=True)
class Element:
    """An element: its identifier octet, its contents, and both with the length as encoded."""

    tag: int
    content: bytes
    encoded: bytes


def context(number: int) -> int:
    """The identifier octet of a constructed context-specific element, `[number]`."""
    return 0xA0 | number


def read(data: bytes) -> Element:
    """Return the one element that the bytes are. Raises DerError."""
    element, rest = _first(data)
    if rest:
        raise DerError(f"has {len(rest)} bytes after its end")
    return element


def members(element: Element, tag: int) -> list[Element]:
    """Return the members of an element with this constructed tag. Raises DerError."""
    expect(element, tag)
    found, rest = [], element.content
    while rest:
        member, rest = _first(rest)
        found.append(member)
    return found


def set_members(element: Element, tag: int = SET) -> list[Element]:
    """Return the members of a SET OF, which DER sorts. Raises DerError."""
    found = members(element, tag)
    if any(one.encoded >= two.encoded for one, two in pairwise(found)):
        raise DerError("has a set whose members are not in order, or there twice")
    return found


def expect(element: Element, tag: int) -> bytes:
    """Return the contents of an element that must have this tag. Raises DerError."""
    if element.tag != tag:
        raise DerError(f"has tag 0x{element.tag:02x} where 0x{tag:02x} is expected")
    return element.content


def to_int(element: Element, tag: int = INTEGER) -> int:
    """Return the value of an INTEGER. Raises DerError."""
    content = expect(element, tag)
    value = int.from_bytes(content, "big", signed=True)
    if not content or _integer(value) != content:
        raise DerError("has an integer that is not in its shortest form")
    return value


def write(tag: int, *parts: bytes) -> bytes:
    """Return an element with this tag, around these contents."""
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def write_int(value: int) -> bytes:
    """Return an INTEGER."""
    return write(INTEGER, _integer(value))


def _integer(value: int) -> bytes:
    bits = value.bit_length() if value >= 0 else (value + 1).bit_length()
    return value.to_bytes(bits // 8 + 1, "big", signed=True)


def _first(data: bytes) -> tuple[Element, bytes]:
    """The first element of the bytes, and what follows it."""
    if len(data) < 2:
        raise DerError("is cut off")
    tag, size, start = data[0], data[1], 2
    if tag & 0x1F == 0x1F:
        raise DerError("has a tag of more than one byte")
    if size >= 0x80:
        start += size & 0x7F
        length = data[2:start]
        size = int.from_bytes(length, "big")
        if not length or len(length) > 4 or length[0] == 0 or size < 0x80:
            raise DerError("has a length that is not in its shortest form")
    end = start + size
    if end > len(data):
        raise DerError("is cut off")
    return Element(tag, data[start:end], data[:end]), data[end:]
