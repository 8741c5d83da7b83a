"""The HTML report: what it says, that it is inert, and that it is the same every time."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from run_samples import SAMPLES, Sample, record, write_plan, write_result

from orchestrator.evidence import LocalSigner, key_id
from orchestrator.evidence.layout import read_run_directory
from orchestrator.model.errors import InputError
from orchestrator.report import charts, render, render_bundle

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


class Page(HTMLParser):
    """The page's visible text, its elements and attributes; tags must be balanced."""

    VOID = frozenset({"meta", "br", "img", "link", "input"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in {"style", "title"}:
            self.words.append(data)


@pytest.fixture(scope="module")
def signer() -> LocalSigner:
    return LocalSigner(Ed25519PrivateKey.generate())


def page_of(tmp_path: Path, sample: Sample, signer: LocalSigner) -> Page:
    return Page(render(record(tmp_path, sample, signer)))


@pytest.mark.parametrize("name", SAMPLES)
def test_a_page_is_whole_and_needs_nothing_from_outside(
    tmp_path: Path, signer: LocalSigner, name: str
) -> None:
    page = page_of(tmp_path, SAMPLES[name], signer)
    assert not {"script", "link", "img", "iframe", "object", "embed"} & set(page.tags)
    named = {key for key, _ in page.attributes}
    assert not {"src", "href", "xlink:href", "srcset", "action"} & named
    assert not [key for key in named if key.startswith("on")]
    assert "url(" not in render(tmp_path / "runs" / SAMPLES[name].run_id)


@pytest.mark.parametrize("name", SAMPLES)
def test_the_same_run_gives_the_same_page(tmp_path: Path, signer: LocalSigner, name: str) -> None:
    run_dir = record(tmp_path, SAMPLES[name], signer)
    first = render(run_dir)
    (run_dir / "report.html").write_text(first)
    assert render(run_dir) == first
    assert render_bundle(read_run_directory(run_dir)) == first.encode()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("passed failover", ["Passed", "通过", "✔", "5.98 s", "detect", "promote", "application"]),
        ("passed restore", ["Passed", "14.74 s", "Restore to an isolated twin", "isolated twin"]),
        ("passed backup", ["Passed", "This drill has no numeric target."]),
        ("failed by loss", ["Failed", "未通过", "✘", "missed", "Lost keys", "speaks TLSv1.2"]),
        ("failed in a step", ["Failed", "the server did not answer in 30 s", "not run", "Undo"]),
        ("inconclusive", ["Inconclusive", "无法判定", "not observed", "connection refused"]),
    ],
)
def test_the_page_says_in_words_what_happened(
    tmp_path: Path, signer: LocalSigner, name: str, says: list[str]
) -> None:
    text = page_of(tmp_path, SAMPLES[name], signer).text
    for words in says:
        assert words in text


def test_figures_are_those_of_the_run(tmp_path: Path, signer: LocalSigner) -> None:
    sample = SAMPLES["failed by loss"]
    run_dir = record(tmp_path, sample, signer)
    derived = json.loads((run_dir / "run.json").read_bytes())["derived"]
    text = Page(render(run_dir)).text
    assert f"{derived['ledger']['acknowledged']} {derived['ledger']['recovered']} ✘\xa04" in (
        text.replace(" ✘ 4", " ✘\xa04")
    )
    for key in derived["ledger"]["lost_keys"]:
        assert key in text
    for outage in derived["outages"]:
        assert f"{outage['failures']} failed attempts" in text


def test_failed_policies_come_first(tmp_path: Path, signer: LocalSigner) -> None:
    text = page_of(tmp_path, Sample(weak_tls=True, unreachable=True), signer).text
    order = [text.index(title) for title in ("Endpoints speak", "Audit logs are", "No unexpected")]
    assert order == sorted(order)


def test_digests_key_and_command_to_verify_are_there(tmp_path: Path, signer: LocalSigner) -> None:
    run_dir = record(tmp_path, Sample(), signer)
    text = Page(render(run_dir)).text
    assert key_id(signer.public_key) in text
    run_id = Sample().run_id
    assert f"anlan evidence verify {run_id}.zip --trust evidence.pub --run {run_id}" in text
    import hashlib

    for path, content in read_run_directory(run_dir).items():
        assert path in text
        assert hashlib.sha256(content).hexdigest() in text


