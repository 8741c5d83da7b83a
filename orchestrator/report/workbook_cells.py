"""What a cell of the workbook holds: a value, or a status with its colour."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

Value = str | int | float | datetime | None


@dataclass(frozen=True)
class Status:
    """A code of the view: shown in words, with its colour."""

    code: str


@dataclass(frozen=True)
class Table:
    """A sheet: its title and columns as (English, 中文, width in characters)."""

    title: tuple[str, str]
    columns: tuple[tuple[str, str, int], ...]
    rows: Sequence[Sequence[Value | Status]]


def moment(text: str | None) -> datetime | None:
    """A time as Excel knows it: UTC without saying so, which the column's title says."""
    if text is None:
        return None
    return datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None)


def plain(value: object) -> Value:
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return value
    return json.dumps(value, ensure_ascii=False)
