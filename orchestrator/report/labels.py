"""The words around the values of a report, in English and 中文."""

from __future__ import annotations

from collections.abc import Mapping

LANGUAGES = ("en", "zh")
_CODES: Mapping[str, tuple[str, str]] = {
    "pass": ("passed", "通过"),
    "fail": ("failed", "未通过"),
    "inconclusive": ("inconclusive", "无法判定"),
    "unknown": ("not observed", "未观测到"),
    "expired": ("expired", "已过期"),
    "satisfied": ("satisfied", "满足"),
    "not-satisfied": ("not satisfied", "不满足"),
    "not-applicable": ("not applicable", "不适用"),
    "done": ("done", "完成"),
    "failed": ("failed", "失败"),
    "not_run": ("not run", "未执行"),
    "met": ("met", "达标"),
    "missed": ("missed", "未达标"),
    "compliant": ("compliant", "合规"),
    "not-compliant": ("not compliant", "不合规"),
    "not-proven": ("compliance not proven", "合规性未证实"),
    "not-judged": ("compliance not judged", "未评估合规性"),
    "observed": ("observed", "已观测"),
    "unreachable": ("unreachable", "无法连接"),
    "denied": ("denied", "被拒绝"),
    "none": ("none (no user notices)", "无（用户无感知）"),
    "isolated": ("isolated twin", "隔离副本"),
    "production": ("live environment", "生产环境"),
    "prepare": ("prepare", "准备"),
    "baseline": ("baseline", "基线"),
    "fault": ("fault", "故障"),
    "recover": ("recover", "恢复"),
    "verify": ("verify", "验证"),
    "restore": ("restore", "复原"),
    "detect": ("detect", "发现"),
    "decide": ("decide", "决策"),
    "degrade": ("degrade", "降级"),
    "drain": ("drain", "排空"),
    "fence": ("fence", "隔离"),
    "promote": ("promote", "提升"),
    "route": ("route", "切换路由"),
    "application": ("application", "应用"),
    "isolate": ("isolate", "建立隔离副本"),
    "locate": ("locate", "定位"),
    "rescue": ("rescue", "抢救"),
    "fetch": ("fetch", "取回"),
    "update": ("update", "升级"),
    "manual": ("manual", "手动"),
    "schedule": ("schedule", "计划"),
    "change": ("change", "变更"),
    "backup": ("backup", "备份"),
    "plan": ("plan logged", "计划入账"),
    "controls": ("findings logged", "评估结果入账"),
    "run": ("result logged", "演练结果入账"),
    "target": ("target", "目标"),
    "check": ("check", "检查"),
    "step": ("step", "步骤"),
    "policy": ("policy", "策略"),
    "policies": ("policies", "策略"),
    "fact": ("fact", "事实"),
    "recovered-fact": ("fact of what was recovered", "恢复对象的事实"),
    "undo": ("undo", "回退"),
    "waiver": ("waiver", "豁免"),
    "verdict": ("verdict", "结论"),
    "key": ("signed with key", "签名密钥"),
    "recoverable": ("Recoverable", "可恢复"),
    "not-recoverable": ("Not recoverable", "未能恢复"),
    "recovery-not-proven": ("Recovery not proven", "恢复能力未证实"),
    "not-drilled": ("Not drilled", "未演练"),
    "programme-kept": ("All done", "全部执行"),
    "programme-broken": ("Not all done", "未全部执行"),
    "programme-unknown": ("Not all on record", "记录不全"),
    "nothing-due": ("Nothing was due", "无到期演练"),
    "missing-run": ("never ran", "从未执行"),
    "missed-run": ("not begun in time", "错过"),
    "unfinished": ("unfinished", "未完成"),
    "removed": ("removed after its retention", "保存期满已清除"),
    "pending": ("outside of the period", "不在本期"),
    "waived": ("waived", "已豁免"),
    "no-evidence": ("no evidence", "无证据"),
    "not-passed-since": ("not passed since", "此后仍未通过"),
}


def word(code: str, lang: str) -> str:
    """Return what a code of a view is called; an unknown one as it is."""
    return _CODES[code][LANGUAGES.index(lang)] if code in _CODES else code


def words(lang: str) -> dict[str, str]:
    """Return every code's word in a language."""
    return {code: pair[LANGUAGES.index(lang)] for code, pair in _CODES.items()}
