"""report.pdf: for who decides, who audits and who repairs, in one document; typeset by typst.

PDF/A-2b (ISO 19005-2): every character has a glyph, fonts are embedded as far as used, nothing is
fetched. The same run and the same font give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from orchestrator.report.fonts import FAMILY, FOLDERS, find_font
from orchestrator.report.labels import words
from orchestrator.report.pdf_text import shown
from orchestrator.report.view import View

_TEMPLATES = ("report.typ", "parts.typ", "executive.typ", "auditor.typ", "engineer.typ")


def render_pdf(view: View, lang: str = "en", folders: Sequence[Path] = FOLDERS) -> bytes:
    """Return the PDF of a run in a language; `folders` are where its font may be.

    Raises InfrastructureError when the font is not there.
    """
    import typst  # noqa: PLC0415  (for PDF alone)

    font = find_font(folders)
    view_data = shown(_plain(view.to_json()), font.has)
    data = {
        "view": view_data,
        "title": f"{view.title[lang][:200]}, {view.run_id}",
        "lang": lang,
        "words": words(lang),
        "font": FAMILY,
    }
    templates = resources.files("orchestrator.report").joinpath("templates")
    files = {name: templates.joinpath(name).read_bytes() for name in _TEMPLATES}
    # Its stubs do not know that files may be given by name.
    pdf = typst.compile(  # type: ignore[call-overload]
        {
            "main.typ": files.pop("report.typ"),
            **files,
            "data.json": json.dumps(data, ensure_ascii=False).encode(),
        },
        format="pdf",
        font_paths=[str(font.folder)],
        ignore_system_fonts=True,
        pdf_standards=["a-2b"],
    )
    if not isinstance(pdf, bytes):
        raise TypeError("typst made no single document")
    return pdf


def _plain(view: Mapping[str, Any]) -> dict[str, Any]:
    """The view with parameters as pairs of text: their names and values are not ours."""
    return {
        **view,
        "parameters": _pairs(view["parameters"]),
        "findings": [{**one, "parameters": _pairs(one["parameters"])} for one in view["findings"]],
    }


def _pairs(parameters: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        for name, value in parameters.items()
    ]
