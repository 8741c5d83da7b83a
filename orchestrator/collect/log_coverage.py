"""How far back an audit log reaches, against how far it must: pure.

A log must reach back to the creation of what it watches, or over its retention if that is
shorter. So a young environment is judged truthfully: what was never there cannot be missing, but
nothing younger than the retention may have been deleted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

from orchestrator.model.fact import timestamp


@dataclass(frozen=True)
class Coverage:
    """When the watched system was made, the oldest entry (None: unreadable), the retention."""

    created_at: datetime
    oldest_entry_at: datetime | None
    retention_days: int

    def to_data(self, now: datetime) -> dict[str, Any]:
        """Return the fields of a fact; `uncovered_hours` is null when no entry could be read."""
        must = max(self.created_at, now - timedelta(days=self.retention_days))
        oldest = self.oldest_entry_at
        hours = None if oldest is None else max(oldest - must, timedelta(0)) / timedelta(hours=1)
        return {
            "retention_days": self.retention_days,
            "created_at": timestamp(self.created_at),
            "must_reach_back_to": timestamp(must),
            "oldest_entry_at": timestamp(oldest) if oldest else None,
            "uncovered_hours": None if hours is None else round(hours, 2),
        }


def gaps(days: Sequence[date]) -> list[tuple[date, date]]:
    """Return the pairs of neighbours between which a day is missing, in order."""
    ordered = sorted(set(days))
    return [
        (before, after) for before, after in pairwise(ordered) if after - before > timedelta(days=1)
    ]
