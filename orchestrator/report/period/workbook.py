"""The workbook of a period: its tables to filter and sort, charts of its trends."""

from __future__ import annotations

import re
from collections.abc import Sequence

from openpyxl.chart import Reference, ScatterChart, Series
from openpyxl.chart.legend import Legend
from openpyxl.chart.marker import Marker
from openpyxl.styles import Font
from openpyxl.worksheet.worksheet import Worksheet

from orchestrator.report.labels import LANGUAGES
from orchestrator.report.period import measured_tables, tables
from orchestrator.report.period.content import Content, content_of
from orchestrator.report.period.tables import say
from orchestrator.report.period.view import PeriodView, Trend
from orchestrator.report.workbook import fill, set_page, write
from orchestrator.report.workbook_cells import Status, Table, Value, moment
from orchestrator.report.xlsx import new_workbook, text, to_bytes

_FORBIDDEN = re.compile(r"[\[\]:*?/\\'\x00-\x1f]")
_LONGEST = 31  # characters of a sheet's name, as Excel has it
_MEASURES = ("rto_seconds", "rpo_seconds")
_CHART_ROWS = 18


def render_workbook(view: PeriodView, lang: str = "en") -> bytes:
    """Return the workbook of a period in a language; the same period gives the same bytes."""
    content = content_of(view, lang)
    book, sheet = new_workbook()
    names: set[str] = set()
    sheet.title = _name(say(lang, "Overview", "概览"), names)
    _overview(sheet, content, lang)
    for table in _tables(view, content, lang):
        fill(book.create_sheet(_name(table.title[LANGUAGES.index(lang)], names)), table, lang)
    for name in _MEASURES:
        shown = [one for one in view.trends if one.measure == name and one.points]
        if shown:
            title = say(
                lang,
                *{"rto_seconds": ("RTO trend", "RTO 趋势")}.get(name, ("RPO trend", "RPO 趋势")),
            )
            _trend(book.create_sheet(_name(title, names)), shown, lang)
    return to_bytes(book)


def _tables(view: PeriodView, content: Content, lang: str) -> list[Table]:
    """The report's tables; runs and controls in one table each, to filter, and every due run."""
    apart = {one.title for one in (*tables.runs_by_drill(view, lang), *tables.controls(view, lang))}
    found = [
        one for section in content.sections for one in section.tables if one.title not in apart
    ]
    runs = Table(
        ("Runs", "演练"),
        (("Drill", "演练", 24), ("Tier", "等级", 12), *tables.RUN_COLUMNS, ("Reasons", "原因", 60)),
        [
            (run.drill, run.tier, *tables.run_row(run, lang), "\n".join(run.reasons))
            for run in view.runs
        ],
    )
    controls = Table(
        ("Controls", "控制项"),
        (("Catalogue", "目录", 36), ("Edition", "版本", 12), *tables.CONTROL_COLUMNS),
        [
            (one.source, one.edition, *tables.control_row(control, lang))
            for one in view.coverage
            for control in one.controls
        ],
    )
    return [*found, runs, *([controls] if view.kind == "period" else []), tables.slots(view, lang)]


def _name(title: str, names: set[str]) -> str:
    """A name for a sheet that Excel takes, and that no other has."""
    base = _FORBIDDEN.sub(" ", text(title)).strip()[:_LONGEST] or "-"
    name, number = base, 2
    while name.lower() in names:
        ending = f" {number}"
        name, number = base[: _LONGEST - len(ending)] + ending, number + 1
    names.add(name.lower())
    return name


def _overview(sheet: Worksheet, content: Content, lang: str) -> None:
    for letter, width in zip("ABCD", (38, 34, 44, 70), strict=True):
        sheet.column_dimensions[letter].width = width
    rows: list[Sequence[Value | Status]] = [(content.title,)]
    rows += content.about
    for panel in content.panels:
        rows += [(panel.question, Status(panel.code), panel.told)]
        rows += [(None, Status(code), count) for count, code in panel.counts]
    rows.append((say(lang, "Not to be overlooked", "不可忽视的事项"),))
    rows += [(Status(code), count) for count, code in content.attention]
    rows += [(status, title, about, told) for status, title, about, told in content.urgent]
    if content.more_attention:
        rows.append(
            (say(lang, "And more, on the next sheet", "另有，见下一工作表"), content.more_attention)
        )
    rows.append((say(lang, "What to do", "待办事项"),))
    rows += [(n, told) for n, told in enumerate(content.actions, start=1)]
    if content.more_actions:
        rows.append(
            (say(lang, "And more, on their sheet", "另有，见其工作表"), content.more_actions)
        )
    rows.append((say(lang, "Last result of each drill", "各项演练的最近结果"),))
    rows += [
        (one.title, one.status, one.at, f"RTO {one.rto}; RPO {one.lost}; {one.note}".rstrip("; "))
        for one in content.drills
    ]
    for number, row in enumerate(rows, start=1):
        for column, value in enumerate(row, start=1):
            write(sheet, number, column, value, lang)
        first = sheet.cell(number, 1)
        if not isinstance(row[0], Status):
            size = 16 if number == 1 else 12 if len(row) == 1 else 11
            first.font = Font(bold=True, size=size)
    sheet.freeze_panes = "A2"
    set_page(sheet)


def _trend(sheet: Worksheet, shown: Sequence[Trend], lang: str) -> None:
    """The points of every drill below each other, with a chart of each beside them."""
    rows = [
        (one.drill, moment(point.at), point.value, point.target, point.run_id)
        for one in shown
        for point in one.points
    ]
    columns = (
        ("Drill", "演练", 24),
        ("Began (UTC)", "开始（UTC）", 19),
        ("Measured", "实测", 11),
        ("Target ≤", "目标 ≤", 11),
        ("Run", "演练编号", 36),
    )
    fill(sheet, Table(("", ""), columns, rows), lang)
    begin = 2
    for number, one in enumerate(shown):
        end = begin + len(one.points) - 1
        sheet.add_chart(_chart(sheet, one, begin, end, lang), f"G{2 + number * _CHART_ROWS}")
        begin = end + 1


def _chart(sheet: Worksheet, one: Trend, begin: int, end: int, lang: str) -> ScatterChart:
    chart = ScatterChart()
    chart.title = f"{one.drill}: {say(lang, *measured_tables.MEASURES[one.measure])}"
    chart.style = 2
    chart.height, chart.width = 8.5, 20.0  # type: ignore[assignment]  # cm
    chart.scatterStyle = "lineMarker"
    times = Reference(sheet, min_col=2, min_row=begin, max_row=end)
    for column, name, dashed in (
        (3, say(lang, "Measured", "实测"), False),
        (4, say(lang, "Target", "目标"), True),
    ):
        series = Series(
            Reference(sheet, min_col=column, min_row=begin, max_row=end), times, title=name
        )
        series.smooth = False
        if dashed:
            series.marker = Marker("none")
            series.graphicalProperties.line.dashStyle = "dash"
            series.graphicalProperties.line.solidFill = "1C2430"
        else:
            series.marker = Marker("circle", size=5)
            series.graphicalProperties.line.solidFill = "9AA4B1"
        chart.series.append(series)
    chart.x_axis.number_format = "yyyy-mm-dd"
    chart.x_axis.delete = chart.y_axis.delete = False
    chart.y_axis.scaling.min = 0
    chart.legend = Legend(legendPos="b")
    return chart
