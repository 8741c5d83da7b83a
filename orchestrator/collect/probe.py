"""A thing that must be refused: how it is tried, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Tried:
    """What came of an attempt; `refused` is None when the answer is no word about it."""

    refused: bool | None
    answer: str
    undone: bool | None = None
    logged: bool | None = None
    applicable: bool = True


@dataclass(frozen=True)
class Probe:
    """One attempt: its subject, who tries what, why success would do no harm, and the act.

    `act` raises InfrastructureError when the attempt could not be made.
    """

    subject: str
    source: str
    attempt: str
    if_it_succeeds: str
    act: Callable[[], Tried]
