"""The first sheet of the workbook: verdict, targets, what to do, what was not observed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from orchestrator.report.labels import LANGUAGES, word
from orchestrator.report.view import View
from orchestrator.report.workbook_cells import Status, Value, moment, plain

Row = tuple[Value | Status, ...]


def overview(view: View, lang: str) -> Iterator[Row]:
    """Rows of the first sheet; a row of one is a heading."""

    say = partial(_say, lang)
    yield (say("Recovery drill report", "恢复演练报告"),)
    yield (say("Verdict", "结论"), Status(view.verdict))
    yield (say("Compliance", "合规"), Status(view.compliance))
    for reason in view.reasons:
        yield (say("Because", "原因"), reason)
    for english, chinese, value in (
        ("Drill", "演练", view.title[lang]),
        ("Scenario", "场景", view.scenario[lang]),
        ("Run", "运行编号", view.run_id),
        ("Environment", "环境", view.environment),
        ("Tier", "等级", view.tier),
        ("Impact", "影响", word(view.impact, lang)),
        ("Operator", "操作人", view.operator),
        ("Trigger", "触发方式", word(view.trigger, lang)),
        ("Attempts", "执行次数", view.attempts),
        ("Started (UTC)", "开始（UTC）", moment(view.started_at)),
        ("Ended (UTC)", "结束（UTC）", moment(view.ended_at)),
        ("Duration, s", "历时（秒）", view.duration_seconds),
        ("Tool", "工具", f"{view.tool} {view.tool_version}"),
    ):
        yield (say(english, chinese), value)
    for name, parameter in view.parameters.items():
        yield (f"{say('Parameter', '参数')} {name}", plain(parameter))
    yield (say("Targets", "目标"),)
    yield tuple(
        say(*pair)
        for pair in (
            ("Target", "目标"),
            ("At most", "上限"),
            ("Measured", "实测"),
            ("State", "状态"),
        )
    )
    for one in view.targets:
        state = {"pass": "met", "fail": "missed", "unknown": "unknown"}[one.state]
        title = f"{one.title[lang]}{f' ({one.short})' if one.short else ''}"
        yield (title, one.target, one.measured, Status(state))
    yield from _lists(view, lang)
    yield from _measured(view, lang)


def _say(lang: str, english: str, chinese: str) -> str:
    return (english, chinese)[LANGUAGES.index(lang)]


def _lists(view: View, lang: str) -> Iterator[Row]:
    say = partial(_say, lang)
    if view.policies is not None:
        yield (say("Policies", "策略"),)
        for status, count in view.policies.items():
            yield (word(status, lang), count)
    yield (say("What to do", "待办事项"),)
    for action in view.actions:
        yield (action.about, action.text[lang])
    yield (say("Not observed", "未观测到"),)
    for gap in view.gaps:
        yield (f"{word(gap.kind, lang)}: {gap.what[lang]}", gap.why[lang])


def _measured(view: View, lang: str) -> Iterator[Row]:
    say = partial(_say, lang)
    if view.ledger:
        yield (say("Ledger of acknowledged writes", "已确认写入的账本"),)
        for english, chinese, count in (
            ("Acknowledged", "已确认", view.ledger.acknowledged),
            ("Recovered", "已恢复", view.ledger.recovered),
            ("Lost", "丢失", view.ledger.lost),
            ("In doubt, found committed", "存疑，已提交", view.ledger.in_doubt_committed),
            ("In doubt, absent", "存疑，不存在", view.ledger.in_doubt_absent),
        ):
            yield (say(english, chinese), count)
    if view.phases:
        yield (say("Recovery time by phase, s", "恢复时间分解（秒）"),)
        for phase in view.phases:
            yield (word(phase.name, lang), phase.seconds)
    for clock in view.clocks:
        yield (say("Clock offset, ms", "时钟偏差（毫秒）") + f" {clock.site}", clock.offset_ms)
