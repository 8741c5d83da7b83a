"""Canonical JSON (RFC 8785), its digests, and a strict reader for JSON that others wrote."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import rfc8785

_MAXIMUM_DEPTH = 100


class StrictJsonError(ValueError):
    """JSON that two readers could understand differently, or no JSON at all."""


def canonical(data: Any) -> bytes:
    """Return the RFC 8785 form of `data`; raises ValueError for what it cannot express."""
    return rfc8785.dumps(data)


def digest(data: Any) -> str:
    """Return the sha256 (64 hex digits) of the canonical form of `data`."""
    return sha256(canonical(data))


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
    return _loads(content, int)


def _double_beyond_safe(text: str) -> int | float:
    """RFC 8785 knows doubles only: an integer that none can carry exactly is read as one."""
    value = int(text)
    return value if abs(value) < 2**53 else float(value)


def _loads(content: bytes, parse_int: Callable[[str], int | float]) -> Any:
    try:
        data = json.loads(
            content.decode("utf-8", "strict"),
            object_pairs_hook=_no_duplicates,
            parse_constant=_no_constant,
            parse_int=parse_int,
        )
    except StrictJsonError:
        raise
    except (ValueError, RecursionError, OverflowError) as error:
        raise StrictJsonError(str(error)) from error
    if content.count(b"[") + content.count(b"{") >= _MAXIMUM_DEPTH and _too_deep(data):
        raise StrictJsonError(f"nested deeper than {_MAXIMUM_DEPTH} levels")
    return data


def canonical_loads(content: bytes) -> Any:
    """Parse JSON that must be in canonical form, byte for byte. Raises StrictJsonError."""
    data = _loads(content, _double_beyond_safe)
    try:
        expected = canonical(data)
    except ValueError as error:
        raise StrictJsonError(f"cannot be written canonically: {error}") from error
    if expected != content:
        raise StrictJsonError("not in RFC 8785 canonical form")
    return data
