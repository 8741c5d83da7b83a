"""How one system is asked for its rights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.model.access import Right


@dataclass(frozen=True)
class Look:
    """One system: as whom and what it is asked; `ask` returns its rights and a count of rows."""

    subject: str
    source: str
    query: str
    ask: Callable[[], tuple[list[Right], int]]
