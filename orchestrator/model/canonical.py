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
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class StrictJsonError(ValueError):
    """JSON that two readers could understand differently, or no JSON at all."""


_plain = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, check_circular=False
).encode
_EXPONENT, _LONG_INTEGER = re.compile(r"[0-9]e[-+][0-9]"), re.compile(r"(?:[:,\[]|^)-?[0-9]{16}")


def _may_differ(text: str) -> bool:
    """Whether RFC 8785 may write otherwise what Python's own writer wrote as `text`.

    That is: numbers that end in .0 or have an exponent, integers beyond 2^53, what is no number,
    and the order of keys beyond the basic plane.
    """
    return (
        any(sign in text for sign in (".0,", ".0]", ".0}", "NaN", "Infinity"))
        or text.endswith(".0")
        or (("e-" in text or "e+" in text) and _EXPONENT.search(text) is not None)
        or _LONG_INTEGER.search(text) is not None
        or (not text.isascii() and len(text.encode("utf-16-le")) != 2 * len(text))
    )


def canonical(data: Any) -> bytes:
    """Return the RFC 8785 form of `data`; raises ValueError for what it cannot express."""
    return rfc8785.dumps(data)


def canonical_of_json(data: Any) -> bytes:
    """Return the same of what was read from JSON, or could have been: keys are texts.

    Python's own writer, which is many times faster, writes the same bytes for nearly all of it;
    where a text looks as if it might not, `canonical` does. Raises ValueError.
    """
    text = _plain(data)
    return canonical(data) if _may_differ(text) else text.encode()


def same_json(left: Any, right: Any) -> bool:
    """Equal as JSON: 1 and true differ, 1 and 1.0 do not. Keys are texts."""
    try:
        return _plain(left) == _plain(right) or canonical(left) == canonical(right)
    except (ValueError, TypeError, RecursionError):
        return False


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
    level = [data]
    for _ in range(_MAXIMUM_DEPTH):
        level = [
            inner
            for value in level
            if isinstance(value, (dict, list))
            for inner in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return False
    return True


def strict_loads(content: bytes) -> Any:
    """Parse UTF-8 JSON without duplicate keys, NaN, infinities or nesting beyond 100 levels.

    Raises StrictJsonError. The depth is limited so that no reader of the data runs out of stack.
    """
    return _loads(content, _STRICT)


def _double_beyond_safe(text: str) -> int | float:
    """RFC 8785 knows doubles only: an integer that none can carry exactly is read as one."""
    value = int(text)
    return value if abs(value) < 2**53 else float(value)


def _decoder(parse_int: Callable[[str], int | float]) -> Callable[[str], Any]:
    return json.JSONDecoder(
        object_pairs_hook=_no_duplicates, parse_constant=_no_constant, parse_int=parse_int
    ).decode


_STRICT, _CANONICAL = _decoder(int), _decoder(_double_beyond_safe)


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
    """Parse JSON that must be in canonical form, byte for byte. Raises StrictJsonError."""
    data = _loads(content, _CANONICAL)
    try:
        expected = canonical_of_json(data)
    except ValueError as error:
        raise StrictJsonError(f"cannot be written canonically: {error}") from error
    if expected != content:
        raise StrictJsonError("not in RFC 8785 canonical form")
    return data
