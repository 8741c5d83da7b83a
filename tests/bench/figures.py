"""Samples of a drill and of the bare tools, compared: medians, spread, ratio, goal."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

Parts = Mapping[str, float]
"""One measurement: seconds by the name of what was measured."""


@dataclass(frozen=True)
class Goal:
    """At most `factor` times the bare tools' median, and `extra_seconds` more.

    With factor 0 the seconds alone: for what no bare tool does.
    """

    factor: float
    extra_seconds: float = 0.0

    def limit(self, bare: float) -> float:
        """The seconds that the goal allows."""
        return self.factor * bare + self.extra_seconds

    def __str__(self) -> str:
        if not self.factor:
            return f"≤ {self.extra_seconds:g} s"
        extra = f" + {self.extra_seconds:g} s" if self.extra_seconds else ""
        return f"≤ {self.factor:g} × bare{extra}"


@dataclass(frozen=True)
class Comparison:
    """One line of the table; samples are seconds, `counts` says what they are made of.

    `bare` is empty where no bare tool does it. With `percentile` that one of ours is held against
    the goal, else the median.
    """

    name: str
    counts: str
    ours: Sequence[float]
    bare: Sequence[float]
    goal: Goal | None = None
    percentile: int = 50

    @property
    def ratio(self) -> float | None:
        """Ours against bare, by the medians; None without bare."""
        return median(self.ours) / median(self.bare) if self.bare else None

    @property
    def judged(self) -> float:
        """The seconds that are held against the goal."""
        return median(self.ours) if self.percentile == 50 else self.nearest_rank(self.percentile)

    @property
    def limit(self) -> float | None:
        """The seconds that the goal allows; None without one."""
        return self.goal and self.goal.limit(median(self.bare) if self.bare else 0.0)

    def nearest_rank(self, percentile: int) -> float:
        """That percentile of ours, by the nearest-rank method: always one of the samples."""
        return sorted(self.ours)[max(0, math.ceil(percentile / 100 * len(self.ours)) - 1)]

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without one."""
        return None if self.limit is None else self.judged <= self.limit

    def document(self) -> dict[str, Any]:
        """The line as JSON."""
        goal = self.goal and {
            "words": str(self.goal),
            "limit_seconds": self.limit,
            "percentile": self.percentile,
            "judged_seconds": self.judged,
            "met": self.met,
        }
        return {
            "name": self.name,
            "counts": self.counts,
            "ours": spread(self.ours),
            "bare": spread(self.bare) if self.bare else None,
            "ratio": self.ratio,
            "goal": goal,
        }


def spread(samples: Sequence[float]) -> dict[str, Any]:
    """Median, least, most, and the samples themselves (seconds)."""
    return {
        "median_seconds": median(samples),
        "min_seconds": min(samples),
        "max_seconds": max(samples),
        "samples_seconds": list(samples),
    }


def medians(samples: Sequence[Parts]) -> dict[str, float]:
    """The median of each part."""
    return {name: median(one[name] for one in samples) for name in samples[0]}


def alternate(
    runs: int,
    ours: Callable[[], Parts],
    bare: Callable[[], Parts],
    say: Callable[[str], None],
) -> tuple[list[Parts], list[Parts]]:
    """Measure both `runs` times, now the one first, now the other."""
    found: dict[str, list[Parts]] = {"ours": [], "bare": []}
    pair = [("ours", ours), ("bare", bare)]
    for number in range(runs):
        for name, measure in pair if number % 2 == 0 else reversed(pair):
            parts = measure()
            found[name].append(parts)
            shown = ", ".join(f"{part} {seconds:.3f}" for part, seconds in parts.items())
            say(f"  {number + 1}/{runs} {name}: {shown} s")
    return found["ours"], found["bare"]
