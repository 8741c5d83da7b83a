"""The formats of a run's report: they agree, repeat, and let nothing through that is not text."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import jsonschema_rs
import openpyxl
import pytest
from pypdf import PdfReader
from run_samples import SAMPLES, Sample, contents_of

from orchestrator.evidence import layout
from orchestrator.evidence.bundle import archive
from orchestrator.model.errors import InputError
from orchestrator.model.schema import check
from orchestrator.report.build import build
from orchestrator.report.page import render_page
from orchestrator.report.run_formats import FILES, render_format

Contents = dict[str, bytes]
Runs = dict[str, Contents]
ALL = {**SAMPLES, "everything": Sample(weak_tls=True, unreachable=True, lost=2)}
OSCAL_SCHEMA = Path(__file__).parent / "oscal" / "oscal_assessment-results_schema.json"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """The files of each sample."""
    return {
        name: contents_of(tmp_path_factory.mktemp("run"), sample) for name, sample in ALL.items()
    }


class Rendered:
    """Each format of each sample, rendered once."""

    def __init__(self, runs: Runs) -> None:
        self.runs = runs
        self._kept: dict[tuple[str, str, str], bytes] = {}
        self._texts: dict[tuple[str, str], str] = {}

    def __call__(self, name: str, form: str, lang: str = "en") -> bytes:
        key = (name, form, lang)
        if key not in self._kept:
            self._kept[key] = render_format(self.runs[name], form, lang)
        return self._kept[key]

    def json(self, name: str) -> dict[str, Any]:
        data: dict[str, Any] = json.loads(self(name, "json"))
        return data

    def pdf(self, name: str, lang: str = "en") -> str:
        if (name, lang) not in self._texts:
            self._texts[name, lang] = pdf_text(self(name, "pdf", lang))
        return self._texts[name, lang]

    def page(self, name: str) -> str:
        return page_text(self(name, "html"))


@pytest.fixture(scope="module")
def rendered(runs: Runs) -> Rendered:
    return Rendered(runs)


def report_json(contents: Contents) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(render_format(contents, "json"))
    return data


def pdf_text(content: bytes) -> str:
    """The text of a PDF without the places where words may be broken."""
    text = " ".join(page.extract_text() for page in PdfReader(io.BytesIO(content)).pages)
    return " ".join(text.replace("\u200b", "").split())


def squeezed(text: str) -> str:
    return re.sub(r"\s", "", text)


def page_text(content: bytes) -> str:
    html = content.decode()
    text = re.sub(r"<[^>]*>", " ", re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL))
    return " ".join(text.replace("\xa0", " ").split())


def sheets(content: bytes) -> dict[str, list[tuple[Any, ...]]]:
    book = openpyxl.load_workbook(io.BytesIO(content))
    return {sheet.title: list(sheet.iter_rows(values_only=True)) for sheet in book}


@pytest.mark.parametrize("name", ALL)
def test_the_json_report_fits_its_published_schema(rendered: Rendered, name: str) -> None:
    data = rendered.json(name)
    check(data, "report")
    with pytest.raises(InputError):
        check({**data, "extra": 1}, "report")


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_every_format_says_the_verdict_and_the_recovery_time(
    rendered: Rendered, name: str, lang: str
) -> None:
    data = rendered.json(name)
    verdict = data["verdict"]
    words = {
        "en": {"pass": "passed", "fail": "failed", "inconclusive": "inconclusive"},
        "zh": {"pass": "通过", "fail": "未通过", "inconclusive": "无法判定"},
    }[lang]
    pdf = rendered.pdf(name, lang)
    head = {"en": f": {words[verdict]}", "zh": f"：{words[verdict]}"}[lang]
    assert squeezed(head) in squeezed(pdf)
    assert words[verdict].capitalize() in rendered.page(name)
    overview = next(iter(sheets(rendered(name, "xlsx", lang)).values()))
    assert overview[1][1] == words[verdict]
    oscal = json.loads(rendered(name, "oscal", lang))["assessment-results"]["results"][0]
    said = {one["name"]: one["value"] for one in oscal["props"]}
    assert said["verdict"] == verdict
    if data["rto_seconds"] is not None:
        shown = f"{data['rto_seconds']:.2f}"
        assert shown in pdf
        assert shown in rendered.page(name)
        assert any(data["rto_seconds"] in row for row in overview)
        assert float(said["measured.rto_seconds"]) == data["rto_seconds"]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_what_does_not_hold_or_is_unknown_is_in_every_format_with_its_status(
    rendered: Rendered, name: str, lang: str
) -> None:
    data = rendered.json(name)
    bad = [one for one in data["findings"] if one["status"] in {"not-satisfied", "unknown"}]
    assert bool(bad) == (name in {"failed by loss", "inconclusive", "everything"})
    pdf = squeezed(rendered.pdf(name, lang))
    tables = sheets(rendered(name, "xlsx", lang))
    findings = {row[0]: row for row in tables[{"en": "Findings", "zh": "策略评估"}[lang]][1:]}
    oscal = json.loads(rendered(name, "oscal"))["assessment-results"]["results"][0]
    found = {one["target"]["target-id"]: one for one in oscal["findings"]}
    words = {
        "en": {"not-satisfied": "not satisfied", "unknown": "not observed"},
        "zh": {"not-satisfied": "不满足", "unknown": "未观测到"},
    }[lang]
    for one in bad:
        assert squeezed(one["title"][lang]) in pdf
        assert squeezed(one["reason"]) in pdf
        assert one["title"][lang] in rendered.page(name)
        assert findings[one["policy"]][2] == words[one["status"]]
        target = found[one["policy"]]["target"]
        assert target["status"]["state"] == "not-satisfied"
        props = {prop["name"]: prop["value"] for prop in found[one["policy"]]["props"]}
        assert props["status"] == one["status"]
    for gap in data["gaps"]:
        assert squeezed(gap["why"][lang]) in pdf


@pytest.mark.parametrize("name", ALL)
def test_numbers_agree_between_json_workbook_pdf_and_page(rendered: Rendered, name: str) -> None:
    data = rendered.json(name)
    tables = sheets(rendered(name, "xlsx"))
    pdf, page = rendered.pdf(name), rendered.page(name)
    rows = {row[0]: row for row in tables["Overview"] if row and row[0]}
    for one in data["targets"]:
        row = rows[f"{one['title']['en']} ({one['short']})"]
        assert (row[1], row[2]) == (one["target"], one["measured"])
    assert [(row[0], row[4], row[5]) for row in tables["Steps"][1:]] == [
        (one["id"], one["started_seconds"], one["seconds"]) for one in data["steps"]
    ]
    for one in data["steps"]:
        if one["seconds"] is not None and one["seconds"] < 10:
            assert f"{one['seconds']:.2f} s" in pdf
            assert f"{one['seconds']:.2f} s" in page
    if data["ledger"]:
        assert rows["Lost"][1] == data["ledger"]["lost"] == len(data["ledger"]["lost_keys"])
        assert rows["Acknowledged"][1] == data["ledger"]["acknowledged"]
        assert str(data["ledger"]["acknowledged"]) in pdf
        assert str(data["ledger"]["acknowledged"]) in page
    assert [(row[0], row[7], row[10]) for row in tables["Facts"][1:]] == [
        (one["id"], one["row_count"], one["digest"]) for one in data["facts"]
    ]
    sizes = {row[0]: row[1] for row in tables["Evidence"][1:]}
    for one in data["evidence"]["files"]:
        assert sizes[one["path"]] == one["size_bytes"]
        assert one["sha256"] in pdf
        assert one["sha256"] in page
    for one in data["findings"]:
        until = min(
            (seen["valid_until"] for seen in one["observations"] if seen["valid_until"]),
            default=None,
        )
        assert until is None or one["valid_until"] is None or until >= one["valid_until"]


def test_what_is_bad_comes_first_and_counts_are_of_the_run(rendered: Rendered) -> None:
    data = rendered.json("everything")
    statuses = [one["status"] for one in data["findings"]]
    assert statuses == ["not-satisfied", "unknown", "satisfied"]
    assert data["policies"]["not-satisfied"] == 1
    assert data["compliance"] == "not-compliant"
    states = [one["state"] for one in data["checks"]]
    assert states == sorted(states, key=["fail", "unknown", "pass"].index)
    kinds = [one["kind"] for one in data["actions"]]
    assert kinds.index("target") < kinds.index("policy")
    assert data["not_observed"] == len(data["gaps"]) > 0


def test_times_and_numbers_in_the_workbook_are_no_text(rendered: Rendered) -> None:
    content = rendered("failed by loss", "xlsx")
    tables = sheets(content)
    collected = [row[4] for row in tables["Facts"][1:]]
    assert collected and all(isinstance(one, datetime) for one in collected)
    book = openpyxl.load_workbook(io.BytesIO(content))
    assert book.sheetnames[:4] == ["Overview", "Steps", "Checks", "Findings"]
    for sheet in list(book)[1:]:
        assert sheet.freeze_panes
        assert sheet.auto_filter.ref
        assert all(sheet.column_dimensions[letter].width > 5 for letter in "AB")


RENDER = """
import hashlib, locale, sys
from pathlib import Path
from orchestrator.evidence.bundle import unpack
from orchestrator.report.run_formats import FILES, render_format
try:
    locale.setlocale(locale.LC_ALL, "")
