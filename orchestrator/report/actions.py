"""What to do after a run, the most urgent first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.model.policy import BAD
from orchestrator.report.view import Action, Check, Finding, Step, Target, Text, Undo
from orchestrator.report.words import same

SHOWN = 5
"""How many the first page of a report shows."""


def actions(
    derived: Mapping[str, Any],
    *,
    targets: Sequence[Target],
    steps: Sequence[Step],
    checks: Sequence[Check],
    undo: Sequence[Undo],
    findings: Sequence[Finding],
) -> tuple[Action, ...]:
    """Return what failed, then what does not hold, then what nobody knows; waived ones last."""
    waived = {one["policy"] for one in derived["waived"]}
    open_ones = [one for one in findings if one.policy not in waived]
    found = [
        *_failed(targets, steps, checks, undo),
        *_policies(open_ones, ("not-satisfied",)),
        *_unknown(targets, checks, findings),
        *_policies(open_ones, ("unknown", "expired")),
        *_waived([one for one in findings if one.policy in waived]),
    ]
    if not found and derived["verdict"] != "pass":
        found = [Action("verdict", derived["verdict"], same(one)) for one in derived["reasons"]]
    return tuple(found)


def _failed(
    targets: Sequence[Target], steps: Sequence[Step], checks: Sequence[Check], undo: Sequence[Undo]
) -> Iterator[Action]:
    for one in undo:
        if one.status == "failed":
            yield _action(
                "undo",
                one.step,
                f"Its undo failed ({one.error}): restore the environment first.",
                f"回退失败（{one.error}）：请先恢复环境。",
            )
    for step in steps:
        if step.status == "failed":
            yield _action(
                "step",
                step.id,
                f"Step {step.title['en']!r} failed ({step.error}): correct it and run the drill "
                "again.",
                f"步骤“{step.title['zh']}”失败（{step.error}）：修正后重新演练。",
            )
    for check in checks:
        if check.state == "fail":
            name = check.name.replace("_", " ")
            yield _action(
                "check",
                f"{check.step}: {name}",
                f"This check failed ({check.detail}): find out why, and run the drill again.",
                f"该检查未通过（{check.detail}）：查明原因后重新演练。",
            )
    for target in targets:
        if target.state == "fail":
            yield _missed(target)


def _missed(target: Target) -> Action:
    if target.short == "RPO":
        return _action(
            "target",
            target.name,
            f"{target.title['en']} missed its target: find out which acknowledged writes were "
            "lost, and why replication or the archive did not hold them.",
            f"{target.title['zh']}未达目标：查明丢失了哪些已确认的写入，以及复制或归档为何未保存它们。",
        )
    return _action(
        "target",
        target.name,
        f"{target.title['en']} missed its target: shorten what took longest, or have the target "
        "decided anew.",
        f"{target.title['zh']}未达目标：缩短耗时最长的环节，或重新议定目标。",
    )


def _unknown(
    targets: Sequence[Target], checks: Sequence[Check], findings: Sequence[Finding]
) -> Iterator[Action]:
    for target in targets:
        if target.state == "unknown":
            yield _action(
                "target",
                target.name,
                f"{target.title['en']} was not measured: run the drill again.",
                f"{target.title['zh']}未测得：重新演练。",
            )
    for check in checks:
        if check.state == "unknown":
            name = check.name.replace("_", " ")
            yield _action(
                "check",
                f"{check.step}: {name}",
                f"This check was not observed ({check.detail}): make it observable, and run the "
                "drill again.",
                f"该检查未观测到（{check.detail}）：使其可观测后重新演练。",
            )
    if not findings:
        yield _action(
            "policies",
            "policies",
            "No policy was judged in this run: collect facts and judge them (`anlan policy "
            "check`).",
            "本次演练未评估任何策略：采集事实并评估（`anlan policy check`）。",
        )


def _policies(findings: Sequence[Finding], statuses: Sequence[str]) -> Iterator[Action]:
    for one in findings:
        if one.status not in statuses:
            continue
        if one.status == "not-satisfied":
            text = {key: one.remediation[key] or one.reason for key in ("en", "zh")}
            yield Action("policy", one.policy, _named(one, text))
        else:
            yield Action(
                "policy",
                one.policy,
                _named(
                    one,
                    {
                        "en": f"Nobody knows whether it holds ({one.reason}): make the system "
                        "answer, and check again.",
                        "zh": f"尚不清楚是否成立（{one.reason}）：使系统可应答后重新检查。",
                    },
                ),
            )


def _waived(findings: Sequence[Finding]) -> Iterator[Action]:
    for one in findings:
        if one.status in BAD:
            ends = min(waiver.until for waiver in one.waivers)[:10]
            yield Action(
                "waiver",
                one.policy,
                _named(
                    one,
                    {
                        "en": f"Waived until {ends}, and it does not hold: make it hold by then.",
                        "zh": f"已豁免至 {ends}，但并不成立：请在此之前整改。",
                    },
                ),
            )


def _named(finding: Finding, text: Text) -> Text:
    return {
        "en": f"{finding.title['en']} ({finding.severity}). {text['en']}",
        "zh": f"{finding.title['zh']}（{finding.severity}）。{text['zh']}",
    }


def _action(kind: str, about: str, english: str, chinese: str) -> Action:
    return Action(kind, about, {"en": english, "zh": chinese})
