"""Tables of a report over a period, in one language; every format lays out these."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.report.labels import LANGUAGES, word
from orchestrator.report.period.attention import ORDER
from orchestrator.report.period.view import Control, Due, PeriodView, PolicyState, Run
from orchestrator.report.workbook_cells import Status, Table, Value, moment

_LONGEST = 400
Row = tuple[Value | Status, ...]
_DUE_COLUMNS = (
    ("Due", "到期", 9),
    ("Done", "已执行", 9),
    ("Not begun in time", "错过", 11),
    ("Never ran", "从未执行", 11),
    ("Unfinished", "未完成", 11),
    ("Removed", "已清除", 10),
    ("Outside of the period", "不在本期", 12),
    ("Unplanned", "计划外", 10),
)


def say(lang: str, english: str, chinese: str) -> str:
    """Return the text of a language."""
    return (english, chinese)[LANGUAGES.index(lang)]


def code_of(kind: str) -> str:
    """The code of a verdict or a kind of attention, as `labels.word` knows it."""
    return {"missed": "missed-run", "missing": "missing-run"}.get(kind, kind)


def cut(text: str) -> str:
    """Return the begin of a text that is whole in the run's own report."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


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
            (
                Status(code_of(one.kind)),
                moment(one.at),
                one.title[lang],
                one.about,
                cut(one.text[lang]),
            )
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
        [(one.name, *_counts(one)) for one in view.calendar],
    )


def by_tier(view: PeriodView, _: str) -> Table:
    """Due, done and not done, by tier."""
    return Table(
        ("By tier", "按等级"),
        (("Tier", "等级", 26), *_DUE_COLUMNS),
        [(one.name, *_counts(one)) for one in view.by_tier],
    )


def _counts(one: Due) -> Row:
    return (
        one.due,
        one.done,
        one.missed,
        one.missing,
        one.unfinished,
        one.removed,
        one.pending,
        one.unplanned,
    )


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
    ("Began by", "发起", 22),
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
