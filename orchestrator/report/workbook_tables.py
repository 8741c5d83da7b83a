"""The sheets of the workbook after the first: a table each."""

from __future__ import annotations

import json
from collections.abc import Iterator

from orchestrator.report.labels import word
from orchestrator.report.view import Finding, View
from orchestrator.report.workbook_cells import Status, Table, Value, moment


def tables(view: View, lang: str) -> Iterator[Table]:
    """Yield them in a language."""
    yield Table(
        ("Steps", "步骤"),
        (
            ("Step", "步骤", 24),
            ("Title", "名称", 40),
            ("Phase", "阶段", 12),
            ("Status", "状态", 12),
            ("Began, s", "开始（秒）", 12),
            ("Took, s", "耗时（秒）", 12),
            ("Of the critical path, %", "占关键路径（%）", 14),
            ("Error", "错误", 50),
        ),
        [
            (
                one.id,
                one.title[lang],
                word(one.phase, lang),
                Status(one.status),
                one.started_seconds,
                one.seconds,
                one.percent,
                "\n".join([one.error, *one.retries]).strip(),
            )
            for one in view.steps
        ],
    )
    yield Table(
        ("Checks", "检查"),
        (
            ("Check", "检查", 36),
            ("Step", "步骤", 24),
            ("Result", "结果", 14),
            ("Detail", "详情", 80),
        ),
        [
            (one.name.replace("_", " "), one.step, Status(one.state), one.detail)
            for one in view.checks
        ],
    )
    yield Table(
        ("Findings", "策略评估"),
        (
            ("Policy", "策略", 28),
            ("Title", "名称", 44),
            ("Status", "状态", 15),
            ("Severity", "级别", 9),
            ("Reason", "原因", 50),
            ("Population", "总体", 11),
            ("Observed", "已观测", 10),
            ("Observed at (UTC)", "观测时间（UTC）", 19),
            ("Valid until (UTC)", "有效期至（UTC）", 19),
            ("Controls", "控制项", 40),
            ("Facts", "事实", 16),
            ("Waivers", "豁免", 30),
            ("Parameters", "参数", 24),
            ("What to do", "整改措施", 50),
        ),
        [_finding(one, lang) for one in view.findings],
    )
    yield Table(
        ("Observations", "逐项观测"),
        (
            ("Policy", "策略", 28),
            ("Subject", "对象", 28),
            ("Status", "状态", 15),
            ("Reason", "原因", 50),
            ("Observed value", "观测值", 50),
            ("Fact", "事实", 8),
            ("Collected (UTC)", "采集时间（UTC）", 19),
            ("Valid until (UTC)", "有效期至（UTC）", 19),
        ),
        [
            (
                finding.policy,
                one.subject,
                Status(one.status),
                one.reason,
                "\n".join(f"{value.field} = {value.value}" for value in one.values),
                one.fact,
                moment(one.collected_at),
                moment(one.valid_until),
            )
            for finding in view.findings
            for one in finding.observations
        ],
    )
    yield Table(
        ("Controls", "控制项"),
        (
            ("Source", "来源", 24),
            ("Edition", "版本", 12),
            ("Control", "控制项", 14),
            ("Title", "名称", 36),
            ("Threshold of the text", "条文给出的阈值", 16),
            ("Status of its policies", "策略状态", 15),
            ("Policies", "策略", 40),
            ("This drill", "本演练", 10),
            ("Unproven", "未证明的内容", 60),
        ),
        [
            (
                one.source,
                one.edition,
                one.id,
                one.title[lang],
                one.threshold,
                Status(one.status) if one.status else None,
                ", ".join(one.policies),
                view.drill if one.drill else "",
                one.unproven[lang],
            )
            for one in view.controls
        ],
    )
    yield Table(
        ("Facts", "事实"),
        (
            ("Fact", "事实", 8),
            ("Kind", "类别", 24),
            ("Subject", "对象", 28),
            ("Status", "状态", 13),
            ("Collected (UTC)", "采集时间（UTC）", 19),
            ("Source", "来源", 36),
            ("Query", "查询", 60),
            ("Rows", "行数", 8),
            ("Took, ms", "耗时（毫秒）", 11),
            ("Error", "错误", 36),
            ("sha256", "sha256", 68),
            ("File", "文件", 26),
        ),
        [
            (
                one.id,
                one.kind,
                one.subject,
                Status(one.status),
                moment(one.collected_at),
                one.source,
                one.query,
                one.row_count,
                one.duration_ms,
                one.error,
                one.digest,
                one.file,
            )
            for one in view.facts
        ],
    )
    yield Table(
        ("Evidence", "证据"),
        (
            ("What", "内容", 44),
            ("Bytes", "字节", 12),
            ("sha256", "sha256", 74),
            ("Logged (UTC)", "入账时间（UTC）", 19),
            ("Entry of the log", "账目序号", 12),
        ),
        [
            *((word("key", lang), None, key, None, None) for key in view.evidence.keys),
            *(
                (word(one.kind, lang), None, one.digest, moment(one.time), one.index)
                for one in view.evidence.log
            ),
            *((one.path, one.size_bytes, one.sha256, None, None) for one in view.evidence.files),
        ],
    )


def _finding(one: Finding, lang: str) -> tuple[Value | Status, ...]:
    return (
        one.policy,
        one.title[lang],
        Status(one.status),
        one.severity,
        one.reason,
        one.population_size,
        one.observed,
        moment(one.observed_at),
        moment(one.valid_until),
        "\n".join(
            f"{ref.source} {ref.id}" + (f" ({ref.threshold})" if ref.threshold else "")
            for ref in one.controls
        ),
        ", ".join(one.facts),
        "\n".join(
            f"{waiver.subject} → {waiver.until[:10]}: {waiver.reason} ({waiver.owner})"
            for waiver in one.waivers
        ),
        json.dumps(dict(one.parameters), ensure_ascii=False) if one.parameters else "",
        one.remediation[lang] if one.status != "satisfied" else "",
    )
