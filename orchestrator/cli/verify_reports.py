"""Whether a report that was handed over is the one that a bundle renders to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.model.errors import InputError

if TYPE_CHECKING:
    from orchestrator.evidence import Problem

_LANGUAGES = ("en", "zh")
_FORMATS = {
    "oscal.json": "oscal",
    ".json": "json",
    ".html": "html",
    ".pdf": "pdf",
    ".xlsx": "xlsx",
}
"""How the name of a report ends → its format; the longest first."""


def check_reports(files: Sequence[Path], bundle: Path, *, of_period: bool) -> list[Problem]:
    """Return which of these reports are not what a bundle renders to, byte for byte.

    The bundle must have been verified. In whatever language, and of whatever kind a period has.
    Raises InputError for a file that cannot be read or is no report by its name, or where nothing
    renders it; InfrastructureError without the font of a PDF.
    """
    from orchestrator.evidence import Problem  # noqa: PLC0415

    problems = []
    for file in files:
        try:
            content = file.read_bytes()
        except OSError as error:
            todo = "check the path and your rights"
            raise InputError(f"cannot be read: {error.strerror}", todo, file=str(file)) from error
        if content not in _rendered(bundle, _format_of(file), of_period=of_period):
            message = "is not what the bundle renders to, in this version and with this font"
            problems.append(Problem("report-mismatch", str(file), message))
    return problems


def _format_of(file: Path) -> str:
    for ending, name in _FORMATS.items():
        if file.name.lower().endswith(ending):
            return name
    raise InputError(
        "is no report by its name",
        "reports end with .html, .pdf, .xlsx, .json or oscal.json",
        file=str(file),
    )


def _rendered(bundle: Path, form: str, *, of_period: bool) -> Iterator[bytes]:
    """What a bundle renders to in a format: each language, each kind."""
    try:
        yield from (_of_period if of_period else _of_run)(bundle, form)
    except ImportError as error:
        raise InputError(
            f"this verifier renders no {form}: {error.name} is not here",
            "compare it with `anlan evidence verify` of an installed Anlan",
            path="--report",
        ) from error


def _of_run(bundle: Path, form: str) -> Iterator[bytes]:
    from orchestrator.evidence.bundle import unpack  # noqa: PLC0415
    from orchestrator.report.run_formats import render_format  # noqa: PLC0415

    contents = unpack(bundle.read_bytes())
    for lang in _LANGUAGES:
        yield render_format(contents, form, lang, file=str(bundle))


def _of_period(bundle: Path, form: str) -> Iterator[bytes]:
    from orchestrator.evidence.period.record import period_of  # noqa: PLC0415
    from orchestrator.report.period.build import build_period  # noqa: PLC0415
    from orchestrator.report.period.formats import render  # noqa: PLC0415
    from orchestrator.report.period.view import KINDS  # noqa: PLC0415

    period = period_of(bundle)
    for kind in KINDS:
        view = build_period(period, kind)
        for lang in _LANGUAGES:
            yield render(view, form, lang)
