"""The sheet of an access review (XLSX): one sheet a system, one line a right, and decisions back.

The same rights give the same bytes. What a reviewer may write is in the last three columns alone;
reading compares every other cell with what the sheet of the same rights holds.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from openpyxl import load_workbook
from openpyxl.styles import Alignment, Font, PatternFill
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.datavalidation import DataValidation
from openpyxl.worksheet.worksheet import Worksheet

from orchestrator.model.access import Right, rights_digest
from orchestrator.model.canonical import digest
from orchestrator.model.errors import InputError, Refused
from orchestrator.report.xlsx import new_workbook, put, text, to_bytes

HEADER = (
    "No.",
    "Principal 主体",
    "Kind 类别",
    "Resource 资源",
    "By 途径",
    "May 权限",
    "Decision 决定",
    "Comment 备注",
    "Reviewer 复核人",
)
_WIDTHS = (6, 30, 14, 46, 26, 46, 14, 36, 20)
_DECISION, _COMMENT, _REVIEWER = 7, 8, 9
_WORDS = ("keep", "remove")
_COVER = "Review 复核"
_HELP = (
    "Decide on every line: keep or remove, and say who decided. Filter as you like; do not sort, "
    "and leave the other columns as they are.",
    "对每一行作出决定：keep（保留）或 remove（移除），并填写复核人。"
    "可以筛选，请勿排序或改动其他列。",
    "Then: anlan access sign-off ENV --sheet FILE --key KEY",
)


@dataclass(frozen=True)
class System:
    """One system of the sheet: the subject of its fact, the name of its sheet, its rights."""

    subject: str
    name: str
    rights: Sequence[Right]


@dataclass(frozen=True)
class Line:
    """What a reviewer said about one right."""

    right: Right
    word: str
    comment: str
    reviewer: str


def rights_id(systems: Sequence[System]) -> str:
    """Return the digest of all rights, which a sheet names: it is for these and no others."""
    return digest({one.subject: rights_digest(one.rights) for one in systems})


def write_sheet(environment: str, systems: Sequence[System]) -> bytes:
    """Return the workbook for the reviewer; the same bytes for the same rights."""
    book, cover = new_workbook()
    cover.title = _COVER
    for row, cells in enumerate(_cover(environment, systems), start=1):
        for column, value in enumerate(cells, start=1):
            put(cover, row, column, value)
    cover.column_dimensions["A"].width = 28
    cover.column_dimensions["B"].width = 90
    for system in systems:
        _fill(book.create_sheet(system.name), system)
    return to_bytes(book)


def _cover(environment: str, systems: Sequence[System]) -> list[tuple[str, str]]:
    return [
        ("Access review 访问权限复核", ""),
        ("Environment 环境", environment),
        ("Rights 权限摘要", rights_id(systems)),
        *((one.name, f"{len(one.rights)} rights 项权限") for one in systems),
        *(("", text) for text in _HELP),
    ]


def _rows(system: System) -> Iterator[tuple[str, ...]]:
    for number, right in enumerate(sorted(system.rights), start=1):
        yield (
            str(number),
            right.principal,
            right.kind,
            right.resource,
            right.via,
            ", ".join(right.may),
        )


def _fill(sheet: Worksheet, system: System) -> None:
    bold, grey = Font(bold=True), PatternFill("solid", fgColor="FFE8EDF2")
    yellow = PatternFill("solid", fgColor="FFFFF7DB")
    for column, title in enumerate(HEADER, start=1):
        cell = put(sheet, 1, column, title)
        cell.font, cell.fill = bold, grey
        sheet.column_dimensions[get_column_letter(column)].width = _WIDTHS[column - 1]
    last = 1
    for last, cells in enumerate(_rows(system), start=2):
        for column, value in enumerate(cells, start=1):
            put(sheet, last, column, value).alignment = Alignment(wrap_text=True, vertical="top")
        for column in (_DECISION, _COMMENT, _REVIEWER):
            sheet.cell(last, column).fill = yellow
    sheet.freeze_panes = "A2"
    sheet.auto_filter.ref = f"A1:{get_column_letter(len(HEADER))}{last}"
    choice = DataValidation(
        type="list", formula1=f'"{",".join(_WORDS)}"', allow_blank=True, showErrorMessage=True
    )
    choice.error = "keep or remove"
    choice.add(f"G2:G{max(last, 2)}")
    sheet.add_data_validation(choice)


def read_sheet(
    content: bytes, environment: str, systems: Sequence[System], *, file: str = ""
) -> dict[str, tuple[Line, ...]]:
    """Return what a reviewer decided: subject to one line for each right that there is now.

    Raises InputError for a file that is no such sheet or is not filled in, Refused for one of
    another environment, of other rights than `systems` has now, or that was edited elsewhere than
    in the columns of the decision.
    """
    try:
        book = load_workbook(io.BytesIO(content))
    except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise InputError(f"not an XLSX file: {error}", file=file) from error
    if book.sheetnames[:1] != [_COVER]:
        raise InputError("it is no sheet of an access review", "`anlan access review`", file=file)
    _check_cover(book[_COVER], environment, systems, file)
    wanted = [_COVER, *(one.name for one in systems)]
    if book.sheetnames != wanted:
        raise _edited(f"its sheets are {', '.join(book.sheetnames)}", file)
    return {one.subject: _lines(book[one.name], one, file) for one in systems}


def _check_cover(sheet: Worksheet, environment: str, systems: Sequence[System], file: str) -> None:
    named, rights = (_value(sheet, row, 2) for row in (2, 3))
    if named != environment:
        raise Refused(f"{file}: the sheet is of environment {named!r}, not of {environment!r}")
    if rights != rights_id(systems):
        raise Refused(
            f"{file}: the sheet is for other rights than those that {environment} has now",
            "make a new one (`anlan access review --sheet`), and decide on that",
        )
    for row, cells in enumerate(_cover(environment, systems), start=1):
        for column, value in enumerate(cells, start=1):
            if _value(sheet, row, column) != value:
                raise _edited(f"cell {get_column_letter(column)}{row} of {sheet.title}", file)


def _lines(sheet: Worksheet, system: System, file: str) -> tuple[Line, ...]:
    expected = [HEADER[: _DECISION - 1], *_rows(system)]
    # Programs keep empty cells that have a format: what counts is what stands there.
    for number, values in enumerate(sheet.iter_rows(values_only=True), start=1):
        outside = values if number > len(expected) else values[len(HEADER) :]
        if any(value is not None for value in outside):
            raise _edited(f"{system.name} has more rows or columns than there are rights", file)
    for number, cells in enumerate(expected, start=1):
        for column, value in enumerate(cells, start=1):
            if _value(sheet, number, column) != text(value):
                raise _edited(f"cell {get_column_letter(column)}{number} of {system.name}", file)
    titles = tuple(_value(sheet, 1, column) for column in (_DECISION, _COMMENT, _REVIEWER))
    if titles != HEADER[_DECISION - 1 :]:
        raise _edited(f"the header of {system.name}", file)
    lines = []
    for number, right in enumerate(sorted(system.rights), start=2):
        word, comment, reviewer = (
            _value(sheet, number, column).strip() for column in (_DECISION, _COMMENT, _REVIEWER)
        )
        word = word.lower()
        if word not in _WORDS:
            said = f"says {word!r}" if word else "is empty"
            raise _missing(f"cell G{number} of {system.name} {said}", "write keep or remove", file)
        if not reviewer:
            raise _missing(f"cell I{number} of {system.name} is empty", "say who decided", file)
        lines.append(Line(right, word, comment, reviewer))
    return tuple(lines)


def _value(sheet: Worksheet, row: int, column: int) -> str:
    value = sheet.cell(row, column).value
    return "" if value is None else str(value)


def _edited(what: str, file: str) -> Refused:
    return Refused(
        f"{file}: the sheet was edited outside of the columns of the decision: {what}",
        "make a new one (`anlan access review --sheet`), and decide on that",
    )


def _missing(what: str, todo: str, file: str) -> InputError:
    return InputError(what, todo, file=file)
