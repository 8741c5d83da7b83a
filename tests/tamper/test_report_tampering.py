"""A report that was handed over with a bundle, and edited: case 30 and 31."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pytest
from forgers import Good
from test_evidence_cli import anlan

from orchestrator.report.run_formats import FILES, render_format

Edit = Callable[[bytes], bytes]


@pytest.fixture
def handed_over(good: Good, tmp_path: Path) -> Path:
    (tmp_path / "bundle.zip").write_bytes(good.packed)
    (tmp_path / "evidence.pub").write_text(good.signer.public_key_pem())
    return tmp_path


def verify(folder: Path, *reports: str) -> tuple[int, str, list[str]]:
    """Exit code, status and codes."""
    options = [part for one in reports for part in ("--report", one)]
    done = anlan(
        *("evidence", "verify", "bundle.zip", "--trust", "evidence.pub", "--json", *options),
        cwd=folder,
    )
    found = json.loads(done.stdout)
    return done.returncode, found["status"], [one["code"] for one in found["problems"]]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_reports_of_every_format_that_came_with_a_bundle_are_its_own(
    good: Good, handed_over: Path, lang: str
) -> None:
    for form, name in FILES.items():
        (handed_over / name).write_bytes(render_format(good.contents, form, lang))
    assert verify(handed_over, *FILES.values()) == (0, "VALID", [])


def other_time(content: bytes) -> bytes:
    """A PDF that says another day in its metadata."""
    begin = content.index(b"/CreationDate") + len(b"/CreationDate (D:")
    edited = content[:begin] + b"2031" + content[begin + 4 :]
    assert edited != content
    return edited


def better_total(content: bytes) -> bytes:
    """A workbook in which one number is another."""
    book = openpyxl.load_workbook(io.BytesIO(content))
    for sheet in book:
        for row in sheet.iter_rows():
            for cell in row:
                if isinstance(cell.value, int | float) and not isinstance(cell.value, bool):
                    cell.value += 1
                    out = io.BytesIO()
                    book.save(out)
                    return out.getvalue()
    raise AssertionError("no number in the workbook")


@pytest.mark.parametrize(
    ("form", "edit"),
    [
        pytest.param("pdf", other_time, id="case-30-the-pdf-alone-is-edited"),
        pytest.param("xlsx", better_total, id="case-31-a-total-of-the-workbook-is-edited"),
        pytest.param("json", lambda c: c.replace(b'"pass"', b'"fail"'), id="json"),
        pytest.param("html", lambda c: c + b"\n", id="html"),
        pytest.param("oscal", lambda c: c.replace(b"satisfied", b"satisfyed", 1), id="oscal"),
    ],
)
def test_case_30_31_a_report_is_edited(
    good: Good, handed_over: Path, form: str, edit: Edit
) -> None:
    true = render_format(good.contents, form)
    (handed_over / f"x-{FILES[form]}").write_bytes(edit(true))
    assert edit(true) != true
    assert verify(handed_over, f"x-{FILES[form]}") == (1, "INVALID", ["report-mismatch"])


def test_what_is_no_report_or_cannot_be_read_is_an_input_error(handed_over: Path) -> None:
    (handed_over / "report.docx").write_bytes(b"")
    for name, said in (("report.docx", "is no report by its name"), ("none.pdf", "cannot be read")):
        done = anlan(
            *("evidence", "verify", "bundle.zip", "--trust", "evidence.pub", "--report", name),
            cwd=handed_over,
        )
        assert done.returncode == 2
        assert said in done.stderr
