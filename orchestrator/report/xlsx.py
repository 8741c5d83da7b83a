"""What every workbook of ours needs: text that is no formula, and the same bytes every time."""

from __future__ import annotations

import io
import re
import zipfile
from datetime import datetime
from typing import Any

from openpyxl import Workbook
from openpyxl.worksheet.worksheet import Worksheet

_MOMENT = datetime(1980, 1, 1)  # noqa: DTZ001  (what a zip can hold, and no time of anything)
_ZIP_MOMENT = (1980, 1, 1, 0, 0, 0)
_MODIFIED = re.compile(rb"(<dcterms:modified[^>]*>)[^<]*(</dcterms:modified>)")
# What XML 1.0 cannot hold.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_LONGEST = 32_767  # characters of a cell, as Excel has it
_CUT = " … (cut)"


def new_workbook() -> tuple[Workbook, Worksheet]:
    """Return a workbook without times of its own, and its first sheet."""
    book = Workbook()
    book.properties.creator = "anlan"
    book.properties.created = book.properties.modified = _MOMENT
    sheet = book.active
    if not isinstance(sheet, Worksheet):
        raise TypeError("a new workbook has no sheet")
    return book, sheet


def put(sheet: Worksheet, row: int, column: int, value: str) -> Any:
    """Write text as text and return its cell: what begins with `=` is no formula."""
    cell = sheet.cell(row, column, text(value))
    cell.data_type = "s"
    return cell


def text(value: str) -> str:
    """Return text as a cell can hold it."""
    clean = _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", value)
    return clean if len(clean) <= _LONGEST else clean[: _LONGEST - len(_CUT)] + _CUT


def to_bytes(book: Workbook) -> bytes:
    """Return the workbook, packed with one fixed time everywhere."""
    buffer = io.BytesIO()
    book.save(buffer)
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(buffer) as source,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            data = source.read(name)
            if name == "docProps/core.xml":
                data = _MODIFIED.sub(rb"\g<1>1980-01-01T00:00:00Z\g<2>", data)
            entry = zipfile.ZipInfo(name, _ZIP_MOMENT)
            entry.compress_type = zipfile.ZIP_DEFLATED
            target.writestr(entry, data)
    return packed.getvalue()
