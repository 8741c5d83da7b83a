"""What a report over a period shows first, and what to do about it, the most urgent first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from orchestrator.model.fact import timestamp
from orchestrator.model.period import Due, Period, Planned
from orchestrator.model.policy import BAD
from orchestrator.report.period.view import (
    Attention,
    DrillState,
    PolicyState,
    Run,
)
from orchestrator.report.view import Action, Text
from orchestrator.report.words import same

_RUNS = ("missing", "missed", "unfinished", "failed", "inconclusive", "removed")
_POLICIES = ("not-satisfied", "expired", "unknown", "waived")
ORDER = (*_RUNS[:4], "not-satisfied", "inconclusive", "expired", "unknown", "waived", "removed")
"""The kinds of what must not be overlooked, the worst first."""


def attention_of(
    period: Period, runs: Sequence[Run], policies: Sequence[PolicyState]
) -> tuple[Attention, ...]:
    """Return all of it by kind, each kind in order of time or severity."""
    titles = {run.drill: run.title for run in runs}
    found = [*_absent(period, titles), *_ended(runs), *_policies(policies)]
    return tuple(sorted(found, key=lambda one: ORDER.index(one.kind)))


def _absent(period: Period, titles: Mapping[str, Text]) -> Iterator[Attention]:
    def title(drill: str) -> Text:
        return titles.get(drill, same(drill))

    for due in sorted(period.missing, key=lambda one: (one.due_at, one.run_id)):
        yield Attention(
            "missing",
            due.run_id,
            due.drill,
            title(due.drill),
            timestamp(due.due_at),
            {
                "en": "It was due; the log has neither a run nor a word why not.",
                "zh": "已到期，但日志中既无演练也无说明。",
            },
        )
    for planned in sorted(period.unfinished, key=lambda one: (one.planned_at, one.run_id)):
        yield Attention(
            "unfinished",
            planned.run_id,
            planned.drill,
            title(planned.drill),
            timestamp(planned.planned_at),
            {"en": "It was planned and has no result.", "zh": "已入账计划，但没有结果。"},
        )
    for one in sorted(period.removed, key=lambda one: (one.removed_at, one.run_id)):
        yield Attention(
            "removed",
            one.run_id,
            one.drill,
            title(one.drill),
            timestamp(one.removed_at),
            same(one.reason),
        )


_VERDICTS = {"missed": "missed", "fail": "failed", "inconclusive": "inconclusive"}


def _ended(runs: Sequence[Run]) -> Iterator[Attention]:
    for run in runs:
        if run.verdict in _VERDICTS:
            missed = run.verdict == "missed"
            # That nothing of a run that never began was observed goes without saying.
            said = [one for one in run.reasons if one.startswith("missed: ") or not missed]
            at = (run.due_at or run.started_at) if missed else run.started_at
            text = same("; ".join(said) or run.verdict)
            yield Attention(_VERDICTS[run.verdict], run.run_id, run.drill, run.title, at, text)


def _policies(policies: Sequence[PolicyState]) -> Iterator[Attention]:
    for one in policies:
        if one.status not in BAD:
            continue
        if one.waived_until:
            text = {
                "en": f"Waived until {one.waived_until[:10]} ({one.waived_by}), and not satisfied "
                f"by that: {one.reason}",
                "zh": f"已豁免至 {one.waived_until[:10]}（{one.waived_by}），但并未因此满足："
                f"{one.reason}",
            }
            yield Attention("waived", one.policy, "", one.title, one.judged_at, text)
        else:
            yield Attention(one.status, one.policy, "", one.title, one.judged_at, same(one.reason))


def actions_of(
    period: Period,
    drills: Sequence[DrillState],
    policies: Sequence[PolicyState],
    todo: Mapping[str, Sequence[Action]],
) -> tuple[Action, ...]:
    """Return what to do: drills that fail, runs that are not there, policies, doubts, waivers.

    `todo` maps the id of a run to what its own report says is to be done.
    """
    judged = [one for one in policies if one.status in BAD]
    return (
        *_failing(drills, todo),
        *_not_run(period, drills),
        *_unsatisfied(judged),
        *_doubtful(drills, todo),
        *_unknown(judged),
        *_waived(judged),
    )


def _failing(
    drills: Sequence[DrillState], todo: Mapping[str, Sequence[Action]]
) -> Iterator[Action]:
    for one in drills:
        if one.last_verdict == "fail" and one.last_run:
            steps = _steps(todo.get(one.last_run, ()))
            yield _action(
                "failed",
                one.drill,
                f"Drill {one.drill} last failed ({_day(one.last_at)}). {steps['en']}",
                f"演练 {one.drill} 最近一次未通过（{_day(one.last_at)}）。{steps['zh']}",
            )


def _not_run(period: Period, drills: Sequence[DrillState]) -> Iterator[Action]:
    for kind, ids, english, chinese in (
        (
            "missing",
            _ids(period.missing),
            "due and never ran: find out why no worker began, and run the drill",
            "次到期未执行：查明工作进程为何未执行，并补做演练",
        ),
        (
            "unfinished",
            _ids(period.unfinished),
            "planned without a result: resume or abort (`anlan drill resume RUN`)",
            "次有计划而无结果：续做或中止（`anlan drill resume RUN`）",
        ),
    ):
        for drill, runs in ids.items():
            yield _action(
                kind,
                drill,
                f"Drill {drill}: {len(runs)} {_were(runs)} {english}.",
                f"演练 {drill}：{len(runs)} {chinese}。",
            )
    for one in drills:
        if one.last_verdict == "missed":
            yield _action(
                "missed",
                one.drill,
                f"Drill {one.drill} was missed when it was last due ({one.reason}): run it.",
                f"演练 {one.drill} 最近一次到期时错过（{one.reason}）：请补做。",
            )


def _were(runs: Sequence[str]) -> str:
    return "run was" if len(runs) == 1 else "runs were"


def _ids(absent: Sequence[Due] | Sequence[Planned]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in absent:
        found.setdefault(one.drill, []).append(one.run_id)
    return dict(sorted(found.items()))


def _unsatisfied(policies: Sequence[PolicyState]) -> Iterator[Action]:
    for one in policies:
        if one.status == "not-satisfied" and not one.waived_until:
            yield _action(
                "policy",
                one.policy,
                f"{_named(one, 'en')} {one.remediation['en'] or one.reason}",
                f"{_named(one, 'zh')}{one.remediation['zh'] or one.reason}",
            )


def _doubtful(
    drills: Sequence[DrillState], todo: Mapping[str, Sequence[Action]]
) -> Iterator[Action]:
    for one in drills:
        if one.last_verdict == "inconclusive" and one.last_run:
            steps = _steps(todo.get(one.last_run, ()))
            yield _action(
                "inconclusive",
                one.drill,
                f"Drill {one.drill} last proved nothing ({_day(one.last_at)}). {steps['en']}",
                f"演练 {one.drill} 最近一次无法判定（{_day(one.last_at)}）。{steps['zh']}",
            )


def _unknown(policies: Sequence[PolicyState]) -> Iterator[Action]:
    for one in policies:
        if one.status in BAD[1:] and not one.waived_until:
            yield _action(
                "policy",
                one.policy,
                f"{_named(one, 'en')} Nobody knows whether it holds ({one.reason}): make the "
                "system answer, and check again.",
                f"{_named(one, 'zh')}尚不清楚是否成立（{one.reason}）：使系统可应答后重新检查。",
            )


def _waived(policies: Sequence[PolicyState]) -> Iterator[Action]:
    for one in policies:
        if one.waived_until:
            ends = one.waived_until[:10]
            yield _action(
                "waiver",
                one.policy,
                f"{_named(one, 'en')} Waived until {ends}, and it does not hold: make it hold by "
                "then.",
                f"{_named(one, 'zh')}已豁免至 {ends}，但并不成立：请在此之前整改。",
            )


def _steps(actions: Sequence[Action]) -> Text:
    """The first thing about the drill that the run's own report says is to be done."""
    own = (one.text for one in actions if one.kind not in {"policy", "policies", "waiver"})
    return next(own, same(""))


def _named(policy: PolicyState, lang: str) -> str:
    title = policy.title[lang]
    return f"{title} ({policy.severity})." if lang == "en" else f"{title}（{policy.severity}）。"


def _day(at: str | None) -> str:
    return (at or "")[:10]


def _action(kind: str, about: str, english: str, chinese: str) -> Action:
    return Action(kind, about, {"en": english.strip(), "zh": chinese.strip()})
