"""What a report over a period has on its pages, in one language: made once, laid out by each format.

So the formats have the same sections, tables and numbers, and differ in their looks alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from orchestrator.report.page import number
from orchestrator.report.period import pictures, tables
from orchestrator.report.period.attention import ORDER
from orchestrator.report.period.tables import code_of, say
from orchestrator.report.period.view import KINDS, PeriodView
from orchestrator.report.workbook_cells import Status, Table

TITLES = {
    "period": ("Recovery and compliance over a period", "恢复与合规期间报告"),
    "service": ("Service review", "服务评审"),
}
URGENT, ACTIONS, DRILLS = 6, 5, 12
"""How many of each the first page shows; it says how many more there are."""


@dataclass(frozen=True)
class Panel:
    """An answer of the first page: its code, a sentence, and counts as (how many, code)."""

    question: str
    code: str
    told: str
    counts: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class Picture:
    """A chart as SVG, with a title and what it says in words."""

    title: str
    svg: str


@dataclass(frozen=True)
class Section:
    """A section after the first page."""

    title: str
    notes: tuple[str, ...]
    pictures: tuple[Picture, ...]
    tables: tuple[Table, ...]


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
    drills: tuple[tuple[str, Status, str, str], ...]
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
            for one in view.attention[:URGENT]
        ),
        more_attention=max(0, len(view.attention) - URGENT),
        actions=tuple(one.text[lang] for one in view.actions[:ACTIONS]),
        more_actions=max(0, len(view.actions) - ACTIONS),
        drills=tuple(_drill_lines(view, lang)),
        more_drills=max(0, len(view.drills) - DRILLS),
        sections=tuple(_SECTIONS[view.kind](view, lang)),
        footer=say(
            lang,
            "Shows what signed files and their log say; they, not this document, are the evidence. "
            "All times UTC.",
            "本文件仅展示已签名的文件及其日志的内容，证据是这些文件本身。所有时间均为 UTC。",
        ),
    )


def _about(view: PeriodView, lang: str) -> Iterator[tuple[str, str]]:
    tiers = ", ".join(view.tiers)
    yield say(lang, "Environment, tier", "环境、等级"), ", ".join(filter(None, (view.environment, tiers)))
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
    waived = sum(one.waived_until is not None for one in view.policies)
    counts = [(view.statuses[status], status) for status in view.statuses if view.statuses[status]]
    return Panel(
        say(lang, "Are we compliant?", "是否合规？"),
        view.compliance,
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
        say(lang, *told),
        tuple(one for one in counts if one[0]),
    )


def _drill_lines(view: PeriodView, lang: str) -> Iterator[tuple[str, Status, str, str]]:
    for one in view.drills[:DRILLS]:
        verdict = code_of(one.last_verdict) if one.last_verdict else "missing-run"
        at = _minute(one.last_at) if one.last_at else "–"
        after = (
            say(lang, f"{len(one.open_after)} due since, without a result", f"此后 {len(one.open_after)} 次到期而无结果")
            if one.open_after
            else ""
        )
        yield one.title[lang], Status(verdict), at, "; ".join(filter(None, (after, one.reason)))


def _period(view: PeriodView, lang: str) -> Iterator[Section]:
    yield _attention(view, lang)
    yield _todo(view, lang)
    yield _calendar(view, lang)
    yield from _trends(view, lang)
    yield _runs(view, lang)
    yield _findings(view, lang)
    yield _repairs(view, lang)
    yield _policies(view, lang)
    yield _controls(view, lang)
    yield _evidence(view, lang)


def _service(view: PeriodView, lang: str) -> Iterator[Section]:
    yield _attention(view, lang)
    yield _todo(view, lang)
    yield _availability(view, lang)
    yield _by_tier(view, lang)
    yield _sla(view, lang)
    yield _findings(view, lang)
    yield _repairs(view, lang)
    yield _months(view, lang)
    yield from _trends(view, lang)
    yield _runs(view, lang)
    yield _evidence(view, lang)


_SECTIONS = {"period": _period, "service": _service}
if set(_SECTIONS) != set(KINDS):
    raise RuntimeError("a kind of report has no sections")


def _section(
    lang: str,
    title: tuple[str, str],
    found: Sequence[Table],
    notes: Sequence[tuple[str, str]] = (),
    drawn: Sequence[Picture] = (),
) -> Section:
    return Section(
        say(lang, *title),
        tuple(say(lang, *note) for note in notes),
        tuple(drawn),
        tuple(found),
    )


def _attention(view: PeriodView, lang: str) -> Section:
    return _section(
        lang,
        ("Not to be overlooked", "不可忽视的事项"),
        [tables.attention(view, lang)],
        [
            (
                "All of it: what was due and is not there, what was not proven, what failed, what "
                "does not hold, and what was waived. None of it is counted as a pass.",
                "全部列出：到期而缺失的、未证实的、未通过的、不成立的以及已豁免的。均不计为通过。",
            )
        ],
    )


def _todo(view: PeriodView, lang: str) -> Section:
    return _section(lang, ("What to do", "待办事项"), [tables.actions(view, lang)])


def _calendar(view: PeriodView, lang: str) -> Section:
    drawn = pictures.calendar(view, lang)
    return _section(
        lang,
        ("Drill calendar", "演练日历"),
        [tables.calendar(view, lang), tables.drills(view, lang)],
        [
            (
                "Due is what the signed schedules in force asked for, and what a change or a "
                "backup began. Unplanned runs come on top.",
                "“到期”指有效的已签名计划所要求的，以及由变更或备份触发的演练；计划外演练另计。",
            )
        ],
        [Picture(say(lang, "Every run, and every gap", "每次演练与每处缺口"), drawn)]
        if drawn
        else [],
    )


def _trends(view: PeriodView, lang: str) -> Iterator[Section]:
    shown = [one for one in view.trends if one.measure in {"rto_seconds", "rpo_seconds"}]
    shown += [
        one
        for one in view.trends
        if one.measure == "rpo_transactions" and any(point.value for point in one.points)
    ]
    shown.sort(key=lambda one: (one.drill, one.measure))
    yield _section(
        lang,
        ("Recovery time and data loss over time", "恢复时间与数据丢失趋势"),
        [tables.trends(view, lang)],
        [
            (
                "A drill without a measurement and without a target for it has no chart. Runs that "
                "did not measure stand at the bottom as hollow triangles, not as zero. Loss in "
                "transactions has a chart where any was lost.",
                "既无实测也无目标的演练没有图。未测得的演练以底部的空心三角表示，不是零。仅当有事务丢失时才给出事务丢失图。",
            )
        ],
        [
            Picture(
                f"{one.title[lang]} · {say(lang, *tables.MEASURES[one.measure])}",
                pictures.trend(one, view.since, view.until, lang),
            )
            for one in shown
        ],
    )


def _runs(view: PeriodView, lang: str) -> Section:
    return _section(
        lang,
        ("Runs by drill", "各项演练的记录"),
        list(tables.runs_by_drill(view, lang)),
        [
            (
                "A run's evidence is its bundle, which has the run's id: `anlan evidence export "
                "RUN`. The entry is where the log holds the signed result.",
                "每次演练的证据是以演练编号命名的证据包：`anlan evidence export RUN`。账目序号为已签名结果在日志中的位置。",
            )
        ],
    )


def _findings(view: PeriodView, lang: str) -> Section:
    mean = view.finding_repair
    return _section(
        lang,
        ("Findings over time", "问题随时间的变化"),
        [tables.ages(view, lang), tables.open_findings(view, lang), tables.closed_findings(view, lang)],
        [
            (
                "A finding is open from the first run that judged its policy and did not find it "
                "satisfied until the first that did; ages are at the end of the period. ≥: it was "
                "open already when the period first judged it, so it is older than that.",
                "问题自首次评估未满足起，至首次评估满足为止；时长计算至期末。≥ 表示本期首次评估时已存在，实际更久。",
            ),
            (
                f"Mean time to repair: {_hours(mean.mean_seconds, lang)} over {mean.repaired} "
                f"repaired; {mean.open} open.",
                f"平均修复时间：{_hours(mean.mean_seconds, lang)}（已修复 {mean.repaired} 项，未关闭 {mean.open} 项）。",
            ),
        ],
    )


def _repairs(view: PeriodView, lang: str) -> Section:
    mean = view.drill_repair
    return _section(
        lang,
        ("Failed drills until they passed again", "未通过的演练至再次通过"),
        [tables.repairs(view, lang)],
        [
            (
                f"Mean time to repair: {_hours(mean.mean_seconds, lang)} over {mean.repaired} "
                f"repaired; {mean.open} not passed since.",
                f"平均修复时间：{_hours(mean.mean_seconds, lang)}（已修复 {mean.repaired} 次，此后仍未通过 {mean.open} 次）。",
            )
        ],
    )


def _hours(seconds: float | None, lang: str) -> str:
    if seconds is None:
        return say(lang, "none to measure", "无可计算")
    return f"{number(round(seconds / 3600, 2))} {say(lang, 'hours', '小时')}"


def _policies(view: PeriodView, lang: str) -> Section:
    return _section(
        lang,
        ("Policies as they were last judged", "策略的最近评估"),
        [tables.policies(view, lang)],
        [
            (
                "By priority, then by status. An asterisk at the time marks facts that were no longer "
                "valid at the end of the period: what holds since then is not known.",
                "按优先级、再按状态排列。带星号的有效期表示期末时事实已失效：此后的情况未知。",
            )
        ],
    )


def _controls(view: PeriodView, lang: str) -> Section:
    return _section(
        lang,
        ("Controls", "控制项"),
        [tables.coverage(view, lang), *tables.controls(view, lang)],
        [
            (
                "A control whose policies hold is not a fulfilled law: the last column says what "
                "stays unproven. Controls without evidence in this period are listed too.",
                "策略成立不等于法规已满足：最后一列说明仍未证明的内容。本期没有证据的控制项也一并列出。",
            )
        ],
    )


def _availability(view: PeriodView, lang: str) -> Section:
    return _section(
        lang,
        ("Availability while drills ran", "演练期间的可用性"),
        [tables.availability(view, lang)],
        [
            (
                "Measured by the clients that drills start, while they run, and at no other time: "
                "nothing outside of drills was observed, and nothing is claimed about it. Drills break "
                "the system on purpose, so this is no availability of the service.",
                "由演练启动的客户端在演练期间测得，其余时间均未观测：对演练之外不作任何声明。演练会故意破坏系统，因此这不是服务的可用性。",
            )
        ],
    )


def _by_tier(view: PeriodView, lang: str) -> Section:
    return _section(
        lang,
        ("Drills done and missed, by tier", "各等级演练的执行情况"),
        [tables.by_tier(view, lang), tables.calendar(view, lang), tables.drills(view, lang)],
    )


def _sla(view: PeriodView, lang: str) -> Section:
    return _section(
        lang,
        ("Targets met and missed, by tier", "各等级目标达成情况"),
        [tables.sla(view, lang)],
        [
            (
                "Counted are the runs whose plan had the target. Not observed is not met.",
                "统计计划中含该目标的演练。未观测到不算达标。",
            )
        ],
    )


def _months(view: PeriodView, lang: str) -> Section:
    return _section(
        lang,
        ("Month by month", "逐月对比"),
        [tables.months(view, lang)],
        [
            (
                "Calendar months in UTC, cut to the period.",
                "按 UTC 自然月，截取至报告期间。",
            )
        ],
    )


def _evidence(view: PeriodView, lang: str) -> Section:
    return _section(
        lang,
        ("Evidence", "证据"),
        [tables.evidence(view, lang)],
        [
            (
                "To verify: take the public key and a checkpoint of the log from the environment's "
                "owner over a way that you trust, then `anlan evidence log verify` for the log and "
                "`anlan evidence verify` for each bundle.",
                "验证方法：通过可信渠道从环境所有者处取得公钥与日志检查点，用 `anlan evidence log verify` 验证日志，用 `anlan evidence verify` 验证每个证据包。",
            )
        ],
    )
