"""report.xlsx: the tables of a run to filter and to sort, with numbers and times as such."""

from __future__ import annotations

from datetime import datetime

from openpyxl.styles import Alignment, Border, Font, PatternFill, Side
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.properties import PageSetupProperties
from openpyxl.worksheet.worksheet import Worksheet

from orchestrator.report.labels import LANGUAGES, word
from orchestrator.report.view import View
from orchestrator.report.workbook_cells import Status, Table, Value
from orchestrator.report.workbook_overview import overview
from orchestrator.report.workbook_tables import tables
from orchestrator.report.xlsx import new_workbook, put, to_bytes

_TIME = "yyyy-mm-dd hh:mm:ss"
_HEAD = PatternFill("solid", fgColor="FF1F3A5F")
_TONES = {
    "bad": ("FF9C1C14", "FFFBE3E1"),
    "unknown": ("FF7A4E00", "FFFDF1D6"),
    "good": ("FF14603A", "FFE4F3EA"),
}
_BAD = {"fail", "failed", "not-satisfied", "not-compliant", "missed"}
_BAD |= {"missing-run", "missed-run", "not-recoverable", "programme-broken", "not-passed-since"}
_UNKNOWN = {"unknown", "expired", "inconclusive", "not_run", "not-proven", "not-judged"}
_UNKNOWN |= {"unreachable", "denied", "unfinished", "waived", "no-evidence"}
_UNKNOWN |= {"recovery-not-proven", "not-drilled", "programme-unknown"}
_GOOD = {"pass", "done", "satisfied", "compliant", "met", "observed"}
_GOOD |= {"recoverable", "programme-kept"}
_THIN = Border(bottom=Side("thin", color="FFD5DAE1"))


def render_workbook(view: View, lang: str = "en") -> bytes:
    """Return the workbook of a run in a language; the same run gives the same bytes."""
    book, sheet = new_workbook()
    sheet.title = ("Overview", "概览")[LANGUAGES.index(lang)]
    _fill_overview(sheet, view, lang)
    for table in tables(view, lang):
        fill(book.create_sheet(table.title[LANGUAGES.index(lang)]), table, lang)
    return to_bytes(book)


def _fill_overview(sheet: Worksheet, view: View, lang: str) -> None:
    for letter, width in zip("ABCD", (38, 60, 18, 16), strict=True):
        sheet.column_dimensions[letter].width = width
    for row, cells in enumerate(overview(view, lang), start=1):
        heading = len(cells) == 1
        for column, value in enumerate(cells, start=1):
            write(sheet, row, column, value, lang)
        first = sheet.cell(row, 1)
        first.font = Font(bold=True, size=16 if row == 1 else 12 if heading else 11)
    sheet.freeze_panes = "A4"
    set_page(sheet)


def fill(sheet: Worksheet, table: Table, lang: str) -> None:
    """Write a table: a head that stays, a filter, values by their types."""
    for column, (english, chinese, width) in enumerate(table.columns, start=1):
        cell = put(sheet, 1, column, (english, chinese)[LANGUAGES.index(lang)])
        cell.font, cell.fill = Font(bold=True, color="FFFFFFFF"), _HEAD
        cell.alignment = Alignment(wrap_text=True, vertical="center")
        sheet.column_dimensions[get_column_letter(column)].width = width
    for row, cells in enumerate(table.rows, start=2):
        for column, value in enumerate(cells, start=1):
            write(sheet, row, column, value, lang)
    last = get_column_letter(len(table.columns))
    sheet.freeze_panes = "B2"
    sheet.auto_filter.ref = f"A1:{last}{len(table.rows) + 1}"
    sheet.print_title_rows = "1:1"
    set_page(sheet)


def set_page(sheet: Worksheet) -> None:
    """Make it print on A4, as wide as the page."""
    sheet.page_setup.orientation = "landscape"
    sheet.page_setup.paperSize = 9  # A4
    sheet.page_setup.fitToHeight = 0
    sheet.sheet_properties.pageSetUpPr = PageSetupProperties(fitToPage=True)


def write(sheet: Worksheet, row: int, column: int, value: Value | Status, lang: str) -> None:
    """Write one value by its type; None leaves the cell empty."""
    if value is None:
        return
    if isinstance(value, Status):
        cell = put(sheet, row, column, word(value.code, lang))
        tone = tone_of(value.code)
        if tone:
            colour, wash = _TONES[tone]
            cell.font = Font(bold=True, color=colour)
            cell.fill = PatternFill("solid", fgColor=wash)
    elif isinstance(value, str):
        cell = put(sheet, row, column, value)
        # Shown as text also after somebody edits the cell.
        cell.quotePrefix = value[:1] in tuple("=+-@")
    else:
        cell = sheet.cell(row, column, value)
        if isinstance(value, datetime):
            cell.number_format = _TIME
        elif isinstance(value, float):
            cell.number_format = "#,##0.00"
        else:
            cell.number_format = "#,##0"
    horizontal = None if isinstance(value, (str, Status)) else "right"
    cell.alignment = Alignment(wrap_text=True, vertical="top", horizontal=horizontal)
    cell.border = _THIN


def tone_of(code: str) -> str:
    """Return `bad`, `unknown` or `good`; empty for a code that is none of them."""
    if code in _BAD:
        return "bad"
    return "unknown" if code in _UNKNOWN else "good" if code in _GOOD else ""
