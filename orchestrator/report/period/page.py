"""The HTML page of a period, in one language: the same bytes every time, nothing from outside."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from importlib import resources

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup

from orchestrator.report.labels import LANGUAGES, word
from orchestrator.report.page_tables import number
from orchestrator.report.period.content import content_of
from orchestrator.report.period.view import PeriodView
from orchestrator.report.workbook import tone_of
from orchestrator.report.workbook_cells import Status, Value

_SIGNS = {"good": "✔", "bad": "✘", "unknown": "?", "": "–"}


def render_page(view: PeriodView, lang: str = "en") -> bytes:
    """Return the page of a period in a language."""
    content = content_of(view, lang)
    return (
        _template()
        .render(c=content, lang=lang, column=LANGUAGES.index(lang), version=view.rendered_by)
        .encode()
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=FunctionLoader(_template_text),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters.update(cell=cell_text, tone=tone_of, kind=_kind)
    # The drawings are ours: what they show of others' texts is escaped where they are made.
    environment.filters.update(drawing=Markup)
    environment.globals.update(word=word, signs=_SIGNS)
    return environment.get_template("period.html.j2")


def _template_text(name: str) -> str:
    folder = resources.files("orchestrator.report").joinpath("templates")
    return folder.joinpath(name).read_text(encoding="utf-8")


def cell_text(value: Value | Status, lang: str = "en") -> str:
    """Return a value of a table as people read it; what is not there is a dash."""
    if value is None:
        return "–"
    if isinstance(value, Status):
        return word(value.code, lang)
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    return value if isinstance(value, str) else number(value)


def _kind(value: Value | Status) -> str:
    """`status`, `number`, `time` or `text`: how a cell is set."""
    if isinstance(value, Status):
        return "status"
    if isinstance(value, datetime):
        return "time"
    return "number" if isinstance(value, (int, float)) else "text"
