"""Geometry of the report's pictures: seconds become coordinates; the template draws them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH = 960.0
LEFT, RIGHT = 190.0, 14.0
ROW = 20.0
_CHARACTER, _CJK = 6.4, 12.0


@dataclass(frozen=True)
class Label:
    """A label below the phases: its box, and the middle of what it points to."""

    text: str
    value: str
    x: float
    width: float
    row: int
    target: float
    tone: int


@dataclass(frozen=True)
class Segment:
    """A phase to scale."""

    x: float
    width: float
    tone: int
    title: str


@dataclass(frozen=True)
class Phases:
    """The RTO, its parts to scale, and labels that never overlap."""

    segments: tuple[Segment, ...]
    labels: tuple[Label, ...]
    height: float


@dataclass(frozen=True)
class Scale:
    """Seconds of a run to x; `ticks` are (x, text)."""

    until: float
    ticks: tuple[tuple[float, str], ...]

    def x(self, seconds: float) -> float:
        """Return the coordinate of a moment, within the picture."""
        share = min(max(seconds / self.until, 0.0), 1.0) if self.until else 0.0
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 2)


def text_width(text: str) -> float:
    """Return about how wide a text is at 12 px."""
    return sum(_CJK if ord(sign) > 0x2E7F else _CHARACTER for sign in text)


def seconds_text(seconds: float) -> str:
    """Return a duration as people read it: `0.30 s`, `14.7 s`, `3 min 20 s`."""
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {round(seconds % 60)} s"


def phases(parts: Sequence[Mapping[str, Any]]) -> Phases | None:
    """Return the picture of the RTO's parts (`name`, `from_seconds`, `seconds`); None without."""
    total = sum(part["seconds"] for part in parts)
    if not parts or total <= 0:
        return None
    segments = []
    for tone, part in enumerate(parts):
        x = part["from_seconds"] / total * WIDTH
        width = max(part["seconds"] / total * WIDTH, 1.0)
        title = f"{part['name']}: {seconds_text(part['seconds'])}"
        segments.append(Segment(round(x, 2), round(width, 2), tone % 8, title))
    texts = [(part["name"], seconds_text(part["seconds"])) for part in parts]
    widths = [max(text_width(name), text_width(value)) + 32 for name, value in texts]
    rows = max(1, math.ceil(sum(widths) / WIDTH))
    labels: list[Label] = []
    for row in range(rows):
        mine = list(range(row, len(parts), rows))
        centres = [segments[i].x + segments[i].width / 2 for i in mine]
        for i, x in zip(mine, _spread(centres, [widths[i] for i in mine]), strict=True):
            target = round(segments[i].x + segments[i].width / 2, 2)
            labels.append(Label(*texts[i], round(x, 2), widths[i], row, target, i % 8))
    return Phases(tuple(segments), tuple(labels), 78.0 + rows * 40)


def _spread(centres: Sequence[float], widths: Sequence[float]) -> list[float]:
    """Left edges near the centres, in order, none over another, all within the picture."""
    edges: list[float] = []
    free = 0.0
    for centre, width in zip(centres, widths, strict=True):
        edges.append(max(free, centre - width / 2))
        free = edges[-1] + width
    limit = WIDTH
    for number in reversed(range(len(edges))):
        edges[number] = min(edges[number], limit - widths[number])
        limit = edges[number]
    return edges


def scale(until: float) -> Scale:
    """Return a scale from 0 to `until` seconds with about eight round ticks."""
    until = max(until, 0.001)
    step = 10 ** math.floor(math.log10(until / 8))
    step = next(step * factor for factor in (1, 2, 5, 10) if until / (step * factor) <= 9)
    digits = max(0, -math.floor(math.log10(step)))
    blank = Scale(until, ())
    marks = [number * step for number in range(int(until / step) + 1)]
    return Scale(until, tuple((blank.x(mark), f"{mark:.{digits}f}") for mark in marks))


def rates(times: Sequence[float], until: float, bins: int = 120) -> tuple[float, list[float]]:
    """Return (seconds a bin, events per second in each bin from 0 to `until`)."""
    width = max(until / bins, 0.5)
    counts = [0] * max(1, math.ceil(until / width))
    last = len(counts) - 1
    for moment in times:
        if 0 <= moment < until:
            place = int(moment / width)
            counts[place if place < last else last] += 1
    return width, [count / width for count in counts]


def area(values: Sequence[float], width: float, axis: Scale, height: float, top: float) -> str:
    """Return the SVG path of a stepped area; `top` is the value at full height."""
    points = [f"M{axis.x(0)} {height}"]
    for number, value in enumerate(values):
        y = round(height - value / top * height, 2) if top else height
        points.append(f"V{y}H{axis.x((number + 1) * width)}")
    return "".join(points) + f"V{height}Z"
