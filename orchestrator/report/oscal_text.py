"""Text as OSCAL's data types want it: no control characters, no markup that was not meant.

Data types: https://pages.nist.gov/OSCAL/reference/datatypes/
"""

from __future__ import annotations

import re

NAMESPACE = "https://anlan.dev/ns/oscal"
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_MARKUP = re.compile(r"([\\`*\[\]<>{}~^])")


def string(text: str) -> str:
    """Return a StringDatatype: one line, neither empty nor with space at its ends."""
    return " ".join(_CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text).split()) or "-"


def line(text: str) -> str:
    """Return a MarkupLineDatatype that shows the text as it is."""
    return _MARKUP.sub(r"\\\1", string(text))


def lines(text: str) -> str:
    """Return a MarkupMultilineDatatype that shows the text as it is, a paragraph a line."""
    return "\n\n".join(line(one) for one in text.splitlines() if one.strip()) or "-"


def prop(name: str, value: str, remarks: str = "") -> dict[str, str]:
    """Return a property of our namespace."""
    found = {"name": re.sub(r"[^\w.-]", "-", name), "ns": NAMESPACE, "value": string(value)}
    return {**found, "remarks": lines(remarks)} if remarks else found