except locale.Error:
    pass
contents = unpack(Path(sys.argv[1]).read_bytes())
for name in FILES:
    for lang in ("en", "zh"):
        print(name, lang, hashlib.sha256(render_format(contents, name, lang)).hexdigest())
"""


def test_another_process_zone_locale_and_hash_seed_give_the_same_bytes(
    runs: Runs, tmp_path: Path
) -> None:
    contents = runs["everything"]
    bundle = tmp_path / "bundle.zip"
    bundle.write_bytes(archive(contents))
    elsewhere = {
        **os.environ,
        "TZ": "Asia/Kathmandu",
        "LC_ALL": "C.UTF-8",
        "LANG": "de_DE.UTF-8",
        "PYTHONHASHSEED": "4711",
    }
    done = subprocess.run(
        [sys.executable, "-c", RENDER, str(bundle)],
        env=elsewhere,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    there = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines())
    here = {
        f"{name} {lang}": hashlib.sha256(render_format(contents, name, lang)).hexdigest()
        for name in FILES
        for lang in ("en", "zh")
    }
    assert there == here


EVIL = [
    "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>",
    '#panic("typst ran this") #sys.version $x^2$ *bold* ] } @ref <label> // /*',
    '=HYPERLINK("http://example.org","click")',
    "+1+1",
    "-2+3",
    "@SUM(A1:A9)",
    "A" * 40_000,
    "/very/long/" + "path-" * 400,
    "مرحبا بالعالم \u202e\u2066 reversed",
    "emoji 😀👩‍👩‍👧 \U0001f1e8\U0001f1f3",
    "bell \x07 null \x00 escape \x1b[31m tab \t line\nbreak \u2028",
    "{{7*7}}{% raw %} ${jndi:ldap://x}",
    "한국어 ไทย हिन्दी \u0301\u0301\u0301 \ufffe \ue000",
    " ",
]


def with_texts(contents: Contents, evil: Sequence[str]) -> Contents:
    """The run with texts of somebody else, in turn, wherever its schemas let one be."""
    plan, run, findings, facts = (
        json.loads(contents[path])
        for path in (layout.PLAN, layout.RUN, layout.FINDINGS, layout.FACTS)
    )
    texts = itertools.cycle(evil)

    def put(place: dict[str, Any], *names: str) -> None:
        place.update({name: next(texts) for name in names})

    for place in (plan["drill"]["title"], plan["drill"]["purpose"], plan["scenario"]):
        put(place, "en", "zh")
    put(plan, "operator")
    put(plan["environment"], "name", "tier")
    put(plan["tool"], "version")
    plan["parameters"] = {one: one for one in evil}
    for step in plan["steps"]:
        put(step["title"], "en", "zh")
    derived = run["derived"]
    derived["reasons"] = list(evil)
    for part in derived["phases"]:
        put(part, "name")
    for one in derived["checks"]:
        put(one, "name", "detail", "step")
    for step in derived["steps"]:
        put(step, "error")
    derived["ledger"]["lost_keys"] = list(evil)
    derived["targets"].append({"name": next(texts), "target": 1, "measured": 2.5, "met": False})
    for finding in findings["findings"]:
        put(finding["title"], "en", "zh")
        put(finding, "reason")
        finding["parameters"] = {next(texts): next(texts)}
        finding["controls"] = [{"source": next(texts), "id": next(texts), "threshold": "1"}]
        for one in finding["observations"]:
            put(one, "reason", "subject")
    for fact in facts["facts"]:
        put(fact, "source", "query", *(("error",) if fact["status"] != "observed" else ()))
    return {
        **contents,
        layout.PLAN: json.dumps(plan).encode(),
        layout.RUN: json.dumps(run).encode(),
        layout.FINDINGS: json.dumps(findings).encode(),
        layout.FACTS: json.dumps(facts).encode(),
    }


@pytest.mark.parametrize("turn", [0, 5])
def test_text_of_others_is_text_in_every_format(runs: Runs, turn: int) -> None:
    contents = with_texts(runs["everything"], [*EVIL[turn:], *EVIL[:turn]])
    html = render_format(contents, "html").decode()
    assert "<script" not in html
    assert "<img" not in html
    check(json.loads(render_format(contents, "json")), "report")
    schema = jsonschema_rs.validator_for(json.loads(OSCAL_SCHEMA.read_bytes()))
    lang = ("en", "zh")[turn % 2]
    oscal = json.loads(render_format(contents, "oscal", lang))
    assert [str(error) for error in schema.iter_errors(oscal)] == []
    content = render_format(contents, "xlsx", lang)
    with zipfile.ZipFile(io.BytesIO(content)) as packed:
        for name in packed.namelist():
            assert b"<f>" not in packed.read(name)
    for sheet in openpyxl.load_workbook(io.BytesIO(content)):
        for row in sheet.iter_rows():
            assert not [cell.coordinate for cell in row if cell.data_type == "f"]
    pdf = render_format(contents, "pdf", lang)
    text = squeezed(pdf_text(pdf))
    # However long a text is, it moves no verdict off the first page.
    first = squeezed(PdfReader(io.BytesIO(pdf)).pages[0].extract_text())
    assert {"en": "Recovery:failed", "zh": "恢复能力：未通过"}[lang] in first
    assert {"en": "Notcompliant", "zh": "不合规"}[lang] in first
    for evil in EVIL:
        if len(evil) < 100 and evil.isascii() and evil.isprintable():
            assert squeezed(evil) in text


def test_a_text_that_begins_like_a_formula_stays_text_after_an_edit(
    runs: Runs,
) -> None:
    content = render_format(with_texts(runs["everything"], ["=1+1"]), "xlsx")
    cells = [
        cell
        for sheet in openpyxl.load_workbook(io.BytesIO(content))
        for row in sheet.iter_rows()
        for cell in row
        if cell.value == "=1+1"
    ]
    assert cells
    assert all(cell.data_type == "s" and cell.quotePrefix for cell in cells)


def test_waivers_are_shown_and_satisfy_nothing(runs: Runs) -> None:
    contents = runs["everything"]
    findings, run = (json.loads(contents[path]) for path in (layout.FINDINGS, layout.RUN))
    for one in findings["findings"]:
        if one["status"] == "not-satisfied":
            one["waivers"] = [
                {
                    "subject": "common/front-door",
                    "owner": "Li Hua",
                    "reason": "the vendor's client",
                    "until": "2027-01-31T23:59:59.000Z",
                    "digest": "0" * 64,
                }
            ]
    run["derived"]["waived"] = [{"policy": "tls-version", "status": "not-satisfied"}]
    changed = {
        **contents,
        layout.FINDINGS: json.dumps(findings).encode(),
        layout.RUN: json.dumps(run).encode(),
    }
    data = report_json(changed)
    assert data["compliance"] == "not-compliant"
    assert data["actions"][-1]["kind"] == "waiver"
    pdf = pdf_text(render_format(changed, "pdf"))
    assert "the vendor's client" in pdf
    assert "Waived, and not satisfied by that: tls-version" in pdf
    row = next(
        row for row in sheets(render_format(changed, "xlsx"))["Findings"] if row[0] == "tls-version"
    )
    assert row[2] == "not satisfied"
    assert "Li Hua" in row[11]
    oscal = json.loads(render_format(changed, "oscal"))["assessment-results"]["results"][0]
    found = next(one for one in oscal["findings"] if one["target"]["target-id"] == "tls-version")
    assert found["target"]["status"]["state"] == "not-satisfied"
    assert "waived-until" in {prop["name"] for prop in found["props"]}


@pytest.mark.parametrize("name", ALL)
def test_a_page_shows_nothing_of_what_is_left_out_for_it(runs: Runs, name: str) -> None:
    whole, little = build(runs[name]), build(runs[name], page=True)
    assert little != whole
    assert render_page(little) == render_page(whole)


def test_a_control_stands_with_the_others_of_its_source(runs: Runs) -> None:
    contents = runs["everything"]
    findings = json.loads(contents[layout.FINDINGS])
    findings["findings"][0]["controls"] = [
        {"source": source, "id": name, "threshold": threshold}
        for source, name, threshold in (
            ("law & order", "2", ""),
            ("DORA", "9", "<4 h"),
            ("Law & Order", "1", ""),
        )
    ]
    changed = {**contents, layout.FINDINGS: json.dumps(findings).encode()}
    cell = "<td>DORA: 9 (&lt;4 h)<br>law &amp; order: 2, 1</td></tr>"
    assert cell in render_format(changed, "html").decode()


def test_a_page_is_of_its_run_alone(runs: Runs) -> None:
    alone = {name: render_format(contents, "html") for name, contents in runs.items()}
    evil = with_texts(runs["everything"], EVIL)
    for name in reversed(runs):
        assert render_format(evil, "html") not in alone.values()
        assert render_format(runs[name], "html") == alone[name]


@pytest.mark.parametrize("name", FILES)
def test_a_run_that_has_not_ended_has_no_report(runs: Runs, name: str) -> None:
    contents = {path: data for path, data in runs["everything"].items() if path != layout.RUN}
    with pytest.raises(InputError, match="has not ended"):
        render_format(contents, name)


def test_a_run_without_policies_says_that_none_was_judged(tmp_path: Path) -> None:
    contents = contents_of(tmp_path, replace(Sample(), run_id="failover-0002"))
    run = json.loads(contents[layout.RUN])
    run["derived"]["policies"] = None
    bare = {
        path: data for path, data in contents.items() if path not in {layout.FINDINGS, layout.FACTS}
    } | {layout.RUN: json.dumps(run).encode()}
    view = build(bare)
    assert view.compliance == "not-judged"
    assert view.actions[-1].kind == "policies"
    for name in FILES:
        assert render_format(bare, name)