def test_text_from_outside_is_inert(tmp_path: Path, signer: LocalSigner) -> None:
    run_dir = tmp_path / "runs" / Sample().run_id
    write_plan(run_dir, replace(Sample(), title=(EVIL, EVIL)))
    write_result(run_dir, replace(Sample(), title=(EVIL, EVIL)))
    plan = json.loads((run_dir / "plan.json").read_bytes())
    plan["operator"] = plan["environment"]["name"] = plan["tool"]["version"] = EVIL
    plan["parameters"] = {EVIL: EVIL}
    plan["scenario"] = {"en": EVIL, "zh": EVIL}
    (run_dir / "plan.json").write_text(json.dumps(plan))
    run = json.loads((run_dir / "run.json").read_bytes())
    derived = run["derived"]
    derived["reasons"] = [EVIL]
    for part in derived["phases"]:
        part["name"] = EVIL
    for check in derived["checks"]:
        check["name"] = check["detail"] = check["step"] = EVIL
    for step in derived["steps"]:
        step["id"] = step["error"] = EVIL
    derived["ledger"]["lost_keys"] = [EVIL]
    derived["targets"] = [{"name": EVIL, "target": 1, "measured": 2, "met": False}]
    (run_dir / "run.json").write_text(json.dumps(run))
    html = render(run_dir)
    page = Page(html)
    assert not {"script", "img"} & set(page.tags)
    assert not [key for key, _ in page.attributes if key.startswith("on")]
    assert EVIL in " ".join(page.words)


def test_a_run_that_has_not_ended_is_refused(tmp_path: Path) -> None:
    write_plan(tmp_path, Sample())
    with pytest.raises(InputError, match="has not ended"):
        render(tmp_path)


def test_a_run_of_another_version_is_not_compared(tmp_path: Path, signer: LocalSigner) -> None:
    run_dir = record(tmp_path, Sample(), signer)
    contents = read_run_directory(run_dir)
    old = contents["plan/plan.json"].replace(b'"version": "', b'"version": "0.0.')
    assert render_bundle({**contents, "plan/plan.json": old}) is None


def test_a_torn_line_of_a_journal_does_not_stop_the_page(
    tmp_path: Path, signer: LocalSigner
) -> None:
    run_dir = record(tmp_path, Sample(), signer)
    path = run_dir / "raw/ledger.jsonl"
    path.write_bytes(path.read_bytes() + b'{"kind":"ackno\n\n[1]\n7\n')
    assert "Database writes acknowledged" in render(run_dir)


def test_colour_is_never_the_only_sign(tmp_path: Path, signer: LocalSigner) -> None:
    html = render(record(tmp_path, SAMPLES["failed by loss"], signer))
    for state, sign in (("pass", "✔"), ("fail", "✘")):
        tags = re.findall(rf'<span class="tag {state}">(.)', html)
        assert tags
        assert set(tags) == {sign}


@given(
    st.lists(
        st.tuples(st.text("abcdefgh -漢", min_size=1, max_size=18), st.floats(0, 1e4)), max_size=12
    )
)
def test_labels_of_phases_never_overlap_and_stay_in_the_picture(
    parts: list[tuple[str, float]],
) -> None:
    at, rows = 0.0, []
    for name, seconds in parts:
        rows.append({"name": name, "from_seconds": at, "seconds": seconds})
        at += seconds
    picture = charts.phases(rows)
    if picture is None:
        assert at <= 0
        return
    assert len(picture.labels) == len(parts)
    for first in picture.labels:
        assert first.x >= -0.01
        assert first.x + first.width <= charts.WIDTH + 0.01
        for second in picture.labels:
            apart = (
                first.row != second.row
                or first.x + first.width <= second.x + 0.02
                or second.x + second.width <= first.x + 0.02
            )
            assert first is second or apart


@given(st.floats(0.001, 1e6))
def test_a_scale_has_few_round_ticks_within_the_picture(until: float) -> None:
    axis = charts.scale(until)
    assert 2 <= len(axis.ticks) <= 10
    assert all(charts.LEFT <= x <= charts.WIDTH - charts.RIGHT for x, _ in axis.ticks)
    assert len({text for _, text in axis.ticks}) == len(axis.ticks)


@given(st.lists(st.floats(0, 99), max_size=50))
def test_every_event_is_in_one_bin(times: list[float]) -> None:
    width, values = charts.rates(times, 100.0)
    assert sum(value * width for value in values) == pytest.approx(len(times))
