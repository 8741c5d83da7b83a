"""A login whose password does not show when it is printed or logged."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Credentials:
    """A username and its password."""

    username: str
    password: str = field(repr=False)
