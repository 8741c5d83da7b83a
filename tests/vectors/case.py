"""One case of the vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Case:
    """A bundle, how it is verified, and the answer; `code` names what was done to it.

    `trust` are files, or names of keys in `keys/`. `options` are those of `anlan evidence verify`.
    """

    name: str
    content: bytes
    status: str
    code: str | None = None
    number: int | None = None
    trust: tuple[str, ...] = ("environment",)
    options: Mapping[str, str] = field(default_factory=dict)
    same_as: str = ""

    @property
    def file(self) -> str:
        """Where the bundle is; that of another case when only the options differ."""
        return f"bundles/{self.same_as or self.name}.zip"

    @property
    def trusted(self) -> list[str]:
        """The files to trust."""
        return [name if "/" in name else f"keys/{name}.pub" for name in self.trust]
