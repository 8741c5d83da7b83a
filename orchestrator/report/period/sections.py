"""The sections of a report over a period after its first page, in one language."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.report.page_tables import number
from orchestrator.report.period import measured_tables, pictures, tables
from orchestrator.report.period.tables import say
from orchestrator.report.period.view import Kind, PeriodView, Trend
from orchestrator.report.workbook_cells import Table


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


def sections_of(view: PeriodView, lang: str) -> Iterator[Section]:
    """Yield what a kind of report shows, in its order."""
    yield from _SECTIONS[view.kind](view, lang)


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


_SECTIONS: Mapping[Kind, Callable[[PeriodView, str], Iterator[Section]]] = {
    "period": _period,
    "service": _service,
}


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
                "backup began. Unplanned runs come on top. Outside of the period: planned before "
                "it began, or still possible at its end.",
                "“到期”指有效的已签名计划所要求的，以及由变更或备份触发的演练；计划外演练另计。不在本期：期前已入账计划，或期末时仍可执行。",
            )
        ],
        [Picture(say(lang, "Every run, and every gap", "每次演练与每处缺口"), drawn)]
        if drawn
        else [],
    )


def _trends(view: PeriodView, lang: str) -> Iterator[Section]:
    shown = [one for one in view.trends if one.measure == "rto_seconds" or not _always_none(one)]
    yield _section(
        lang,
        ("Recovery time and data loss over time", "恢复时间与数据丢失趋势"),
        [measured_tables.trends(view, lang)],
        [
            (
                "Data loss has a chart unless every run measured 0. Runs that did not measure "
                "stand at the bottom as hollow triangles, not as zero. Runs that never began are "
                "no points.",
                "除非每次均测得 0，否则给出数据丢失图。未测得的演练以底部的空心三角表示，"
                "不是零。未开始的演练不画点。",
            )
        ],
        [
            Picture(
                one.title[lang]
                + say(lang, ": ", "：")
                + say(lang, *measured_tables.MEASURES[one.measure]),
                pictures.trend(one, view.since, view.until, lang),
            )
            for one in shown
        ],
    )


def _always_none(trend: Trend) -> bool:
    """Whether every run measured it, and measured nothing lost."""
    return all(point.value == 0 for point in trend.points)


def _runs(view: PeriodView, lang: str) -> Section:
    return _section(
        lang,
        ("Runs by drill", "各项演练的记录"),
        list(tables.runs_by_drill(view, lang)),
        [
            (
                "A run's evidence is its bundle, which has the run's id: `anlan evidence export "
                "RUN`. The entry is where the log holds the signed result.",
                "每次演练的证据是以演练编号命名的证据包：`anlan evidence export RUN`。"
                "账目序号为已签名结果在日志中的位置。",
            )
        ],
    )


def _findings(view: PeriodView, lang: str) -> Section:
    mean = view.finding_repair
    return _section(
        lang,
        ("Findings over time", "问题随时间的变化"),
        [
            measured_tables.ages(view, lang),
            measured_tables.open_findings(view, lang),
            measured_tables.closed_findings(view, lang),
        ],
        [
            (
                "A finding is open from the first run that judged its policy and did not find it "
                "satisfied until the first that did; ages are at the end of the period. ≥: it was "
                "open already when the period first judged it, so it is older than that.",
                "问题自首次评估未满足起，至首次评估满足为止；时长计算至期末。"
                "≥ 表示本期首次评估时已存在，实际更久。",
            ),
            (
                f"Mean time to repair: {_hours(mean.mean_seconds, lang)} over {mean.repaired} "
                f"repaired; {mean.open} open.",
                f"平均修复时间：{_hours(mean.mean_seconds, lang)}（已修复 {mean.repaired} 项，"
                f"未关闭 {mean.open} 项）。",
            ),
        ],
    )


def _repairs(view: PeriodView, lang: str) -> Section:
    mean = view.drill_repair
    return _section(
        lang,
        ("Failed drills until they passed again", "未通过的演练至再次通过"),
        [measured_tables.repairs(view, lang)],
        [
            (
                f"Mean time to repair: {_hours(mean.mean_seconds, lang)} over {mean.repaired} "
                f"repaired; {mean.open} not passed since.",
                f"平均修复时间：{_hours(mean.mean_seconds, lang)}（已修复 {mean.repaired} 次，"
                f"此后仍未通过 {mean.open} 次）。",
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
                "By priority, then by status. An asterisk at the time marks facts that were no "
                "longer valid at the end of the period: what holds since then is not known.",
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
                "策略成立不等于法规已满足：最后一列说明仍未证明的内容。"
                "本期没有证据的控制项也一并列出。",
            )
        ],
    )


def _availability(view: PeriodView, lang: str) -> Section:
    return _section(
        lang,
        ("Availability while drills ran", "演练期间的可用性"),
        [measured_tables.availability(view, lang)],
        [
            (
                "Measured by the clients that drills start, while they run, and at no other time: "
                "nothing outside of drills was observed, and nothing is claimed about it. Drills "
                "break the system on purpose, so this is no availability of the service.",
                "由演练启动的客户端在演练期间测得，其余时间均未观测：对演练之外不作任何声明。"
                "演练会故意破坏系统，因此这不是服务的可用性。",
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
        [measured_tables.sla(view, lang)],
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
        [measured_tables.months(view, lang)],
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
                "验证方法：通过可信渠道从环境所有者处取得公钥与日志检查点，"
                "用 `anlan evidence log verify` 验证日志，"
                "用 `anlan evidence verify` 验证每个证据包。",
            )
        ],
    )
