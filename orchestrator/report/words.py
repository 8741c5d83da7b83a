"""Words of our own that a view holds, in English and 中文."""

from __future__ import annotations

from collections.abc import Mapping

TARGETS: Mapping[str, tuple[str, str, str, str]] = {
    "rto_seconds": ("Recovery time", "恢复时间", "RTO", " s"),
    "rpo_seconds": ("Data loss, seconds", "数据丢失（秒）", "RPO", " s"),
    "rpo_transactions": ("Data loss, transactions", "数据丢失（事务）", "RPO", ""),
    "rebuild_seconds": ("Site rebuilt from nothing", "站点从零重建", "rebuild", " s"),
}
"""Name of a target → title in English and Chinese, what it is called in short, unit."""
RATES = {
    "ledger": {
        "en": "Database writes acknowledged per second",
        "zh": "每秒确认的数据库写入",
    },
    "availability": {
        "en": "ERP writes through the front door per second",
        "zh": "每秒经入口完成的 ERP 写入",
    },
}
NOT_MEASURED = {"en": "was not measured", "zh": "未测得"}
NOT_RUN = {"en": "was not run", "zh": "未执行"}
ALL_POLICIES = {"en": "all policies", "zh": "全部策略"}
NO_FACTS = {"en": "no facts were collected in this run", "zh": "本次演练未采集任何事实"}


def same(text: str) -> dict[str, str]:
    """Return a text that is the same in both languages: a name, or what a server said."""
    return {"en": text, "zh": text}
