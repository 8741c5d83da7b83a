"""The formats that a run's report can have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.report.build import build
from orchestrator.report.fonts import FOLDERS
from orchestrator.report.machine import render_json
from orchestrator.report.oscal import render_oscal
from orchestrator.report.page import render_page
from orchestrator.report.pdf import render_pdf
from orchestrator.report.view import View
from orchestrator.report.workbook import render_workbook

FILES = {
    "html": "report.html",
    "pdf": "report.pdf",
    "xlsx": "report.xlsx",
    "json": "report.json",
    "oscal": "oscal.json",
}
"""Format → name of its file."""


def render_format(
    contents: Mapping[str, bytes],
    name: str,
    lang: str = "en",
    *,
    fonts: Sequence[Path] = FOLDERS,
    file: str = "",
) -> bytes:
    """Return the report of a run as one of FILES; `contents` is bundle path → content.

    HTML and JSON hold both languages. `fonts` are folders where the font of the PDF may be.
    Raises InputError when the files are no finished run, InfrastructureError without the font.
    """
    return _render(build(contents, file=file, page=name == "html"), name, lang, fonts)


def _render(view: View, name: str, lang: str, fonts: Sequence[Path]) -> bytes:
    if name == "html":
        return render_page(view).encode()
    if name == "json":
        return render_json(view)
    if name == "pdf":
        return render_pdf(view, lang, fonts)
    if name == "xlsx":
        return render_workbook(view, lang)
    return render_oscal(view, lang)
