"""Samples of a drill and of the bare tools, compared: medians, spread, ratio, goal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

Parts = Mapping[str, float]
"""One measurement: seconds by the name of what was measured."""


@dataclass(frozen=True)
class Goal:
    """At most `factor` times the bare tools' median, and `extra_seconds` more."""

    factor: float
    extra_seconds: float = 0.0

    def limit(self, bare: float) -> float:
        """The seconds that the goal allows."""
        return self.factor * bare + self.extra_seconds

    def __str__(self) -> str:
        extra = f" + {self.extra_seconds:g} s" if self.extra_seconds else ""
        return f"≤ {self.factor:g} × bare{extra}"


@dataclass(frozen=True)
class Comparison:
    """One line of the table; samples are seconds, `counts` says what they are made of."""

    name: str
    counts: str
    ours: Sequence[float]
    bare: Sequence[float]
    goal: Goal | None = None

    @property
    def ratio(self) -> float:
        """Ours against bare, by the medians."""
        return median(self.ours) / median(self.bare)

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without one."""
        if self.goal is None:
            return None
        return median(self.ours) <= self.goal.limit(median(self.bare))

    def document(self) -> dict[str, Any]:
        """The line as JSON."""
        goal = self.goal and {
            "words": str(self.goal),
            "limit_seconds": self.goal.limit(median(self.bare)),
            "met": self.met,
        }
        return {
            "name": self.name,
            "counts": self.counts,
            "ours": spread(self.ours),
            "bare": spread(self.bare),
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
