"""The formats that a report over a period can have."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from orchestrator.report.fonts import FOLDERS
from orchestrator.report.period.oscal import render_oscal
from orchestrator.report.period.page import render_page
from orchestrator.report.period.pdf import render_pdf
from orchestrator.report.period.view import PeriodView
from orchestrator.report.period.workbook import render_workbook

ENDINGS = {"html": "html", "pdf": "pdf", "xlsx": "xlsx", "json": "json", "oscal": "oscal.json"}
"""Format → ending of its file."""


def render(
    view: PeriodView, name: str, lang: str = "en", *, fonts: Sequence[Path] = FOLDERS
) -> bytes:
    """Return the report as one of ENDINGS; JSON holds both languages.

    `fonts` are folders where the font of the PDF may be. Raises InfrastructureError without it.
    """
    if name == "html":
        return render_page(view, lang)
    if name == "pdf":
        return render_pdf(view, lang, fonts)
    if name == "xlsx":
        return render_workbook(view, lang)
    if name == "oscal":
        return render_oscal(view, lang)
    return render_json(view)


def render_json(view: PeriodView) -> bytes:
    """Return the view itself, for programs (schema `period-report`)."""
    return (json.dumps(view.to_json(), indent=2, ensure_ascii=False) + "\n").encode()
