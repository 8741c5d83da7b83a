"""Text as a page can show it: every character has a glyph, and long words can be broken."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

_LONGEST = 3_000
_BREAK = "\N{ZERO WIDTH SPACE}"
_HIDDEN = {"Cc", "Cf", "Co", "Cn", "Cs", "Zl", "Zp"}
# A word that no line can hold; Chinese breaks between any two signs by itself.
_WORD = re.compile(r"[^\s\u2e80-\u9fff\uff00-\uffef]{18,}")
# To be copied as they are, or read by the template: digests and times.
_WHOLE = re.compile(r"(sha256:)?[0-9a-f]{64}|\d{4}-\d\d-\d\dT[0-9:.]+(Z|\+00:00)")
_AFTER = re.compile(r"([/_.:=,;&?@-])(?=[^/_.:=,;&?@-])")
_RUN = re.compile(r"([^\u200b]{20})(?=[^\u200b])")


def shown(value: Any, has: Callable[[str], bool]) -> Any:
    """Return a JSON value with all its texts (not the names of fields) as they can be shown.

    What a text has that `has` denies, or that cannot be seen (controls, marks of direction), is
    written as its number: `‹U+202E›`.
    """
    if isinstance(value, str):
        return _text(value, has)
    if isinstance(value, Mapping):
        return {key: shown(inner, has) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [shown(inner, has) for inner in value]
    return value


def _text(text: str, has: Callable[[str], bool]) -> str:
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]} … ({len(text)} characters, whole in the JSON report)"
    if not (text.isascii() and text.isprintable()):
        text = "".join(_sign(sign, has) for sign in text)
    return _WORD.sub(_breakable, text)


def _sign(sign: str, has: Callable[[str], bool]) -> str:
    if sign in "\n\t":
        return sign if sign == "\n" else " "
    if unicodedata.category(sign) in _HIDDEN or not has(sign):
        return f"‹U+{ord(sign):04X}›"
    return sign


def _breakable(found: re.Match[str]) -> str:
    word = found.group()
    if _WHOLE.fullmatch(word):
        return word
    return _RUN.sub(rf"\1{_BREAK}", _AFTER.sub(rf"\1{_BREAK}", word))
