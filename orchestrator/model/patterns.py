"""Regular expressions that others wrote: only those whose search cannot run away."""

from __future__ import annotations

import re
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

from orchestrator.model.errors import InputError

MOST_CHARACTERS = 200
MOST_REPEATS = 3
_REPEATS = {codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT}
_SIMPLE = {codes.LITERAL, codes.NOT_LITERAL, codes.IN, codes.ANY}
_ONCE = {*_SIMPLE, codes.AT}


def check_pattern(pattern: str, *, path: str = "") -> None:
    """Return if the time of a search is bounded by a small power of the text's length.

    What is repeated must be one character of a kind, and that at most three times in a pattern:
    `(a+)+` and `(a|aa)*` would double the time with each character. Raises InputError.
    """
    todo = "say it by simpler patterns: repeat single characters or classes, three times at most"
    if len(pattern) > MOST_CHARACTERS:
        raise InputError(f"a pattern of {len(pattern)} characters is too long", todo, path=path)
    try:
        parsed = parser.parse(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise InputError(f"{pattern!r} is no regular expression: {error}", path=path) from error
    try:
        repeats = _repeats(parsed)
    except ValueError as error:
        raise InputError(f"pattern {pattern!r}: {error}", todo, path=path) from error
    if repeats > MOST_REPEATS:
        raise InputError(f"pattern {pattern!r} repeats {repeats} times", todo, path=path)


def _repeats(parsed: Any) -> int:
    """How many repeats there are. Raises ValueError for what may run away."""
    found = 0
    for code, argument in parsed:
        if code in _ONCE:
            continue
        if code in _REPEATS:
            least, most, inner = argument
            if most == 1 and least in (0, 1):
                found += _repeats(inner)
            elif len(inner) == 1 and inner[0][0] in _SIMPLE:
                found += 1
            else:
                raise ValueError("repeats a group")
        elif code is codes.SUBPATTERN:
            found += _repeats(argument[3])
        elif code is codes.BRANCH:
            found += sum(_repeats(part) for part in argument[1])
        else:
            raise ValueError(f"{str(code).lower()} is not allowed")
    return found
