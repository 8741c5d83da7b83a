"""The formats of a report over a period: they agree, repeat, and let nothing through but text."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import pickle
import re
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import jsonschema_rs
import openpyxl
import pytest
from period_report_samples import SINCE, empty, quarter, record_of
from pypdf import PdfReader
from test_report_formats import EVIL, OSCAL_SCHEMA, page_text, pdf_text, sheets, squeezed

from orchestrator.evidence import layout
from orchestrator.model.errors import InputError
from orchestrator.model.period import Due, Period, Planned
from orchestrator.model.schema import check
from orchestrator.report.labels import LANGUAGES, word
from orchestrator.report.period.build import build_period
from orchestrator.report.period.formats import ENDINGS, render
from orchestrator.report.period.view import KINDS, Kind, PeriodView

FORMS = list(itertools.product(KINDS, LANGUAGES))


@pytest.fixture(scope="module")
def period(tmp_path_factory: pytest.TempPathFactory) -> Period:
    return quarter(tmp_path_factory.mktemp("quarter"))


@pytest.fixture(scope="module")
def views(period: Period) -> dict[Kind, PeriodView]:
    return {kind: build_period(period, kind) for kind in KINDS}


class Rendered:
    """Each format, rendered once."""

    def __init__(self, views: Mapping[Kind, PeriodView]) -> None:
        self.views = views
        self._kept: dict[tuple[str, ...], bytes] = {}

    def __call__(self, kind: Kind, form: str, lang: str = "en") -> bytes:
        key = (kind, form, lang)
        if key not in self._kept:
            self._kept[key] = render(self.views[kind], form, lang)
        return self._kept[key]

    def first_page(self, kind: Kind, lang: str) -> str:
        pdf = PdfReader(io.BytesIO(self(kind, "pdf", lang)))
        return squeezed(pdf.pages[0].extract_text().replace("\u200b", ""))

    def result(self, kind: Kind, lang: str = "en") -> dict[str, Any]:
        document = json.loads(self(kind, "oscal", lang))
        found: dict[str, Any] = document["assessment-results"]["results"][0]
        return found


@pytest.fixture(scope="module")
def rendered(views: dict[Kind, PeriodView]) -> Rendered:
    return Rendered(views)


def oscal_errors(content: bytes) -> list[str]:
    validator = jsonschema_rs.validator_for(
        json.loads(OSCAL_SCHEMA.read_bytes()), validate_formats=True
    )
    return [str(error) for error in validator.iter_errors(json.loads(content))]


def test_there_is_a_report_of_each_kind() -> None:
    assert get_args(Kind) == KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_the_json_report_fits_its_published_schema(rendered: Rendered, kind: Kind) -> None:
    data = json.loads(rendered(kind, "json"))
    check(data, "period-report")
    with pytest.raises(InputError):
        check({**data, "extra": 1}, "period-report")
    with pytest.raises(InputError):
        check({**data, "recovery": "good"}, "period-report")


@pytest.mark.parametrize(("kind", "lang"), FORMS)
def test_the_document_fits_the_schema_of_nist(rendered: Rendered, kind: Kind, lang: str) -> None:
    assert oscal_errors(rendered(kind, "oscal", lang)) == []


@pytest.mark.parametrize(("kind", "lang"), FORMS)
def test_what_failed_or_is_not_there_is_on_the_first_page(
    rendered: Rendered, kind: Kind, lang: str
) -> None:
    first = rendered.first_page(kind, lang)
    page = page_text(rendered(kind, "html", lang))
    kinds = ("missing-run", "missed-run", "unfinished", "failed", "inconclusive")
    for code in kinds:
        assert squeezed(word(code, lang)) in first
        assert word(code, lang) in page
    for one in rendered.views[kind].attention:
        assert one.about in page
        if one.kind in {"missing", "missed", "unfinished"}:
            assert one.about in first
    assert {"en": "Notalldone", "zh": "未全部执行"}[lang] in first
    for title in {
        "en": ("What to do", "Last result of each drill"),
        "zh": ("待办事项", "各项演练的最近结果"),
    }[lang]:
        assert squeezed(title) in first


@pytest.mark.parametrize(("kind", "lang"), FORMS)
def test_all_that_must_not_be_overlooked_is_in_every_format(
    rendered: Rendered, kind: Kind, lang: str
) -> None:
    view = rendered.views[kind]
    pdf = squeezed(pdf_text(rendered(kind, "pdf", lang)))
    tables = sheets(rendered(kind, "xlsx", lang))
    rows = tables[{"en": "Not to be overlooked", "zh": "不可忽视的事项"}[lang]][1:]
    assert [row[3] for row in rows] == [one.about for one in view.attention]
    said = json.dumps(rendered.result(kind, lang))
    for one in view.attention:
        assert squeezed(one.about) in pdf
        assert one.about in said


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_numbers_of_each_run_agree(rendered: Rendered, lang: str) -> None:
    view = rendered.views["period"]
    tables = sheets(rendered("period", "xlsx", lang))
    rows = {row[2]: row for row in tables[{"en": "Runs", "zh": "演练"}[lang]][1:]}
    pdf = squeezed(pdf_text(rendered("period", "pdf", lang)))
    page = page_text(rendered("period", "html", lang))
    data = {one["run_id"]: one for one in json.loads(rendered("period", "json"))["runs"]}
    unknown = word("unknown", lang)
    observed = {
        prop["value"]: one
        for one in rendered.result("period")["observations"]
        for prop in one.get("props", [])
        if prop["name"] == "run"
    }
    assert set(rows) == set(data) == {run.run_id for run in view.runs}
    for run in view.runs:
        row = rows[run.run_id]
        targets = {one.name: one.target for one in run.targets}
        for column, name in ((5, "rto_seconds"), (7, "rpo_seconds"), (9, "rpo_transactions")):
            value = getattr(run, name)
            expected = unknown if value is None and name in targets else value
            assert row[column] == expected
            assert row[column + 1] == targets.get(name)
            assert data[run.run_id][name] == value
            props = {one["name"]: one["value"] for one in observed[run.run_id]["props"]}
            assert props.get(f"measured.{name}") == (None if value is None else str(value))
        assert row[3] == datetime.fromisoformat(run.started_at).replace(tzinfo=None)
        assert run.run_id in pdf
        assert run.run_id in page
        if run.rto_seconds is not None:
            assert f"{run.rto_seconds:.2f}" in pdf
            assert f"{run.rto_seconds:.2f}" in page


@pytest.mark.parametrize(("kind", "lang"), FORMS)
def test_the_counts_agree(rendered: Rendered, kind: Kind, lang: str) -> None:
    view = rendered.views[kind]
    tables = sheets(rendered(kind, "xlsx", lang))
    due = tables[{"en": "Due and done", "zh": "到期与执行"}[lang]][1:]
    totals = [sum(row[n] for row in due) for n in range(1, 9)]
    names = ("due", "done", "missed", "missing", "unfinished", "removed", "pending", "unplanned")
    assert totals == [getattr(view.due, name) for name in names]
    props = {one["name"]: one["value"] for one in rendered.result(kind)["props"]}
    assert [props[f"due.{name}"] for name in names[:-1]] == [str(one) for one in totals[:-1]]
    slots = tables[{"en": "Due runs", "zh": "到期明细"}[lang]][1:]
    assert len(slots) == view.due.due
    if kind == "service":
        months = tables[{"en": "Months", "zh": "逐月"}[lang]][1:]
        assert [row[0] for row in months] == [one.month for one in view.months]
        assert sum(row[1] for row in months) == view.due.due
        sla = tables[{"en": "Targets by tier", "zh": "各等级目标"}[lang]][1:]
        assert [(row[3], row[4], row[5]) for row in sla] == [
            (one.met, one.missed, one.not_observed) for one in view.sla
        ]
        mean = view.drill_repair.mean_seconds
        assert mean is not None
        assert f"{mean / 3600:.0f}" in squeezed(pdf_text(rendered(kind, "pdf", lang)))


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_service_review_says_that_nothing_outside_of_drills_was_observed(
    rendered: Rendered, lang: str
) -> None:
    said = {
        "en": "nothing outside of drills was observed, and nothing is claimed about it",
        "zh": "其余时间均未观测：对演练之外不作任何声明",
    }[lang]
    assert squeezed(said) in squeezed(pdf_text(rendered("service", "pdf", lang)))
    assert said in page_text(rendered("service", "html", lang))


def test_a_drill_or_policy_that_is_not_proven_is_never_satisfied(rendered: Rendered) -> None:
    for kind in KINDS:
        view = rendered.views[kind]
        found = {one["target"]["target-id"]: one for one in rendered.result(kind)["findings"]}
        assert found["drill-programme"]["target"]["status"]["state"] == "not-satisfied"
        for drill in view.drills:
            state = found[f"drill-{drill.drill}"]["target"]["status"]["state"]
            assert (state == "satisfied") == (drill.state == "pass")
        for policy in view.policies:
            state = found[policy.policy]["target"]["status"]["state"]
            assert (state == "satisfied") == (policy.status == "satisfied")


@pytest.mark.parametrize(("kind", "lang"), FORMS)
def test_every_trend_is_drawn_with_its_target(rendered: Rendered, kind: Kind, lang: str) -> None:
    page = rendered(kind, "html", lang).decode()
    drawings = re.findall(r"<svg.*?</svg>", page)
    trends = [one for one in drawings if "rto_seconds" in one]
    assert len(trends) == 2
    failover = next(one for one in trends if "failover" in one)
    view = rendered.views[kind]
    points = next(one.points for one in view.trends if one.measure == "rto_seconds")
    met = sum(one.value is not None for one in points)
    # One more of each is in the legend.
    assert failover.count("<circle") == met + 1
    assert failover.count('fill="#ffffff"') == len(points) - met + 1
    assert failover.count("stroke-dasharray") == 2
    book = openpyxl.load_workbook(io.BytesIO(rendered(kind, "xlsx", lang)))
    trend = book[{"en": "RTO trend", "zh": "RTO 趋势"}[lang]]
    with zipfile.ZipFile(io.BytesIO(rendered(kind, "xlsx", lang))) as packed:
        charts = [name for name in packed.namelist() if name.startswith("xl/charts/chart")]
    assert len(charts) == 4
    assert {row[0].value for row in trend.iter_rows(min_row=2)} == {"failover", "restore"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_chinese_report_has_no_english_titles(rendered: Rendered, kind: Kind) -> None:
    pdf = pdf_text(rendered(kind, "pdf", "zh"))
    page = page_text(rendered(kind, "html", "zh"))
    for english in ("Runs", "Due", "never ran", "What to do", "passed", "Evidence"):
        assert english not in pdf
        assert english not in page
    for sheet in openpyxl.load_workbook(io.BytesIO(rendered(kind, "xlsx", "zh"))):
        heads = [cell.value for cell in sheet[1] if cell.value]
        assert all(re.search(r"[\u4e00-\u9fff]|^RTO", str(head)) for head in heads), heads


def test_times_and_numbers_in_the_workbook_are_no_text(rendered: Rendered) -> None:
    book = openpyxl.load_workbook(io.BytesIO(rendered("service", "xlsx")))
    runs = list(book["Runs"].iter_rows(min_row=2, values_only=True))
    assert all(isinstance(row[3], datetime) for row in runs)
    assert any(isinstance(row[5], float) for row in runs)
    months = list(book["Months"].iter_rows(min_row=2, values_only=True))
    assert all(isinstance(value, int) for row in months for value in row[1:11])
    for sheet in list(book)[1:]:
        assert sheet.freeze_panes
        assert sheet.auto_filter.ref


RENDER = """
import hashlib, pickle, sys
from pathlib import Path
from orchestrator.report.period.build import build_period
from orchestrator.report.period.formats import ENDINGS, render
period = pickle.loads(Path(sys.argv[1]).read_bytes())
for kind in ("period", "service"):
    view = build_period(period, kind)
    for name in ENDINGS:
        for lang in ("en", "zh"):
            print(kind, name, lang, hashlib.sha256(render(view, name, lang)).hexdigest())
