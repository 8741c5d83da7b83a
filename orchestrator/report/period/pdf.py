"""The PDF of a period (PDF/A-2b): one page for who decides, then everything in tables and charts.

The same period and the same font give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from orchestrator.report.fonts import FAMILY, FOLDERS, find_font
from orchestrator.report.labels import LANGUAGES, words
from orchestrator.report.pdf_text import shown
from orchestrator.report.period.content import Content, content_of
from orchestrator.report.period.page import cell_text
from orchestrator.report.period.view import PeriodView
from orchestrator.report.workbook import tone_of
from orchestrator.report.workbook_cells import Status, Table, Value

_PICTURE = "picture-{}.svg"


def render_pdf(view: PeriodView, lang: str = "en", folders: Sequence[Path] = FOLDERS) -> bytes:
    """Return the PDF of a period in a language; `folders` are where its font may be.

    Raises InfrastructureError when the font is not there.
    """
    import typst  # noqa: PLC0415  (for PDF alone)

    font = find_font(folders)
    content = content_of(view, lang)
    pictures = [one.svg for section in content.sections for one in section.pictures]
    data = {
        "content": shown(_content(content, lang), font.has),
        "view": {"ended_at": view.until, "rendered_by": view.rendered_by},
        "lang": lang,
        "words": words(lang),
        "font": FAMILY,
    }
    templates = resources.files("orchestrator.report").joinpath("templates")
    # Its stubs do not know that files may be given by name.
    pdf = typst.compile(  # type: ignore[call-overload]
        {
            "main.typ": templates.joinpath("period.typ").read_bytes(),
            "parts.typ": templates.joinpath("parts.typ").read_bytes(),
            "data.json": json.dumps(data, ensure_ascii=False).encode(),
            **{_PICTURE.format(n): svg.encode() for n, svg in enumerate(pictures)},
        },
        format="pdf",
        font_paths=[str(font.folder)],
        ignore_system_fonts=True,
        pdf_standards=["a-2b"],
    )
    if not isinstance(pdf, bytes):
        raise TypeError("typst made no single document")
    return pdf


def _content(content: Content, lang: str) -> dict[str, Any]:
    numbers = iter(range(sum(len(section.pictures) for section in content.sections)))
    return {
        "title": content.title,
        "subject": content.subject,
        "about": content.about,
        "panels": [
            {
                "question": one.question,
                "answer": one.answer,
                "tone": tone_of(one.code) or "plain",
                "told": one.told,
                "counts": one.counts,
            }
            for one in content.panels
        ],
        "attention": [_coded(count, code) for count, code in content.attention],
        "urgent": [
            {"status": _cell(status, lang), "title": title, "about": about, "text": text}
            for status, title, about, text in content.urgent
        ],
        "more_attention": content.more_attention,
        "actions": content.actions,
        "more_actions": content.more_actions,
        "drills": [
            [one.title, _cell(one.status, lang), one.at, one.rto, one.lost, one.note]
            for one in content.drills
        ],
        "more_drills": content.more_drills,
        "sections": [
            {
                "title": section.title,
                "notes": section.notes,
                "pictures": [
                    {"title": one.title, "file": _PICTURE.format(next(numbers))}
                    for one in section.pictures
                ],
                "tables": [_table(one, lang) for one in section.tables],
            }
            for section in content.sections
        ],
        "footer": content.footer,
    }


def _coded(count: int, code: str) -> dict[str, Any]:
    return {"count": count, "code": code, "tone": tone_of(code) or "plain"}


def _table(table: Table, lang: str) -> dict[str, Any]:
    language = LANGUAGES.index(lang)
    return {
        "title": table.title[language],
        "columns": [one[language] for one in table.columns],
        "widths": [one[2] for one in table.columns],
        "numbers": [_is_numeric([row[n] for row in table.rows]) for n in range(len(table.columns))],
        "rows": [[_cell(value, lang) for value in row] for row in table.rows],
    }


def _is_numeric(column: Sequence[Value | Status]) -> bool:
    """Whether a column is of numbers, some of which may not be there."""
    numbers = all(value is None or isinstance(value, (int, float, Status)) for value in column)
    return numbers and not all(isinstance(value, Status) for value in column)


def _cell(value: Value | Status, lang: str) -> Any:
    """A text; a status as its tone and its word."""
    if isinstance(value, Status):
        return {"tone": tone_of(value.code) or "plain", "word": cell_text(value, lang)}
    return cell_text(value, lang)
