"""Canonical JSON (RFC 8785), its digests, and a strict reader for JSON that others wrote."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

import rfc8785

_MAXIMUM_DEPTH = 100
_MOST_VALUES = 4_000_000
_NESTS = (dict, list)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class StrictJsonError(ValueError):
    """JSON that two readers could understand differently, or no JSON at all."""


_plain = json.JSONEncoder(
    sort_keys=True,
    separators=(",", ":"),
    ensure_ascii=False,
    check_circular=False,
    allow_nan=False,
).encode
_BASIC_PLANE = bytes(range(0xF0))  # beyond it are the four bytes of UTF-8 that begin with F0 to F4
_DIGITS_AS_0 = bytes.maketrans(b"123456789+", b"000000000-")  # and one sign of exponents
_LONG = b"0" * 16
_LONG_INTEGERS = tuple(
    before + sign + _LONG for before in (b":", b",", b"[") for sign in (b"", b"-")
)


def _may_differ(text: bytes) -> bool:
    """Whether RFC 8785 may write otherwise what Python's own writer wrote as `text`.

    That is: numbers that end in .0 or have an exponent, integers beyond 2^53, and the order of keys
    beyond the basic plane. Searches for plain bytes are many times faster than regular expressions:
    with every digit as 0, an exponent and a long integer are such.
    """
    alike = text.translate(_DIGITS_AS_0)
    return (
        (b".0" in text and (b".0," in text or b".0]" in text or b".0}" in text))
        or text.endswith(b".0")
        or b"0e-0" in alike
        or (_LONG in alike and any(one in alike for one in _LONG_INTEGERS))
        or alike.startswith((_LONG, b"-" + _LONG))
        or (not text.isascii() and bool(text.translate(None, _BASIC_PLANE)))
    )


def canonical(data: Any) -> bytes:
    """Return the RFC 8785 form of `data`; raises ValueError for what it cannot express."""
    return rfc8785.dumps(data)


def canonical_of_json(data: Any) -> bytes:
    """Return the same of what was read from JSON, or could have been: keys are texts.

    Python's own writer, which is many times faster, writes the same bytes for nearly all of it;
    where a text looks as if it might not, `canonical` does. Raises ValueError.
    """
    text = _plain(data).encode()
    return canonical(data) if _may_differ(text) else text


def same_json(left: Any, right: Any) -> bool:
    """Equal as JSON: 1 and true differ, 1 and 1.0 do not. Keys are texts."""
    try:
        if left == right and (left is right or _same_types(left, right)):
            return True
        return _plain(left) == _plain(right) or canonical(left) == canonical(right)
    except (ValueError, TypeError, RecursionError):
        return False


def _same_types(left: Any, right: Any) -> bool:
    """Whether two equal values have the same types all through, or numbers of one JSON form."""
    if type(left) is not type(right):
        return {type(left), type(right)} == {int, float} and abs(left) < 2**53
    pairs = left.items() if type(left) is dict else enumerate(left) if type(left) is list else ()
    for place, value in pairs:
        other = right[place]
        if (type(value) is not type(other) or type(value) in _NESTS) and not _same_types(
            value, other
        ):
            return False
    return True


def digest(data: Any) -> str:
    """Return the sha256 (64 hex digits) of the canonical form of `data`, as it is in JSON."""
    return sha256(canonical_of_json(data))


def sha256(content: bytes) -> str:
    """Return the sha256 of bytes as 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise StrictJsonError(f"duplicate key {twice!r}")
    return result


def _no_constant(name: str) -> Any:
    raise StrictJsonError(f"{name} is no JSON number")


def _too_deep(data: Any) -> bool:
    level = [data] if isinstance(data, (dict, list)) else []
    for _ in range(_MAXIMUM_DEPTH - 1):
        level = [
            inner
            for value in level
            for inner in (value.values() if type(value) is dict else value)
            if type(inner) in _NESTS
        ]
        if not level:
            return False
    return any(level)