"""


def test_another_process_zone_and_hash_seed_give_the_same_bytes(
    period: Period, rendered: Rendered, tmp_path: Path
) -> None:
    kept = tmp_path / "period.pickle"
    kept.write_bytes(pickle.dumps(period))
    done = subprocess.run(
        [sys.executable, "-c", RENDER, str(kept)],
        env={**os.environ, "TZ": "Asia/Kathmandu", "LANG": "de_DE.UTF-8", "PYTHONHASHSEED": "4711"},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    there = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines())
    assert there == {
        f"{kind} {name} {lang}": hashlib.sha256(rendered(kind, name, lang)).hexdigest()
        for kind in KINDS
        for name in ENDINGS
        for lang in LANGUAGES
    }


def with_texts(period: Period, turn: int) -> Period:
    """The period with texts of somebody else wherever its files let one be."""
    texts = itertools.cycle([*EVIL[turn:], *EVIL[:turn]])
    runs = {}
    for run_id, files in period.runs.items():
        plan, run = (json.loads(files[path]) for path in (layout.PLAN, layout.RUN))
        for name in ("title", "purpose"):
            plan["drill"][name] = {"en": next(texts), "zh": next(texts)}
        plan["operator"] = next(texts)
        plan["environment"].update(name=next(texts), tier=next(texts))
        run["derived"]["reasons"] = [next(texts), next(texts)]
        changed = {
            **files,
            layout.PLAN: json.dumps(plan).encode(),
            layout.RUN: json.dumps(run).encode(),
        }
        if layout.FINDINGS in files:
            findings = json.loads(files[layout.FINDINGS])
            for one in findings["findings"]:
                one.update(reason=next(texts), status="unknown")
                one["title"] = {"en": next(texts), "zh": next(texts)}
            changed[layout.FINDINGS] = json.dumps(findings).encode()
        runs[run_id] = changed
    return replace(
        period,
        environment=next(texts),
        origin=next(texts),
        runs=runs,
        missing=(Due(EVIL[0], EVIL[1], SINCE), Due(EVIL[2], EVIL[6], SINCE)),
        unfinished=(Planned(next(texts), next(texts), SINCE),),
    )


@pytest.mark.parametrize("turn", [0, 5])
def test_text_of_others_is_text_in_every_format(period: Period, turn: int) -> None:
    lang = LANGUAGES[turn % 2]
    view = build_period(with_texts(period, turn), KINDS[turn % 2])
    html = render(view, "html", lang).decode()
    assert "<script" not in html
    assert "<img" not in html
    check(json.loads(render(view, "json")), "period-report")
    assert oscal_errors(render(view, "oscal", lang)) == []
    content = render(view, "xlsx", lang)
    for sheet in openpyxl.load_workbook(io.BytesIO(content)):
        for row in sheet.iter_rows():
            assert not [cell.coordinate for cell in row if cell.data_type == "f"]
    pdf = PdfReader(io.BytesIO(render(view, "pdf", lang)))
    # However long a text is, all answers stay on the first page.
    first = squeezed(pdf.pages[0].extract_text())
    for title in {
        "en": ("Was every drill done", "Not to be overlooked", "What to do", "Last result of each"),
        "zh": ("到期的演练都做了吗", "不可忽视的事项", "待办事项", "各项演练的最近结果"),
    }[lang]:
        assert squeezed(title) in first
    following = squeezed("".join(page.extract_text() for page in pdf.pages[1:3]))
    assert {"en": "Allofit:", "zh": "全部列出"}[lang] in following


@pytest.mark.parametrize(("kind", "lang"), FORMS)
def test_the_first_page_is_one_page_when_everything_is_wrong(
    period: Period, kind: Kind, lang: str
) -> None:
    long = "很长的原因 and a long reason of a server " * 20
    missing = tuple(
        Due(f"drill-{n}-20261001t030000-abcdef", f"drill-of-a-long-name-{n}", SINCE)
        for n in range(40)
    )
    runs = {}
    for run_id, files in period.runs.items():
        run = json.loads(files[layout.RUN])
        run["derived"].update(verdict="fail", reasons=[long])
        runs[run_id] = {**files, layout.RUN: json.dumps(run).encode()}
    view = build_period(replace(period, runs=runs, missing=missing), kind)
    pdf = PdfReader(io.BytesIO(render(view, "pdf", lang)))
    first, second = (squeezed(page.extract_text()) for page in pdf.pages[:2])
    assert {"en": "Lastresultofeachdrill", "zh": "各项演练的最近结果"}[lang] in first
    assert {"en": "Andmore,onthepagesthatfollow:33", "zh": "另有，见后文：33"}[lang] in first
    assert {"en": "Allofit:", "zh": "全部列出"}[lang] in second


@pytest.mark.parametrize("form", ENDINGS)
@pytest.mark.parametrize(("kind", "lang"), FORMS)
def test_an_empty_period_and_one_of_gaps_alone_have_a_report(
    form: str, kind: Kind, lang: str
) -> None:
    gaps = {
        "missing": (Due("restore-gone", "restore", SINCE + timedelta(days=1)),),
        "unfinished": (Planned("failover-cut", "failover", SINCE),),
    }
    for changes in ({}, {"schedules": (record_of(),)}, gaps):
        content = render(build_period(empty(**changes), kind), form, lang)
        assert content
        if form == "json":
            check(json.loads(content), "period-report")
        if form == "oscal":
            assert oscal_errors(content) == []
        if changes is gaps and form == "html":
            assert "restore-gone" in content.decode()


@pytest.mark.parametrize("kind", KINDS)
def test_runs_without_targets_have_no_charts_and_no_numbers(period: Period, kind: Kind) -> None:
    runs = {name: files for name, files in period.runs.items() if name.startswith("backup")}
    view = build_period(replace(period, runs=runs), kind)
    assert view.trends == ()
    assert view.availability is None
    for form in ENDINGS:
        assert render(view, form)
    assert not openpyxl.load_workbook(io.BytesIO(render(view, "xlsx")))["Overview"]._charts
    assert "rto_seconds" not in render(view, "html").decode()


@pytest.mark.parametrize("lang", LANGUAGES)
def test_policies_that_do_not_hold_are_told_by_priority_on_the_first_page(
    period: Period, lang: str
) -> None:
    runs = {
        run_id: files
        for run_id, files in period.runs.items()
        if b'"status": "not-satisfied"' in files.get(layout.FINDINGS, b"")
    }
    assert len(runs) == 1
    view = build_period(empty(runs=runs))
    pdf = PdfReader(io.BytesIO(render(view, "pdf", lang)))
    first = squeezed(pdf.pages[0].extract_text())
    assert {"en": "bypriority:P0:1.", "zh": "按优先级：P0:1。"}[lang] in first
    assert {"en": "Notcompliant", "zh": "不合规"}[lang] in first


def test_a_rebuilt_site_has_a_trend(period: Period) -> None:
    run_id, files = next(
        (run_id, files) for run_id, files in period.runs.items() if run_id.startswith("failover")
    )
    run = json.loads(files[layout.RUN])
    target = {"name": "rebuild_seconds", "target": 600, "measured": 412.5, "met": True}
    run["derived"]["targets"].append(target)
    changed = {**files, layout.RUN: json.dumps(run).encode()}
    view = build_period(empty(runs={run_id: changed}))
    trend = next(one for one in view.trends if one.measure == "rebuild_seconds")
    assert (trend.points[0].value, trend.points[0].target, trend.met) == (412.5, 600, 1)
    assert "412.5" in page_text(render(view, "html"))
    assert "412.5" in pdf_text(render(view, "pdf"))


def test_one_run_alone_has_a_report(period: Period) -> None:
    run_id, files = next(iter(period.runs.items()))
    for kind in KINDS:
        view = build_period(empty(runs={run_id: files}), kind)
        for form in ENDINGS:
            content = render(view, form)
            if form in {"html", "json", "oscal"}:
                assert run_id in content.decode()
