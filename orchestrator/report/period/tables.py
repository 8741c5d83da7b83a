"""The tables of a report over a period, in one language; every format lays out these."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.report.labels import LANGUAGES, word
from orchestrator.report.period.attention import ORDER
from orchestrator.report.period.view import Control, Episode, PeriodView, PolicyState, Run
from orchestrator.report.workbook_cells import Status, Table, Value, moment

MEASURES = {
    "rto_seconds": ("recovery time (RTO), s", "恢复时间（RTO，秒）"),
    "rpo_seconds": ("data loss (RPO), s", "数据丢失（RPO，秒）"),
    "rpo_transactions": ("data loss (RPO), transactions", "数据丢失（RPO，事务）"),
}
_HOUR = 3600
Row = tuple[Value | Status, ...]
_DUE_COLUMNS = (
    ("Due", "到期", 9),
    ("Done", "已执行", 9),
    ("Not begun in time", "错过", 11),
    ("Never ran", "从未执行", 11),
    ("Unfinished", "未完成", 11),
    ("Removed", "已清除", 10),
    ("Not decided yet", "尚未定论", 11),
    ("Unplanned", "计划外", 10),
)


def say(lang: str, english: str, chinese: str) -> str:
    """Return the text of a language."""
    return (english, chinese)[LANGUAGES.index(lang)]


def code_of(kind: str) -> str:
    """The code of a verdict or a kind of attention, as `labels.word` knows it."""
    return {"missed": "missed-run", "missing": "missing-run"}.get(kind, kind)


def attention(view: PeriodView, lang: str) -> Table:
    """All of what must not be overlooked, the worst first."""
    ordered = sorted(view.attention, key=lambda one: ORDER.index(one.kind))
    return Table(
        ("Not to be overlooked", "不可忽视的事项"),
        (
            ("What", "类别", 18),
            ("When (UTC)", "时间（UTC）", 19),
            ("Drill or policy", "演练或策略", 34),
            ("Run or policy id", "演练或策略编号", 34),
            ("Why", "原因", 60),
        ),
        [
            (Status(code_of(one.kind)), moment(one.at), one.title[lang], one.about, one.text[lang])
            for one in ordered
        ],
    )


def actions(view: PeriodView, lang: str) -> Table:
    """What to do, the most urgent first."""
    return Table(
        ("What to do", "待办事项"),
        (("No.", "序号", 6), ("About", "对象", 30), ("What to do", "待办事项", 90)),
        [(n, one.about, one.text[lang]) for n, one in enumerate(view.actions, start=1)],
    )


def calendar(view: PeriodView, _: str) -> Table:
    """Due, done and not done, by drill."""
    return Table(
        ("Due and done", "到期与执行"),
        (("Drill", "演练", 26), *_DUE_COLUMNS),
        [
            *((one.name, *_counts(one)) for one in view.calendar),
        ],
    )


def by_tier(view: PeriodView, _: str) -> Table:
    """Due, done and not done, by tier."""
    return Table(
        ("By tier", "按等级"),
        (("Tier", "等级", 26), *_DUE_COLUMNS),
        [(one.name, *_counts(one)) for one in view.by_tier],
    )


def _counts(one: object) -> tuple[int, ...]:
    names = (
        "due",
        "done",
        "missed",
        "missing",
        "unfinished",
        "removed",
        "pending",
        "unplanned",
    )
    return tuple(int(getattr(one, name)) for name in names)


def drills(view: PeriodView, lang: str) -> Table:
    """Every kind of drill with its last result."""
    return Table(
        ("Last results", "最近结果"),
        (
            ("Drill", "演练", 24),
            ("Title", "名称", 36),
            ("Stands", "现状", 14),
            ("Last result", "最近结果", 16),
            ("When (UTC)", "时间（UTC）", 19),
            ("Due since, without a result", "此后到期而无结果", 14),
            ("Run", "演练编号", 34),
        ),
        [
            (
                one.drill,
                one.title[lang],
                Status(one.state),
                Status(code_of(one.last_verdict)) if one.last_verdict else None,
                moment(one.last_at),
                len(one.open_after),
                one.last_run,
            )
            for one in view.drills
        ],
    )


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


def runs_by_drill(view: PeriodView, lang: str) -> Iterator[Table]:
    """A table a drill, its runs in order of time."""
    for drill in sorted({run.drill for run in view.runs}):
        mine = [run for run in view.runs if run.drill == drill]
        title = mine[-1].title
        yield Table(
            (f"{title['en']} ({drill})", f"{title['zh']}（{drill}）"),
            RUN_COLUMNS,
            [run_row(run, lang) for run in mine],
        )


RUN_COLUMNS = (
    ("Run", "演练编号", 34),
    ("Began (UTC)", "开始（UTC）", 19),
    ("Verdict", "结论", 15),
    ("RTO, s", "RTO（秒）", 10),
    ("Target ≤", "目标 ≤", 9),
    ("RPO, s", "RPO（秒）", 10),
    ("Target ≤", "目标 ≤", 9),
    ("Lost transactions", "丢失事务", 12),
    ("Target ≤", "目标 ≤", 9),
    ("Began by", "发起", 16),
    ("Approved by", "批准人", 18),
    ("Entry of the log", "账目序号", 10),
)


def run_row(run: Run, lang: str) -> Row:
    """The line of a run."""
    targets = {one.name: one.target for one in run.targets}

    def pair(name: str, value: float | None) -> Row:
        shown = Status("unknown") if value is None and name in targets else value
        return shown, targets.get(name)

    approved = {
        "not-required": say(lang, "not required", "无需批准"),
        "lacking": say(lang, "not approved", "未获批准"),
        "given": ", ".join(run.approved_by),
    }[run.approval]
    entry = next((one.index for one in run.entries if one.kind == "run"), None)
    return (
        run.run_id,
        moment(run.started_at),
        Status(code_of(run.verdict)),
        *pair("rto_seconds", run.rto_seconds),
        *pair("rpo_seconds", run.rpo_seconds),
        *pair("rpo_transactions", run.rpo_transactions),
        f"{run.operator} ({word(run.trigger, lang)})",
        approved,
        entry,
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


def policies(view: PeriodView, lang: str) -> Table:
    """Every policy as it was last judged, by priority."""
    return Table(
        ("Policies", "策略"),
        (
            ("Severity", "级别", 9),
            ("Policy", "策略", 26),
            ("Title", "名称", 40),
            ("Status", "状态", 15),
            ("Observed", "已观测", 11),
            ("Judged (UTC)", "评估（UTC）", 19),
            ("Valid until (UTC)", "有效期至（UTC）", 19),
            ("", "", 4),
            ("Reason, waiver", "原因、豁免", 44),
        ),
        [_policy(one, lang) for one in view.policies],
    )


def _policy(one: PolicyState, lang: str) -> Row:
    waived = (
        say(
            lang,
            f"Waived until {one.waived_until[:10]} ({one.waived_by})",
            f"已豁免至 {one.waived_until[:10]}（{one.waived_by}）",
        )
        if one.waived_until
        else ""
    )
    return (
        one.severity,
        one.policy,
        one.title[lang],
        Status(one.status),
        say(
            lang,
            f"{one.observed} of {one.population_size}",
            f"{one.observed} / {one.population_size}",
        ),
        moment(one.judged_at),
        moment(one.valid_until),
        "*" if one.lapsed else "",
        "\n".join(filter(None, (one.reason, waived))),
    )


def coverage(view: PeriodView, _: str) -> Table:
    """The catalogues, and how many of their controls have evidence."""
    return Table(
        ("Coverage", "覆盖情况"),
        (
            ("Catalogue", "目录", 40),
            ("Edition", "版本", 14),
            ("Controls", "控制项", 10),
            ("Satisfied", "满足", 10),
            ("Not satisfied", "不满足", 10),
            ("Not proven", "未证实", 10),
            ("Without evidence", "无证据", 10),
        ),
        [
            (
                one.source,
                one.edition,
                len(one.controls),
                one.satisfied,
                one.not_satisfied,
                one.not_proven,
                one.without,
            )
            for one in view.coverage
        ],
    )


def controls(view: PeriodView, lang: str) -> Iterator[Table]:
    """A table a catalogue: each control, its evidence, and what stays unproven."""
    for one in view.coverage:
        name = f"{one.source} {one.edition}".strip()
        yield Table(
            (name, name),
            CONTROL_COLUMNS,
            [control_row(control, lang) for control in one.controls],
        )


CONTROL_COLUMNS = (
    ("Control", "控制项", 13),
    ("Title", "名称", 32),
    ("Threshold of the text", "条文给出的阈值", 13),
    ("Status", "状态", 16),
    ("Policies and drills", "策略与演练", 32),
    ("Evidence: runs", "证据：演练", 32),
    ("Unproven", "未证明的内容", 48),
)


def control_row(one: Control, lang: str) -> Row:
    """The line of a control."""
    return (
        one.id,
        one.title[lang],
        one.threshold,
        Status(one.status or "no-evidence"),
        ", ".join((*one.policies, *one.drills)),
        ", ".join(one.runs),
        one.unproven[lang],
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


def evidence(view: PeriodView, lang: str) -> Table:
    """Which log this was taken from."""
    return Table(
        ("Evidence", "证据"),
        (("What", "内容", 34), ("Value", "值", 80)),
        [
            (say(lang, "Log", "日志"), view.origin),
            (say(lang, "Entries of the log that was read", "所读日志的条目数"), view.log_size),
            (say(lang, "Runs with a result", "有结果的演练"), len(view.runs)),
            (say(lang, "Made with", "生成工具"), f"anlan {view.rendered_by}"),
        ],
    )


def slots(view: PeriodView, _: str) -> Table:
    """Every due run."""
    return Table(
        ("Due runs", "到期明细"),
        (
            ("Due (UTC)", "到期（UTC）", 19),
            ("Drill", "演练", 26),
            ("Tier", "等级", 12),
            ("Came to", "结果", 18),
            ("Run", "演练编号", 40),
        ),
        [
            (moment(one.due_at), one.drill, one.tier, Status(code_of(one.state)), one.run_id)
            for one in view.slots
        ],
    )
