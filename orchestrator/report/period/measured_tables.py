"""Tables of what was measured over a period: trends, findings, repairs, targets, months."""

from __future__ import annotations

from orchestrator.report.period.tables import Row, say
from orchestrator.report.period.view import Episode, PeriodView
from orchestrator.report.workbook_cells import Status, Table, moment

MEASURES = {
    "rto_seconds": ("recovery time (RTO), s", "恢复时间（RTO，秒）"),
    "rpo_seconds": ("data loss (RPO), s", "数据丢失（RPO，秒）"),
    "rpo_transactions": ("data loss (RPO), transactions", "数据丢失（RPO，事务）"),
    "rebuild_seconds": ("site rebuilt from nothing, s", "站点从零重建（秒）"),
}
_HOUR = 3600


def trends(view: PeriodView, lang: str) -> Table:
    """Each measurement of each drill, in one line."""
    rows = [
        (
            one.title[lang],
            say(lang, *MEASURES[one.measure]),
            len(one.points),
            one.measured,
            one.met,
            one.target,
            one.least,
            one.median,
            one.most,
            one.last,
        )
        for one in view.trends
    ]
    return Table(
        ("Measured", "实测"),
        (
            ("Drill", "演练", 32),
            ("Measurement", "测量", 26),
            ("Runs", "次数", 8),
            ("Measured", "测得", 9),
            ("Met", "达标", 8),
            ("Target ≤", "目标 ≤", 9),
            ("Least", "最小", 9),
            ("Median", "中位数", 9),
            ("Most", "最大", 9),
            ("Last", "最近", 9),
        ),
        rows,
    )


def ages(view: PeriodView, lang: str) -> Table:
    """Open findings by age."""
    names = []
    above = 0
    for one in view.ages:
        if one.up_to_days is None:
            names.append(say(lang, f"more than {above} days", f"超过 {above} 天"))
        else:
            names.append(
                say(lang, f"up to {one.up_to_days} days", f"{one.up_to_days} 天以内")
                if not above
                else say(
                    lang,
                    f"more than {above}, up to {one.up_to_days} days",
                    f"{above} 天以上至 {one.up_to_days} 天",
                )
            )
            above = one.up_to_days
    return Table(
        ("Open findings by age", "未关闭问题的时长分布"),
        (("Age at the end of the period", "期末时长", 34), ("Open findings", "未关闭", 14)),
        [(name, one.count) for name, one in zip(names, view.ages, strict=True)],
    )


def open_findings(view: PeriodView, lang: str) -> Table:
    """What is open at the end of the period, the most severe first."""
    return Table(
        ("Open", "未关闭"),
        (
            ("Policy", "策略", 26),
            ("Title", "名称", 40),
            ("Severity", "级别", 9),
            ("Status", "状态", 15),
            ("First seen (UTC)", "首次发现（UTC）", 19),
            ("Last seen (UTC)", "最近发现（UTC）", 19),
            ("Runs in a row", "连续次数", 9),
            ("", "", 5),
            ("Days open", "天数", 10),
        ),
        [
            (*_seen(one, lang), "≥" if one.before else "", round(one.age_days, 1))
            for one in view.findings
            if one.closed_at is None
        ],
    )


def closed_findings(view: PeriodView, lang: str) -> Table:
    """What was repaired in the period."""
    return Table(
        ("Closed", "已关闭"),
        (
            ("Policy", "策略", 26),
            ("Title", "名称", 40),
            ("Severity", "级别", 9),
            ("Status", "状态", 15),
            ("First seen (UTC)", "首次发现（UTC）", 19),
            ("Last seen (UTC)", "最近发现（UTC）", 19),
            ("Runs in a row", "连续次数", 9),
            ("Closed (UTC)", "关闭（UTC）", 19),
            ("", "", 5),
            ("Hours to repair", "修复小时数", 10),
        ),
        [
            (
                *_seen(one, lang),
                moment(one.closed_at),
                "≥" if one.before else "",
                one.repair_seconds / _HOUR
                if one.repair_seconds is not None
                else Status("not-applicable"),
            )
            for one in view.findings
            if one.closed_at is not None
        ],
    )


def _seen(one: Episode, lang: str) -> Row:
    return (
        one.policy,
        one.title[lang],
        one.severity,
        Status(one.status),
        moment(one.first_seen_at),
        moment(one.last_seen_at),
        one.runs,
    )


