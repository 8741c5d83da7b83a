"""The rows of the page's long tables: policies, facts and files, which are most of the page.

A quarter's evidence is 500 such pages, each rendered again to be compared, and Python writes these
rows several times faster than a template does. Every text in them passes `_text`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from itertools import groupby

from markupsafe import Markup, escape

from orchestrator.report.view import ControlRef, Fact, File, Finding

SIGNS = {
    "pass": "✔",
    "fail": "✘",
    "unknown": "?",
    "inconclusive": "?",
    "satisfied": "✔",
    "not-satisfied": "✘",
    "expired": "?",
    "not-applicable": "–",
    "done": "✔",
    "failed": "✘",
    "not_run": "–",
}
_WORDS = {
    "pass": "pass",
    "fail": "fail",
    "unknown": "not observed",
    "satisfied": "satisfied",
    "not-satisfied": "not satisfied",
    "expired": "expired",
    "not-applicable": "not applicable",
    "done": "done",
    "failed": "failed",
    "not_run": "not run",
}


def tag(state: str, word: str = "") -> Markup:
    """Return a state as a coloured sign and a word: its own, or another."""
    return _html(_tag(state, word))


def utc(text: str) -> str:
    """Return a recorded time as people read it: `2026-11-24 20:00:00 UTC`. Raises ValueError."""
    moment = datetime.fromisoformat(text).astimezone(UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def number(value: float) -> str:
    """Return a number as people read it: `1,234`, `5.98`."""
    return f"{value:,.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else f"{value:,}"


def policy_rows(findings: Iterable[Finding]) -> Markup:
    """Return a row for each finding."""
    return _html("".join(map(_policy_row, findings)))


def fact_rows(facts: Iterable[Fact]) -> Markup:
    """Return a row for each fact."""
    return _html("".join(map(_fact_row, facts)))


def file_rows(files: Iterable[File]) -> Markup:
    """Return a row for each file."""
    return _html(
        "".join(
            f'<tr><td>{_text(one.path)}</td><td class="n">{number(one.size_bytes)}</td>'
            f'<td class="mono digest">{one.sha256}</td></tr>\n'
            for one in files
        )
    )


def _policy_row(one: Finding) -> str:
    waivers = "".join(
        f"<br>Waived at {_text(waiver.subject)} until {utc(waiver.until)}: "
        f"{_text(waiver.reason)} ({_text(waiver.owner)}) "
        '<span class="zh" lang="zh">已豁免（并不因此满足）</span>'
        for waiver in one.waivers
    )
    return (
        f'<tr><td>{_text(one.title["en"])} <span class="zh" lang="zh">{_text(one.title["zh"])}'
        f"</span>{_text(one.reason)}{waivers}</td>\n"
        f"<td>{_tag(one.status)}</td><td>{_text(one.severity)}</td>"
        f"<td>{one.observed} of {one.population_size} observed</td>\n"
        f"<td>{_controls(one.controls)}</td></tr>\n"
    )


@lru_cache(maxsize=512)  # the runs of an environment are judged by the same policies
def _controls(controls: tuple[ControlRef, ...]) -> str:
    """A line for each source, with its controls in their order."""
    lines = []
    for _, group in groupby(sorted(controls, key=_source), _source):
        of_one = list(group)
        named = ", ".join(
            f"{_text(one.id)} ({_text(one.threshold)})" if one.threshold else _text(one.id)
            for one in of_one
        )
        lines.append(f"{_text(of_one[0].source)}: {named}")
    return "<br>".join(lines)


def _source(one: ControlRef) -> str:
    return one.source.lower()


def _fact_row(one: Fact) -> str:
    state = "pass" if one.status == "observed" else "unknown"
    rows = "–" if one.row_count is None else one.row_count
    return (
        f'<tr><td class="id">{_text(one.kind.replace("_", " "))}</td>'
        f'<td class="id">{_text(one.subject)}</td><td>{_tag(state, one.status)}</td>'
        f'<td class="id">{_clock(one.collected_at)}</td><td>{_text(one.source)}</td>'
        f'<td class="n">{rows}</td></tr>\n'
    )


@lru_cache(maxsize=1024)  # the facts of a run are of a few moments
def _clock(collected_at: str) -> str:
    return utc(collected_at)[11:19]


@lru_cache(maxsize=128)
def _tag(state: str, word: str = "") -> str:
    word = word or _WORDS[state]
    return f'<span class="tag {_text(state)}">{SIGNS[state]}&nbsp;{_text(word)}</span>'


def _text(text: str) -> str:
    return str(escape(text))


def _html(text: str) -> Markup:
    return Markup(text)  # noqa: S704  (every text in it was escaped above)
