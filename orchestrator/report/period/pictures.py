"""The charts of a report over a period as SVG: the same drawing in HTML and PDF.

All text in a picture is ours, a number, a date or the name of a drill; shapes tell what colours
tell.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from xml.sax.saxutils import escape

from orchestrator.model.fact import parse_timestamp
from orchestrator.report.page_tables import number
from orchestrator.report.period.measures import spans
from orchestrator.report.period.tables import code_of, say
from orchestrator.report.period.view import PeriodView, Point, Trend

WIDTH = 960.0
_LEFT, _RIGHT = 62.0, 12.0
_TOP, _HEIGHT = 30.0, 106.0
_ROW, _NAMES = 22.0, 170.0
_FONT = "Noto Sans CJK SC, Noto Sans, sans-serif"
_INK, _SOFT, _RULE, _GRID = "#1c2430", "#56616f", "#9aa4b1", "#e3e7eb"
_GOOD, _BAD, _UNKNOWN = "#14603a", "#a3211a", "#7a4e00"
_DASHED = f'fill="none" stroke="{_INK}" stroke-width="1.4" stroke-dasharray="6 4"'
_MANY = 60
_NAME = re.compile(r"[^a-z0-9-]")
_LABEL = re.compile(r'["<>&]')

Mark = tuple[str, str]
"""(shape, colour)."""
_MARKS: dict[str, Mark] = {
    "pass": ("circle", _GOOD),
    "met": ("circle", _GOOD),
    "fail": ("cross", _BAD),
    "over": ("cross", _BAD),
    "inconclusive": ("triangle", _UNKNOWN),
    "unknown": ("triangle", _UNKNOWN),
    "measured": ("circle", "#2b5c94"),
    "missed-run": ("diamond", _BAD),
    "missing-run": ("square", _BAD),
    "unfinished": ("square", _UNKNOWN),
    "removed": ("dash", _SOFT),
    "pending": ("dash", _SOFT),
}
_ORDER = tuple(_MARKS)
_LEGENDS = {
    "met": ("target met", "达标"),
    "over": ("target missed", "未达标"),
    "measured": ("measured, no target", "实测，无目标"),
    "unknown": ("not observed", "未观测到"),
    "pass": ("passed", "通过"),
    "fail": ("failed", "未通过"),
    "inconclusive": ("inconclusive", "无法判定"),
    "missed-run": ("not begun in time", "错过"),
    "missing-run": ("never ran", "从未执行"),
    "unfinished": ("unfinished", "未完成"),
    "removed": ("removed after its retention", "到期清除"),
    "pending": ("outside of the period", "不在本期"),
}


def trend(one: Trend, since: str, until: str, lang: str) -> str:
    """Return the chart of a measurement: time to the right, the target as a dashed line."""
    values = [point.value for point in one.points if point.value is not None]
    targets = [point.target for point in one.points if point.target is not None]
    ticks = _ticks(max([*values, *targets], default=0.0))
    top = ticks[-1] or 1.0
    axis = _Axis(parse_timestamp(since), parse_timestamp(until), _LEFT)

    def y(value: float) -> float:
        return round(_TOP + _HEIGHT * (1 - value / top), 2)

    marked = [(_mark_of(point), point) for point in one.points]
    drawn = [
        *(_level(tick, y(tick)) for tick in ticks),
        *_months(axis, _TOP, _TOP + _HEIGHT),
        _line(axis.left, y(0), WIDTH - _RIGHT, y(0), _RULE),
        *_path(one.points, axis, y),
        *_target_line(one.points, axis, y),
    ]
    size = 4.2 if len(one.points) <= _MANY else 2.4
    for name, point in marked:
        height = y(point.value) if point.value is not None else _TOP + _HEIGHT - size
        drawn.append(_mark(name, axis.x(point.at), height, size))
    names = list(dict.fromkeys(name for name, _ in marked))
    drawn += _legend([name for name in _MARKS if name in names], lang, bool(targets))
    return _svg(_TOP + _HEIGHT + 24, drawn, f"{one.drill} {one.measure}")


def calendar(view: PeriodView, lang: str) -> str:
    """Return every run and every gap of the period, a row a drill; empty without any."""
    events: dict[str, list[tuple[str, str]]] = {}
    for slot in view.slots:
        events.setdefault(slot.drill, []).append((slot.due_at, code_of(slot.state)))
    due = {slot.run_id for slot in view.slots}
    for run in view.runs:
        if run.run_id not in due:
            events.setdefault(run.drill, []).append((run.started_at, code_of(run.verdict)))
    for one in view.attention:
        if one.kind in {"unfinished", "removed"} and one.about not in due:
            events.setdefault(one.drill, []).append((one.at, one.kind))
    if not events:
        return ""
    axis = _Axis(parse_timestamp(view.since), parse_timestamp(view.until), _NAMES)
    bottom = _TOP + _ROW * len(events)
    drawn = list(_months(axis, _TOP, bottom))
    for row, (drill, found) in enumerate(sorted(events.items())):
        y = _TOP + _ROW * (row + 0.5)
        drawn.append(_line(axis.left, y, WIDTH - _RIGHT, y, _GRID))
        drawn.append(_text(axis.left - 10, y + 4, _NAME.sub("?", drill)[:26], anchor="end"))
        size = 4.2 if len(found) <= _MANY else 2.8
        # What is wrong is drawn last, so that nothing hides it.
        for at, name in sorted(found, key=lambda one: _ORDER.index(one[1])):
            drawn.append(_mark(name, axis.x(at), y, size))
    names = {name for found in events.values() for _, name in found}
    drawn += _legend([name for name in _MARKS if name in names], lang, target=False)
    return _svg(bottom + 24, drawn, say(lang, "Calendar of the drills", "演练日历"))


class _Axis:
    """Times of the period to x."""

    def __init__(self, since: datetime, until: datetime, left: float) -> None:
        self.since, self.until, self.left = since, until, left

    def x(self, at: str | datetime) -> float:
        moment = parse_timestamp(at) if isinstance(at, str) else at
        whole = (self.until - self.since).total_seconds()
        share = (moment - self.since).total_seconds() / whole if whole > 0 else 0.0
        return round(self.left + min(max(share, 0.0), 1.0) * (WIDTH - _RIGHT - self.left), 2)


def _months(axis: _Axis, top: float, bottom: float) -> Iterator[str]:
    """Vertical lines at round dates: days, weeks or months, by how long the period is."""
    whole = axis.until - axis.since
    if whole <= timedelta(days=62):
        step = timedelta(days=1 if whole <= timedelta(days=10) else 7)
        marks = []
        at = axis.since
        while at < axis.until:
            marks.append((at, f"{at:%m-%d}"))
            at += step
    else:
        found = list(spans(axis.since, axis.until))
        every = math.ceil(len(found) / 13)
        marks = [(begin, name) for name, begin, _ in found][::every]
    for at, name in marks:
        x = axis.x(at)
        yield _line(x, top, x, bottom, _GRID)
        yield _text(x + 3, bottom + 15, name, fill=_SOFT)


def _ticks(most: float) -> list[float]:
    """Return about four round levels from 0 up to `most` or above."""
    if most <= 0:
        return [0.0, 1.0]
    step = 10.0 ** math.floor(math.log10(most / 4))
    step = next(step * factor for factor in (1, 2, 5, 10) if most / (step * factor) <= 5)
    return [round(n * step, 10) for n in range(math.ceil(most * 1.04 / step) + 1)]


def _level(value: float, y: float) -> str:
    return _line(_LEFT, y, WIDTH - _RIGHT, y, _GRID) + _text(
        _LEFT - 8, y + 4, number(value), anchor="end", fill=_SOFT
    )


def _target_line(
    points: Sequence[Point], axis: _Axis, y: Callable[[float], float]
) -> Iterator[str]:
    """The target in steps: it holds from the run that had it to the next with another."""
    held: list[tuple[float, float]] = []
    for point in points:
        if point.target is not None:
            height = y(point.target)
            x = axis.x(point.at)
            if held and held[-1][1] != height:
                held.append((x, held[-1][1]))
            held.append((x if held else axis.left, height))
    if held:
        held.append((WIDTH - _RIGHT, held[-1][1]))
        path = "M" + "L".join(f"{x} {height}" for x, height in held)
        yield f'<path d="{path}" {_DASHED}/>'


def _mark_of(point: Point) -> str:
    if point.value is None:
        return "unknown"
    if point.target is None:
        return "measured"
    return "met" if point.value <= point.target else "over"


def _mark(name: str, x: float, y: float, size: float) -> str:
    shape, colour = _MARKS[name]
    s = round(size, 2)
    if shape == "circle":
        return f'<circle cx="{x}" cy="{y}" r="{s}" fill="{colour}"/>'
    if shape == "cross":
        path = _shape((x - s, y - s), (x + s, y + s)) + _shape((x + s, y - s), (x - s, y + s))
        return f'<path d="{path}" stroke="{colour}" stroke-width="2.2" fill="none"/>'
    if shape == "triangle":
        path = _shape((x, y - s), (x + s, y + s), (x - s, y + s)) + "Z"
        return f'<path d="{path}" fill="#ffffff" stroke="{colour}" stroke-width="1.5"/>'
    if shape == "diamond":
        r = s + 1
        path = _shape((x, y - r), (x + r, y), (x, y + r), (x - r, y)) + "Z"
        return f'<path d="{path}" fill="#ffffff" stroke="{colour}" stroke-width="1.8"/>'
    if shape == "square":
        return (
            f'<rect x="{x - s:.2f}" y="{y - s:.2f}" width="{2 * s}" height="{2 * s}" '
            f'fill="#ffffff" stroke="{colour}" stroke-width="2"/>'
        )
    return _line(x - s, y, x + s, y, colour, width=2.0)


def _shape(*points: tuple[float, float]) -> str:
    return "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in points)


def _legend(names: Sequence[str], lang: str, target: bool) -> Iterator[str]:
    x = _LEFT
    for name in names:
        text = say(lang, *_LEGENDS[name])
        yield _mark(name, x + 5, 8, 4.2)
        yield _text(x + 15, 12, text)
        x += 32 + _length(text)
    if target:
        yield f'<path d="M{x} 8H{x + 24}" {_DASHED}/>'
        yield _text(x + 30, 12, say(lang, "target", "目标"))


def _length(text: str) -> float:
    return sum(12.0 if ord(sign) > 0x2E7F else 6.6 for sign in text)


def _path(points: Sequence[Point], axis: _Axis, y: Callable[[float], float]) -> Iterator[str]:
    """A line from run to run. Where a run did not measure, it is broken."""
    path, begun = "", False
    for point in points:
        if point.value is not None:
            path += f"{'L' if begun else 'M'}{axis.x(point.at)} {y(point.value)}"
        begun = point.value is not None
    if "L" in path:
        yield f'<path d="{path}" fill="none" stroke="{_RULE}" stroke-width="1"/>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, *, width: float = 1.0) -> str:
    return (
        f'<line x1="{x1:.2f}" y1="{y1:.2f}" x2="{x2:.2f}" y2="{y2:.2f}" stroke="{colour}" '
        f'stroke-width="{width}"/>'
    )


def _text(x: float, y: float, text: str, *, anchor: str = "start", fill: str = _INK) -> str:
    return (
        f'<text x="{x:.2f}" y="{y:.2f}" text-anchor="{anchor}" fill="{fill}" font-size="12" '
        f'font-family="{_FONT}">{escape(text)}</text>'
    )


def _svg(height: float, drawn: Sequence[str], label: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {height:g}" role="img" '
        f'aria-label="{escape(_LABEL.sub("?", label))}">{"".join(drawn)}</svg>'
    )