def repairs(view: PeriodView, _: str) -> Table:
    """Failed drills, and when they passed again."""
    return Table(
        ("Failed drills", "未通过的演练"),
        (
            ("Drill", "演练", 24),
            ("First failed run", "首次未通过的演练", 36),
            ("Failed (UTC)", "未通过（UTC）", 19),
            ("Failed runs in a row", "连续未通过次数", 10),
            ("Next passed run", "再次通过的演练", 36),
            ("Passed (UTC)", "通过（UTC）", 19),
            ("Hours to repair", "修复小时数", 10),
        ),
        [
            (
                one.drill,
                one.failed_run,
                moment(one.failed_at),
                one.runs_failed,
                one.passed_run or Status("not-passed-since"),
                moment(one.passed_at),
                one.repair_seconds / _HOUR if one.repair_seconds is not None else None,
            )
            for one in view.repairs
        ],
    )


def availability(view: PeriodView, lang: str) -> Table:
    """What clients saw, by drill and in all."""
    rows: list[Row] = []
    for run in view.runs:
        if run.availability is not None:
            seen = run.availability
            rows.append(
                (
                    run.run_id,
                    moment(run.started_at),
                    seen.tried,
                    seen.acknowledged,
                    seen.acknowledged_percent,
                    seen.observed_seconds,
                    seen.outage_seconds,
                    seen.longest_outage_seconds,
                )
            )
    if total := view.availability:
        name = say(lang, f"all {view.measured_runs} runs", f"全部 {view.measured_runs} 次")
        all_of_it: Row = (
            name,
            None,
            total.tried,
            total.acknowledged,
            total.acknowledged_percent,
            total.observed_seconds,
            total.outage_seconds,
            total.longest_outage_seconds,
        )
        rows.insert(0, all_of_it)
    return Table(
        ("Availability in drills", "演练期间可用性"),
        (
            ("Run", "演练编号", 36),
            ("Began (UTC)", "开始（UTC）", 19),
            ("Writes tried", "尝试写入", 12),
            ("Acknowledged", "已确认", 12),
            ("Of those tried, %", "占比（%）", 12),
            ("Observed, s", "观测时长（秒）", 13),
            ("Without a write, s", "无写入时长（秒）", 13),
            ("Longest, s", "最长（秒）", 12),
        ),
        rows,
    )


def sla(view: PeriodView, lang: str) -> Table:
    """Targets by tier."""
    return Table(
        ("Targets by tier", "各等级目标"),
        (
            ("Tier", "等级", 14),
            ("Target", "目标", 36),
            ("Runs with it", "适用次数", 10),
            ("Met", "达标", 10),
            ("Missed", "未达标", 10),
            ("Not observed", "未观测到", 12),
            ("At most", "上限", 10),
            ("Median", "中位数", 10),
            ("Worst", "最差", 10),
        ),
        [
            (
                one.tier,
                f"{one.title[lang]} ({one.short})" if one.short else one.title[lang],
                one.met + one.missed + one.not_observed,
                one.met,
                one.missed,
                one.not_observed,
                one.limit,
                one.median,
                one.worst,
            )
            for one in view.sla
        ],
    )


def months(view: PeriodView, _: str) -> Table:
    """The months of the period side by side."""
    return Table(
        ("Months", "逐月"),
        (
            ("Month", "月份", 10),
            ("Due", "到期", 8),
            ("Done", "已执行", 8),
            ("Not begun in time", "错过", 9),
            ("Never ran", "从未执行", 9),
            ("Passed", "通过", 8),
            ("Failed", "未通过", 8),
            ("Inconclusive", "无法判定", 12),
            ("Targets met", "达标", 9),
            ("Targets missed", "未达标", 9),
            ("Targets not observed", "目标未观测", 10),
            ("Median RTO, s", "RTO 中位数（秒）", 10),
            ("Worst RTO, s", "RTO 最差（秒）", 10),
            ("Findings opened", "新增问题", 10),
            ("Closed", "关闭", 8),
            ("Open at the end", "期末未关闭", 9),
            ("Mean time to repair a drill, h", "演练平均修复（小时）", 12),
        ),
        [
            (
                one.month,
                one.due,
                one.done,
                one.missed,
                one.missing,
                one.passed,
                one.failed,
                one.inconclusive,
                one.targets_met,
                one.targets_missed,
                one.targets_not_observed,
                one.median_rto_seconds,
                one.worst_rto_seconds,
                one.opened,
                one.closed,
                one.open_at_end,
                one.mean_repair_seconds / _HOUR if one.mean_repair_seconds is not None else None,
            )
            for one in view.months
        ],
    )
