"""What a report over a period has on its pages, in one language: made once, for every format.

So the formats have the same sections, tables and numbers, and differ in their looks alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.model.policy import BAD
from orchestrator.report.labels import word
from orchestrator.report.page_tables import number
from orchestrator.report.period.attention import ORDER
from orchestrator.report.period.sections import Section, sections_of
from orchestrator.report.period.tables import code_of, say
from orchestrator.report.period.view import Attention, PeriodView, TargetResult
from orchestrator.report.workbook_cells import Status

TITLES = {
    "period": ("Recovery and compliance over a period", "恢复与合规期间报告"),
    "service": ("Service review", "服务评审"),
}
URGENT, ACTIONS, DRILLS = 6, 5, 10
_OF_A_KIND = 1
"""How many of each the first page shows; it says how many more there are."""


@dataclass(frozen=True)
class Panel:
    """An answer of the first page: its code and words, a sentence, counts as (how many, code)."""

    question: str
    code: str
    answer: str
    told: str
    counts: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class DrillLine:
    """A drill on the first page: its last result, measurements against their targets."""

    title: str
    status: Status
    at: str
    rto: str
    lost: str
    note: str


@dataclass(frozen=True)
class Content:
    """The first page, then the sections. `attention` are counts by code, `urgent` the first."""

    title: str
    subject: str
    about: tuple[tuple[str, str], ...]
    panels: tuple[Panel, ...]
    attention: tuple[tuple[int, str], ...]
    urgent: tuple[tuple[Status, str, str, str], ...]
    more_attention: int
    actions: tuple[str, ...]
    more_actions: int
    drills: tuple[DrillLine, ...]
    more_drills: int
    sections: tuple[Section, ...]
    footer: str


def content_of(view: PeriodView, lang: str) -> Content:
    """Return what the report shows in a language."""
    counted = Counter(one.kind for one in view.attention)
    return Content(
        title=say(lang, *TITLES[view.kind]),
        subject=view.environment,
        about=tuple(_about(view, lang)),
        panels=(_recovery(view, lang), _compliance(view, lang), _programme(view, lang)),
        attention=tuple((counted[kind], code_of(kind)) for kind in ORDER if counted[kind]),
        urgent=tuple(
            (Status(code_of(one.kind)), one.title[lang], one.about, one.text[lang])
            for one in _urgent(view)
        ),
        more_attention=max(0, len(view.attention) - URGENT),
        actions=tuple(one.text[lang] for one in view.actions[:ACTIONS]),
        more_actions=max(0, len(view.actions) - ACTIONS),
        drills=tuple(_drill_lines(view, lang)),
        more_drills=max(0, len(view.drills) - DRILLS),
        sections=tuple(sections_of(view, lang)),
        footer=say(
            lang,
            "Shows what signed files and their log say; they, not this document, are the evidence. "
            "All times UTC.",
            "本文件仅展示已签名的文件及其日志的内容，证据是这些文件本身。所有时间均为 UTC。",
        ),
    )


def _urgent(view: PeriodView) -> list[Attention]:
    """The newest of each kind, so that many of one do not hide another; the worst kind first."""
    found: list[Attention] = []
    for kind in ORDER:
        mine = [one for one in view.attention if one.kind == kind]
        found += sorted(mine, key=lambda one: one.at, reverse=True)[:_OF_A_KIND]
    left = [one for one in view.attention if one not in found]
    chosen = (found + left)[:URGENT]
    return sorted(chosen, key=lambda one: ORDER.index(one.kind))


def _about(view: PeriodView, lang: str) -> Iterator[tuple[str, str]]:
    tiers = ", ".join(view.tiers)
    yield (
        say(lang, "Environment, tier", "环境、等级"),
        ", ".join(filter(None, (view.environment, tiers))),
    )
    yield (
        say(lang, "From (included)", "自（含）"),
        _minute(view.since),
    )
    yield say(lang, "Until (not included)", "至（不含）"), _minute(view.until)
    yield (
        say(lang, "Last result on record", "最后入账结果"),
        _minute(view.recorded_until) if view.recorded_until else say(lang, "none", "无"),
    )


def _minute(text: str) -> str:
    return f"{text[:10]} {text[11:16]}"


def _answer(code: str, lang: str) -> str:
    text = word(code, lang)
    return text[:1].upper() + text[1:]


def _recovery(view: PeriodView, lang: str) -> Panel:
    told = {
        "pass": (
            "The last result of every drill passed, and nothing that was due after it is open.",
            "每项演练的最近结果均为通过，此后到期的演练没有悬而未决的。",
        ),
        "fail": (
            "At least one drill failed and has not passed since.",
            "至少一项演练未通过，此后也未再通过。",
        ),
        "unknown": (
            "No drill stands failed, but not every one is proven: that is no pass.",
            "没有未通过的演练，但并非每项都已证实：这不算通过。",
        ),
        "none": ("No drill is on record in this period.", "本期没有任何演练记录。"),
    }[view.recovery]
    code = {
        "pass": "recoverable",
        "fail": "not-recoverable",
        "unknown": "recovery-not-proven",
        "none": "not-drilled",
    }[view.recovery]
    states = Counter(one.state for one in view.drills)
    return Panel(
        say(lang, "Are we recoverable?", "能否恢复？"),
        code,
        _answer(code, lang),
        say(lang, *told),
        tuple((states[state], state) for state in ("fail", "unknown", "pass") if states[state]),
    )


def _compliance(view: PeriodView, lang: str) -> Panel:
    told = {
        "compliant": (
            "Every policy held when it was last judged in the period.",
            "每项策略在本期最近一次评估时均成立。",
        ),
        "not-compliant": (
            "At least one policy did not hold when it was last judged.",
            "至少一项策略在最近一次评估时不成立。",
        ),
        "not-proven": (
            "No policy is known not to hold, but not all are known.",
            "未发现不成立的策略，但并非全部已知。",
        ),
        "not-judged": ("No policy was judged in this period.", "本期未评估任何策略。"),
    }[view.compliance]
    lapsed = sum(one.lapsed for one in view.policies)
    more = (
        say(
            lang,
            f" Facts of {lapsed} of {len(view.policies)} were no longer valid at the end of the "
            "period.",
            f"期末时，{len(view.policies)} 项中有 {lapsed} 项的事实已过有效期。",
        )
        if lapsed
        else ""
    )
    bad = Counter(one.severity for one in view.policies if one.status in BAD)
    if bad:
        ranked = ", ".join(f"{severity}: {count}" for severity, count in sorted(bad.items()))
        more = (
            say(
                lang,
                f" Not holding or not known, by priority: {ranked}.",
                f"不成立或未知的，按优先级：{ranked}。",
            )
            + more
        )
    waived = sum(one.waived_until is not None for one in view.policies)
    counts = [(view.statuses[status], status) for status in view.statuses if view.statuses[status]]
    return Panel(
        say(lang, "Are we compliant?", "是否合规？"),
        view.compliance,
        _answer(view.compliance, lang),
        say(lang, *told) + more,
        (*counts, *(((waived, "waived"),) if waived else ())),
    )


def _programme(view: PeriodView, lang: str) -> Panel:
    told = {
        "pass": ("Every drill that was due was done.", "每次到期的演练均已执行。"),
        "fail": ("Drills that were due were not done.", "有到期的演练没有执行。"),
        "unknown": (
            "Some drills that were due have no result on record.",
            "有到期的演练没有结果记录。",
        ),
        "none": ("Nothing was due in this period.", "本期没有到期的演练。"),
    }[view.programme]
    code = {
        "pass": "programme-kept",
        "fail": "programme-broken",
        "unknown": "programme-unknown",
        "none": "nothing-due",
    }[view.programme]
    due = view.due
    counts = (
        (due.missing, "missing-run"),
        (due.missed, "missed-run"),
        (due.unfinished, "unfinished"),
        (due.removed, "removed"),
        (due.done, "done"),
        (due.pending, "pending"),
    )
    return Panel(
        say(lang, "Was every drill done that was due?", "到期的演练都做了吗？"),
        code,
        _answer(code, lang),
        say(lang, *told),
        tuple(one for one in counts if one[0]),
    )


def _drill_lines(view: PeriodView, lang: str) -> Iterator[DrillLine]:
    runs = {run.run_id: run for run in view.runs}
    for one in view.drills[:DRILLS]:
        last = runs.get(one.last_run or "")
        targets = {target.name: target for target in last.targets} if last else {}
        after = len(one.open_after)
        told = say(lang, f"{after} due since, without a result", f"此后 {after} 次到期而无结果")
        yield DrillLine(
            title=one.title[lang],
            status=Status(code_of(one.last_verdict) if one.last_verdict else "missing-run"),
            at=_minute(one.last_at) if one.last_at else "–",
            rto=_against(targets.get("rto_seconds"), lang),
            lost=_against(targets.get("rpo_transactions"), lang),
            note="; ".join(filter(None, (told if after else "", one.reason))),
        )


def _against(target: TargetResult | None, lang: str) -> str:
    """A measurement against its target: `5.98 ≤ 30`, `41 > 30`."""
    if target is None:
        return "–"
    if target.measured is None:
        return word("unknown", lang)
    sign = "≤" if target.met else ">"
    return f"{number(target.measured)} {sign} {number(target.target)}"
