"""What a policy of the secret manager grants, by its text (HCL or JSON): pure.

The manual's "Policies" (Vault): a block `path "…" { capabilities = […] }` for each path, `*` at its
end for all that begins so, `+` for one segment.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

_COMMENT = re.compile(r'("(?:[^"\\]|\\.)*")|#[^\n]*|//[^\n]*|/\*.*?\*/', re.DOTALL)
_PATH = re.compile(r'\bpath\s+"([^"]+)"\s*\{')
_CAPABILITIES = re.compile(r"\bcapabilities\s*=\s*\[([^\]]*)\]")
_OLD = re.compile(r'\bpolicy\s*=\s*"(\w+)"')
# What the former keyword `policy` stood for.
_OLD_CAPABILITIES = {
    "deny": ("deny",),
    "read": ("read", "list"),
    "write": ("create", "read", "update", "delete", "list"),
    "sudo": ("create", "read", "update", "delete", "list", "sudo"),
}


@dataclass(frozen=True)
class Grant:
    """A path, perhaps with wildcards, and the capabilities on it."""

    path: str
    capabilities: tuple[str, ...]

    @property
    def is_denial(self) -> bool:
        """Whether it takes rights away."""
        return "deny" in self.capabilities

    @property
    def is_everything(self) -> bool:
        """Whether its path stands for every path of the server."""
        return self.path in {"*", "/*", "+/*", "sys/*", "auth/*"}


def grants(text: str) -> list[Grant]:
    """Return what a policy grants, in its order. Raises ValueError for what cannot be read."""
    if text.lstrip().startswith("{"):
        rules = json.loads(text).get("path", {})
        return [
            _grant(path, one.get("capabilities"), one.get("policy")) for path, one in rules.items()
        ]
    bare = _COMMENT.sub(lambda found: found[1] or "", text)
    found = []
    for start in _PATH.finditer(bare):
        body = _block(bare, start.end())
        listed, old = _CAPABILITIES.search(body), _OLD.search(body)
        capabilities = re.findall(r'"(\w+)"', listed[1]) if listed else None
        found.append(_grant(start[1], capabilities, old[1] if old else None))
    if len(found) != len(re.findall(r"\bpath\b(?=\s*\")", bare)):
        raise ValueError("a path of it could not be read")
    return found


def _grant(path: str, capabilities: list[str] | None, old: str | None) -> Grant:
    if capabilities is not None:
        return Grant(path, tuple(capabilities))
    if old in _OLD_CAPABILITIES:
        return Grant(path, _OLD_CAPABILITIES[old])
    raise ValueError(f"path {path} has no capabilities")


def _block(text: str, start: int) -> str:
    """The inside of the braces that were opened before `start`."""
    depth = 1
    for end in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        if not depth:
            return text[start:end]
    raise ValueError("a brace is not closed")
