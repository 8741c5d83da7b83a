"""The PDF: its font, what it shows instead of what the font lacks, and its pages."""

from __future__ import annotations

import io
import json
import re
import shlex
from pathlib import Path

import pytest
import typst
from hypothesis import given
from hypothesis import strategies as st
from pypdf import PdfReader
from run_samples import SAMPLES, Sample, contents_of

from orchestrator.model.errors import InfrastructureError
from orchestrator.report.build import build
from orchestrator.report.fonts import FAMILY, find_font
from orchestrator.report.glyphs import read_coverage
from orchestrator.report.pdf import render_pdf
from orchestrator.report.pdf_text import shown


def pages(tmp_path: Path, sample: Sample, lang: str) -> PdfReader:
    return PdfReader(io.BytesIO(render_pdf(build(contents_of(tmp_path, sample)), lang)))


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("name", SAMPLES)
def test_the_first_page_answers_whether_and_what_to_do(
    tmp_path: Path, name: str, lang: str
) -> None:
    document = pages(tmp_path, SAMPLES[name], lang)
    first = document.pages[0].extract_text()
    for title in {
        "en": ("Targets against measured", "What to do"),
        "zh": ("目标与实测", "待办事项"),
    }[lang]:
        assert title in first
    second = document.pages[1].extract_text()
    assert {"en": "For the auditor", "zh": "审计详情"}[lang] in second
    assert any(
        {"en": "For the engineer", "zh": "工程详情"}[lang] in page.extract_text()
        for page in document.pages[2:]
    )


def test_a_chinese_report_has_no_english_titles(tmp_path: Path) -> None:
    text = "".join(page.extract_text() for page in pages(tmp_path, Sample(), "zh").pages)
    for english in ("Targets", "What to do", "For the", "Critical", "satisfied", "passed"):
        assert english not in text


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_command_that_verifies_can_be_copied(tmp_path: Path, lang: str) -> None:
    sample = Sample(run_id="certificate-expiry-20261125t031500-ab12")
    text = "\n".join(page.extract_text() for page in pages(tmp_path, sample, lang).pages)
    copied = re.search(r"anlan evidence verify .*\\\s*\n.*", text)
    assert copied, text
    assert shlex.split(re.sub(r"\\\s*\n", " ", copied.group())) == [
        *("anlan", "evidence", "verify", f"{sample.run_id}.zip", "--trust", "evidence.pub"),
        *("--run", sample.run_id, "--environment", "local"),
    ]


def test_fonts_are_embedded_as_subsets_and_the_time_is_the_end_of_the_run(tmp_path: Path) -> None:
    content = render_pdf(build(contents_of(tmp_path, Sample())), "zh")
    assert len(content) < 600_000
    document = PdfReader(io.BytesIO(content))
    names = {
        str(font["/BaseFont"])
        for page in document.pages
        for reference in page["/Resources"]["/Font"].values()
        for font in [reference.get_object()]
    }
    assert names
    assert all(re.match(r"/[A-Z]{6}\+", name) for name in names), names
    assert document.metadata is not None
    assert document.metadata.creation_date is not None
    assert document.metadata.creation_date.isoformat().startswith("2026-11-25T03:15:32")


def test_without_the_font_it_says_what_to_install(tmp_path: Path) -> None:
    view = build(contents_of(tmp_path / "run", Sample()))
    with pytest.raises(InfrastructureError, match="fonts-noto-cjk"):
        render_pdf(view, "zh", (tmp_path,))


def test_files_that_are_no_font_are_refused(tmp_path: Path) -> None:
    for content, said in (
        (b"ttcf which is no font at all", "cannot be read"),
        (b"\0" * 400, "do not have the font"),
    ):
        folder = tmp_path / said
        folder.mkdir()
        for name in ("NotoSansCJK-Regular.ttc", "NotoSansCJK-Bold.ttc"):
            (folder / name).write_bytes(content)
        with pytest.raises(InfrastructureError, match=said):
            find_font((folder,))
    with pytest.raises(ValueError, match="no OpenType font"):
        read_coverage(tmp_path / "cannot be read" / "NotoSansCJK-Bold.ttc")


def test_every_character_that_the_font_is_said_to_have_can_be_shown() -> None:
    """PDF/A refuses a document that shows a glyph which is not there."""
    font = find_font()
    signs = [chr(point) for point in (*range(0x20, 0x3400), *range(0x3400, 0x30000, 13))]
    text = "\n".join(shown(signs, font.has))
    assert len(text) > 20_000
    template = (
        f'#set text(font: ("{FAMILY}",), fallback: false)\n'
        '#let text = json("data.json")\n#text\n#strong(text)'
    )
    typst.compile(
        {"main.typ": template.encode(), "data.json": json.dumps(text).encode()},
        format="pdf",
        font_paths=[str(font.folder)],
        ignore_system_fonts=True,
        pdf_standards=["a-2b"],
    )


def test_a_document_with_a_missing_glyph_is_refused() -> None:
    """The test above can fail."""
    template = f'#set text(font: ("{FAMILY}",), fallback: false)\n\U0001f600'
    with pytest.raises(typst.TypstError, match="could not be displayed"):
        typst.compile(
            template.encode(),
            format="pdf",
            font_paths=[str(find_font().folder)],
            ignore_system_fonts=True,
            pdf_standards=["a-2b"],
        )


def test_what_cannot_be_shown_is_told_by_its_number() -> None:
    font = find_font()
    assert shown("a😀\u202eb", font.has) == "a‹U+1F600›‹U+202E›b"
    assert shown("安澜 é ≤ ‹›", font.has) == "安澜 é ≤ ‹›"


@given(st.text(max_size=200))
def test_no_word_is_too_long_for_a_line_and_nothing_is_lost(text: str) -> None:
    found = shown(text, lambda sign: sign.isalnum() or sign in " -_/‹›+")
    assert max(map(len, re.split(r"[\s\u200b]", found)), default=0) <= 20 or any(
        ord(sign) > 0x2E7F for sign in found
    )
    assert re.fullmatch(r"[^\x00-\x09\x0b-\x1f\x7f\u202a-\u202e]*", found)


def test_digests_and_times_stay_whole() -> None:
    for text in ("0" * 64, "sha256:" + "a" * 64, "2026-11-25T03:15:32.123Z"):
        assert shown(text, lambda _: True) == text