def strict_loads(content: bytes) -> Any:
    """Parse UTF-8 JSON without duplicate keys, NaN, infinities or nesting beyond 100 levels.

    Raises StrictJsonError. The depth is limited so that no reader of the data runs out of stack.
    """
    return _loads(content, _STRICT)


def strict_lines(content: bytes) -> list[Any]:
    """Return the values of JSON lines, each as `strict_loads` reads it; others are left out.

    So is null, which is nobody's entry.
    """
    try:
        lines = content.decode("utf-8", "strict").split("\n")
    except UnicodeDecodeError:
        found = [_line(line) for line in content.split(b"\n") if line]
    else:
        odd = len(content) > _MOST_VALUES or _SURROGATE.search(content) is not None
        written = [line for line in lines if line]
        found = list(map(_checked_line, written)) if odd else _plain_lines(written)
    return [one for one in found if one is not None]


def _plain_lines(lines: list[str]) -> list[Any]:
    """`_line` of texts without escaped surrogates and with few values: mostly in one step.

    Of an object with no more colons than keys no key is there twice, here or in what it holds. A
    value is nested at most half as deep as its text is long.
    """
    found: list[Any] = []
    for line in lines:
        try:
            value, end = _ONE_OF_MANY(line)
        except (ValueError, RecursionError, OverflowError):
            found.append(_checked_line(line))  # refused, or with blanks around it
            continue
        simple = type(value) is dict and line.count(":") == len(value)
        plain = simple and end == len(line) <= 2 * _MAXIMUM_DEPTH
        found.append(value if plain else _checked_line(line))
    return found


def _checked_line(line: str) -> Any:
    return _line(line.encode())


def _line(line: bytes) -> Any:
    try:
        return strict_loads(line)
    except StrictJsonError:
        return None


def _double_beyond_safe(text: str) -> int | float:
    """RFC 8785 knows doubles only: an integer that none can carry exactly is read as one."""
    value = int(text)
    return value if abs(value) < 2**53 else float(value)


def _decoder(parse_int: Callable[[str], int | float]) -> json.JSONDecoder:
    return json.JSONDecoder(
        object_pairs_hook=_no_duplicates, parse_constant=_no_constant, parse_int=parse_int
    )


_STRICT, _CANONICAL = _decoder(int).decode, _decoder(_double_beyond_safe).decode
_UNCHECKED = json.JSONDecoder(parse_constant=_no_constant).decode
_ONE_OF_MANY = json.JSONDecoder(parse_constant=_no_constant).raw_decode


def _loads(content: bytes, decode: Callable[[str], Any]) -> Any:
    if content.startswith(b"\xef\xbb\xbf"):
        raise StrictJsonError("begins with a BOM")
    if len(content) > _MOST_VALUES and sum(map(content.count, b",{[")) > _MOST_VALUES:
        raise StrictJsonError(f"has more than {_MOST_VALUES} values")
    try:
        data = decode(content.decode("utf-8", "strict"))
    except StrictJsonError:
        raise
    except (ValueError, RecursionError, OverflowError) as error:
        raise StrictJsonError(str(error)) from error
    if content.count(b"[") + content.count(b"{") >= _MAXIMUM_DEPTH and _too_deep(data):
        raise StrictJsonError(f"nested deeper than {_MAXIMUM_DEPTH} levels")
    if b"\\u" in content and _SURROGATE.search(content):
        try:
            json.dumps(data, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise StrictJsonError("half a character: a surrogate without its other") from error
    return data


def canonical_loads(content: bytes) -> Any:
    """Parse JSON that must be in canonical form, byte for byte. Raises StrictJsonError.

    What is written back as it was has no key twice: that is not looked for before.
    """
    data = _loads(content, _UNCHECKED)
    try:
        if _plain(data).encode() == content and not _may_differ(content):
            return data
    except (ValueError, RecursionError):
        pass  # said below
    data = _loads(content, _CANONICAL)
    try:
        expected = canonical_of_json(data)
    except ValueError as error:
        raise StrictJsonError(f"cannot be written canonically: {error}") from error
    if expected != content:
        raise StrictJsonError("not in RFC 8785 canonical form")
    return data
