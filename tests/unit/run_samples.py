"""Run directories as the engine leaves them, made from journals that a drill could have written.

Verdicts are derived by the engine's own function, as for a real run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.evidence import EvidenceStore, Rederive, Signer
from orchestrator.evidence.contents import Contents
from orchestrator.evidence.layout import read_run_directory
from orchestrator.evidence.persons.waivers import judge as judge_waivers
from orchestrator.model.fact import Fact, facts_document, timestamp
from orchestrator.policy.rederive import rederive_findings, rederive_recovered
from orchestrator.report import render_bundle
from orchestrator.verdict import derive

Change = Callable[[dict[str, bytes], datetime, datetime], dict[str, bytes]]
"""(raw data, when the survivor was judged, when the run ended) → raw data."""
SECOND = 1_000_000_000
ORIGIN_NS = 9_000 * SECOND

POLICIES = {
    "tls.yaml": """\
schema: anlan.policies/v2
policies:
  - id: tls-version
    title: {en: Endpoints speak TLS 1.3, zh: 端点使用 TLS 1.3}
    rationale: {en: Older versions can be downgraded., zh: 旧版本可被降级。}
    severity: P0
    facts: tls_endpoint
    subjects: ["{site}/postgresql", common/front-door]
    valid_hours: 26
    parameters: {minimum: {environment: tls.minimum_version}}
    must:
      - {field: negotiated_version, schema: {minimumVersion: {parameter: minimum}},
         else: "speaks {actual}, must be {expected} or newer"}
    remediation: {en: Set it., zh: 设置它。}
    examples: &examples
      - {expect: satisfied, data: {}}
      - {expect: not-satisfied, data: {}}
  - id: superusers
    title: {en: No unexpected superuser, zh: 无意外的超级用户}
    rationale: {en: A superuser bypasses every check., zh: 超级用户可绕过一切检查。}
    severity: P0
    facts: database_roles
    subjects: ["{site}/postgresql"]
    valid_hours: 26
    parameters: {accepted: {baseline: superusers}}
    must:
      - {field: superusers, schema: {onlyMatching: {parameter: accepted}},
         else: "unexpected superusers: {offending}"}
    remediation: {en: Take it away., zh: 取消它。}
    examples: *examples
  - id: audit-retention
    title: {en: Audit logs are kept for 184 days, zh: 审计日志保存至少六个月}
    rationale: {en: The law asks for six months., zh: 法律要求六个月。}
    severity: P1
    facts: audit_log
    subjects: ["{site}/postgresql"]
    valid_hours: 26
    parameters: {days: 184}
    must:
      - {field: retention_days, schema: {type: number, minimum: {parameter: days}},
         else: "keeps {actual} days, must be {expected}"}
    remediation: {en: Keep them longer., zh: 延长保存期。}
    examples: *examples
""",
    "catalogues/law.yaml": """\
schema: anlan.catalogue/v1
id: law
name: 网络安全法
title: {en: Cybersecurity law, zh: 网络安全法}
edition: "2026"
source: https://example.org/
controls:
  - id: Art. 23(3)
    title: {en: Network logs, zh: 网络日志}
    condition: {en: Logs are kept., zh: 日志被保存。}
    threshold: 6 months
    policies: [audit-retention]
    unproven: {en: Their content., zh: 其内容。}
""",
    "baseline/superusers.yaml": """\
schema: anlan.baseline/v1
lists:
  superusers:
    - {name: postgres, reason: owner of the cluster}
""",
}

ENVIRONMENT: dict[str, Any] = {
    "schema": "anlan.environment/v1",
    "name": "local",
    "tier": "VIP",
    "sites": {"a": {"role": "primary"}, "b": {"role": "standby"}},
    "targets": {"rto_seconds": 30, "rpo_seconds": 0, "rpo_transactions": 0},
    "tls": {"minimum_version": "TLSv1.3"},
    "deployment": {"digest": hashlib.sha256(b"deployment").hexdigest()},
}

_STEPS = {
    "failover": [
        ("start-probes", "prepare", 0.4, "Start the probes", "启动探针"),
        ("baseline", "baseline", 8.0, "Measure the baseline", "测量基线"),
        ("kill-site", "fault", 0.3, "Kill everything at site A", "终止站点 A 的全部进程"),
        ("detect", "recover", 2.1, "Detect the fault", "发现故障"),
        ("fence", "recover", 0.6, "Fence the old primary", "隔离原主库"),
        ("promote", "recover", 1.4, "Promote site B", "提升站点 B"),
        ("switch-front-door", "recover", 0.3, "Switch the front door", "切换入口"),
        ("first-write", "recover", 1.1, "First acknowledged ERP write", "首次确认的 ERP 写入"),
        ("reconcile", "verify", 1.6, "Reconcile the ledger", "对账"),
        ("invariants", "verify", 2.4, "Check the ERP's invariants", "检查 ERP 不变量"),
        ("judge-recovered", "verify", 1.5, "Put the survivor under the policies", "检验存活站点"),
        ("collect", "verify", 3.2, "Collect facts, judge policies", "采集事实并评估策略"),
        ("rejoin", "restore", 5.5, "Rejoin site A by pg_rewind", "以 pg_rewind 重新加入站点 A"),
        ("failback", "restore", 4.2, "Fail back to site A", "切回站点 A"),
    ],
    "restore": [
        ("start-ledger", "prepare", 0.4, "Start the ledger", "启动账本"),
        ("choose-point", "baseline", 6.0, "Choose a point in time", "选择时间点"),
        ("restore-twin", "recover", 9.4, "Restore the newest backup to a twin", "恢复到隔离副本"),
        ("start-twin", "recover", 2.2, "Start the twin", "启动副本"),
        ("login", "recover", 3.1, "The twin's ERP answers a login", "副本 ERP 登录"),
        ("amcheck", "verify", 2.0, "Checksums and amcheck", "校验和与 amcheck"),
        ("egress", "verify", 0.8, "Egress to production is refused", "拒绝访问生产环境"),
        ("remove-twin", "restore", 1.2, "Remove the twin", "移除副本"),
    ],
    "backup": [
        ("marker", "prepare", 0.6, "Write a marker through the ERP", "写入标记"),
        ("take", "baseline", 7.5, "Take a backup", "执行备份"),
        ("verify", "verify", 3.3, "Verify the repository", "校验仓库"),
        ("encrypted", "verify", 1.1, "The marker is not in its bytes", "仓库字节中无标记"),
        ("locked", "verify", 0.4, "Objects are locked", "对象已锁定"),
    ],
}
JUDGING: dict[str, Any] = {"at": "survivor", "policies": ["tls-version", "superusers"]}
_MARKS = {
    "kill-site": "fault_done",
    "detect": "detected",
    "fence": "fenced",
    "promote": "promoted",
    "switch-front-door": "routed",
    "restore-twin": "restored",
    "start-twin": "twin_open",
    "login": "twin_served",
}
_TITLES = {
    "failover": ("Failover to the second site", "切换到第二站点"),
    "restore": ("Restore to an isolated twin", "恢复到隔离副本"),
    "backup": ("A backup is taken, encrypted and locked", "备份、加密与锁定"),
}


@dataclass(frozen=True)
class Sample:
    """What to make; `lost` acknowledged writes are not in the recovered table.

    `rate` is how often a second the ledger writes, and half of it the ERP's clients.
    """

    drill: str = "failover"
    run_id: str = "20261125-031500-failover-ab12"
    lost: int = 0
    fail_step: str = ""
    failed_check: str = ""
    unreachable: bool = False
    weak_tls: bool = False
    survivor_weak: bool = False
    targets: dict[str, float] = field(
        default_factory=lambda: {"rto_seconds": 30.0, "rpo_seconds": 0.0, "rpo_transactions": 0.0}
    )
    title: tuple[str, str] | None = None
    started_at: datetime = datetime(2026, 11, 25, 3, 15, tzinfo=UTC)
    rule: dict[str, Any] | None = None
    waiver_rule: dict[str, Any] | None = None
    waivers: dict[str, bytes] = field(default_factory=dict)
    rate: int = 10

    @property
    def environment(self) -> dict[str, Any]:
        """The descriptor, with the approval rule if there is one."""
        rule = self.rule or self.waiver_rule
        return {**ENVIRONMENT, "approvals": rule} if rule else ENVIRONMENT


SAMPLES = {
    "passed failover": Sample(),
    "passed restore": Sample(drill="restore", run_id="restore-0001"),
    "passed backup": Sample(drill="backup", run_id="backup-0001"),
    "failed by loss": Sample(lost=4, weak_tls=True, failed_check="invariants"),
    "failed in a step": Sample(fail_step="promote"),
    "inconclusive": Sample(unreachable=True),
}
"""One of each outcome."""


def dump(data: Any) -> bytes:
    """JSON as the engine writes it."""
    return (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode()


def lines(entries: list[dict[str, Any]]) -> bytes:
    """A journal."""
    return b"".join(json.dumps(e, separators=(",", ":")).encode() + b"\n" for e in entries)


def sha(content: bytes) -> str:
    """sha256 as hex."""
    return hashlib.sha256(content).hexdigest()


def _schedule(sample: Sample) -> list[tuple[str, str, float, float, str]]:
    """(id, phase, from, seconds, status) of each step."""
    at, broken, result = 0.0, False, []
    for name, phase, seconds, _, _ in _STEPS[sample.drill]:
        status = "not_run" if broken else "failed" if name == sample.fail_step else "done"
        result.append((name, phase, at, seconds, status))
        if not broken:
            at += seconds + 0.02
        broken = broken or status == "failed"
    return result


def _header(probe: str, run_id: str, started_at: datetime, **settings: Any) -> dict[str, Any]:
    return {
        "kind": "header",
        "schema": "anlan.journal/v1",
        "probe": probe,
        "run": run_id,
        "boot_id": "5a7c3e1f-0000-4000-8000-000000000000",
        "t": ORIGIN_NS,
        "utc": started_at.isoformat(),
        "settings": settings,
    }


def _steps(sample: Sample, schedule: list[Any], end: float) -> list[dict[str, Any]]:
    """The step journal, as `orchestrator.steps.journal` writes it."""
    steps = [_header("steps", sample.run_id, sample.started_at)]
    for name, phase, at, seconds, status in schedule:
        if status == "not_run":
            continue
        ok = None if sample.unreachable and name == "invariants" else name != sample.failed_check
        begin, stop = (ORIGIN_NS + int(moment * SECOND) for moment in (at, at + seconds))
        steps.append({"kind": "begin", "t": begin, "step": name})
        if (name == "kill-site") or (phase == "recover" and name == "restore-twin"):
            steps.append({"kind": "mark", "t": begin, "name": "fault"})
        if name in _MARKS and status == "done":
            steps.append({"kind": "mark", "t": stop, "name": _MARKS[name]})
        if phase in {"verify", "restore"}:
            check = {"step": name, "name": f"{name}_holds", "ok": ok, "detail": "12 of 12 hold"}
            steps.append({"kind": "check", "t": stop, **check})
        error = "" if status == "done" else "the server did not answer in 30 s"
        steps.append({"kind": "end", "t": stop, "step": name, "status": status, "error": error})
    for name, phase, _, _, status in reversed(schedule if sample.fail_step else []):
        if status == "done" and phase in {"prepare", "fault"}:
            steps.append({"kind": "undo_begin", "t": ORIGIN_NS + int(end * SECOND), "step": name})
            steps.append(
                {
                    "kind": "undo_end",
                    "t": ORIGIN_NS + int((end + 0.5) * SECOND),
                    "step": name,
                    "status": "done",
                    "error": "",
                }
            )
    return steps


def _raw(sample: Sample) -> dict[str, bytes]:
    schedule = _schedule(sample)
    end = max(at + seconds for _, _, at, seconds, status in schedule if status != "not_run")
    fault = next((a for _, p, a, _, s in schedule if p == "fault" and s != "not_run"), None)
    ends = {name: at + seconds for name, _, at, seconds, status in schedule if status == "done"}
    first_ok = ends.get("first-write", end)
    ledger = [_header("ledger", sample.run_id, sample.started_at, writers=4)]
    availability = [_header("availability", sample.run_id, sample.started_at, clients=2)]
    keys: list[str] = []
    for number in range(int(end * sample.rate)):
        at, key = number / sample.rate, f"1f-{number % 4}-{number}"
        moment = ORIGIN_NS + int(at * SECOND)
        out = fault is not None and fault <= at < first_ok
        if out:
            if number % 3 == 0:
                ledger.append({"kind": "no_connection", "t": moment, "writer": 0, "error": "down"})
            if number % 5 == 0:
                availability.append(
                    {"kind": "error", "t": moment, "began": moment, "client": 0, "error": "503"}
                )
            continue
        ledger.append({"kind": "sent", "t": moment, "key": key})
        if number % 97 != 13:
            ledger.append({"kind": "acknowledged", "t": moment + 2_000_000, "key": key})
            keys.append(key)
        else:
            ledger.append({"kind": "unknown", "t": moment + 2_000_000, "key": key, "error": "cut"})
        if number % 2 == 0:
            done = moment + 20_000_000
            availability.append({"kind": "ok", "t": done, "began": moment, "id": number})
    before = [k for k in keys if fault is None or int(k.rsplit("-", 1)[1]) / sample.rate < fault]
    lost = set(before[len(before) - sample.lost :]) if sample.lost else set()
    raw = {
        "raw/steps.jsonl": lines(_steps(sample, schedule, end)),
        "raw/facts.json": dump(_facts(sample, sample.started_at + timedelta(seconds=end))),
    }
    if sample.drill != "backup":
        raw["raw/ledger.jsonl"] = lines(ledger)
        raw["raw/recovered.json"] = dump({"keys": [key for key in keys if key not in lost]})
    if sample.drill == "failover":
        raw["raw/recovered_facts.json"] = dump(_recovered_facts(sample, ends))
        raw["raw/availability.jsonl"] = lines(availability)
        raw["raw/primaries.jsonl"] = lines(_watch(sample, ends.get("promote", end), end))
    return raw | {f"raw/waivers/{name}": content for name, content in sample.waivers.items()}


def _watch(sample: Sample, promoted: float, end: float) -> list[dict[str, Any]]:
    """Site b accepts writes from its promotion on, site a at the start."""
    watch = [_header("primaries", sample.run_id, sample.started_at, sites=["a", "b"])]
    for second in range(int(end) + 1):
        moment = {"t": ORIGIN_NS + second * SECOND, "asked": ORIGIN_NS + second * SECOND}
        for site, writable in (("a", second == 0), ("b", second > promoted)):
            watch.append({"kind": "answer", "site": site, "writable": writable, **moment})
    return watch


def _facts(sample: Sample, now: datetime) -> dict[str, Any]:
    fact = partial(_fact, now=now)
    weak = "TLSv1.2" if sample.weak_tls else "TLSv1.3"
    return facts_document(
        [
            fact("tls_endpoint", "a/postgresql", {"negotiated_version": "TLSv1.3"}),
            fact("tls_endpoint", "b/postgresql", {"negotiated_version": "TLSv1.3"}),
            fact("tls_endpoint", "common/front-door", {"negotiated_version": weak}),
            fact("database_roles", "a/postgresql", {"superusers": ["postgres"]}),
            fact("database_roles", "b/postgresql", {"superusers": ["postgres"]}),
            fact("audit_log", "a/postgresql", {"retention_days": 184}),
            fact("audit_log", "b/postgresql", {"retention_days": 184}, ok=not sample.unreachable),
        ]
    )


def _recovered_facts(sample: Sample, ends: dict[str, float]) -> dict[str, Any]:
    seen = sample.started_at + timedelta(seconds=ends.get("judge-recovered", 0.0))
    version = "TLSv1.2" if sample.survivor_weak else "TLSv1.3"
    fact = partial(_fact, now=seen)
    facts = facts_document(
        [
            fact("tls_endpoint", "b/postgresql", {"negotiated_version": version}),
            fact("tls_endpoint", "common/front-door", {"negotiated_version": "TLSv1.3"}),
            fact("database_roles", "b/postgresql", {"superusers": ["postgres"]}),
        ]
    )
    return {
        **facts,
        "schema": "anlan.recovered-facts/v1",
        "sites": ["b"],
        "judged_at": timestamp(seen),
    }


def _fact(kind: str, subject: str, data: dict[str, Any], now: datetime, *, ok: bool = True) -> Fact:
    return Fact(
        kind,
        subject,
        now,
        f"{subject} at 127.0.10.1",
        f"query of {kind}",
        1 if ok else None,
        3.25,
        "observed" if ok else "unreachable",
        "" if ok else "connection refused",
        data if ok else {},
    )


REDERIVE = Rederive(
    findings=rederive_findings, drill=derive, recovered=rederive_recovered, report=render_bundle
)


def make_plan(sample: Sample, environment: bytes, drill: bytes) -> dict[str, Any]:
    """The plan of a sample."""
    en, zh = sample.title or _TITLES[sample.drill]
    texts = {"en": en, "zh": zh}
    return {
        "schema": "anlan.plan/v1",
        "run_id": sample.run_id,
        "created_at": timestamp(sample.started_at - timedelta(seconds=1)),
        "operator": "operator-1",
        "trigger": "manual",
        **({"approvals": sample.rule} if sample.rule else {}),
        "tool": {"name": "anlan", "version": "0.1.0"},
        "drill": {"name": sample.drill, "digest": sha(drill), "title": texts, "purpose": texts},
        "scenario": {"en": "Site A is lost", "zh": "站点 A 失效"},
        "impact": "production" if sample.drill == "failover" else "isolated",
        "environment": {
            "name": "local",
            "tier": "VIP",
            "digest": sha(environment),
            "deployment_digest": ENVIRONMENT["deployment"]["digest"],
        },
        "parameters": {"site": "a"},
        "targets": sample.targets if sample.drill != "backup" else {},
        "steps": [
            {
                "id": name,
                "do": name.replace("-", "_"),
                "needs": [_STEPS[sample.drill][number - 1][0]] if number else [],
                "with": JUDGING if name == "judge-recovered" else {},
                "phase": phase,
                "timeout_seconds": 60.0,
                "title": {"en": english, "zh": chinese},
            }
            for number, (name, phase, _, english, chinese) in enumerate(_STEPS[sample.drill])
        ],
        "policies": {name: sha(text.encode()) for name, text in sorted(POLICIES.items())},
    }


def write_plan(run_dir: Path, sample: Sample) -> None:
    """What the engine writes before a run starts."""
    environment, drill = dump(sample.environment), f"name: {sample.drill}\n".encode()
    write(
        run_dir,
        {
            "plan.json": dump(make_plan(sample, environment, drill)),
            "environment.json": environment,
            "drill.yaml": drill,
            **{f"policies/{name}": text.encode() for name, text in POLICIES.items()},
        },
    )


def write_result(run_dir: Path, sample: Sample) -> None:
    """What the engine writes when a run has ended."""
    rules = {name: text.encode() for name, text in POLICIES.items()}
    run_of(run_dir, sample, sample.environment, rules)


def run_of(
    run_dir: Path,
    sample: Sample,
    environment: dict[str, Any],
    rules: Mapping[str, bytes],
    change: Change = lambda raw, _seen, _ended: raw,
) -> None:
    """Write the result of a run by these rules; `change` may put other data in the place of raw."""
    schedule = _schedule(sample)
    end = max(at + seconds for _, _, at, seconds, status in schedule if status != "not_run")
    ended_at = sample.started_at + timedelta(seconds=end)
    raw = change(_raw(sample), _judged_at(sample, schedule), ended_at)
    write(run_dir, raw)
    contents = Contents(read_run_directory(run_dir))
    facts = contents.facts("raw/facts.json", "facts")
    judged = judge_waivers(sample.waivers, sample.waiver_rule, "local", ended_at)
    findings = rederive_findings(rules, facts, environment, ended_at, waivers=judged.counting)
    plan = json.loads((run_dir / "plan.json").read_bytes())
    measured = dict(contents.raw())
    if kept := measured.get("recovered_facts"):
        found = partial(contents.facts, "raw/recovered_facts.json", "recovered-facts")
        measured["recovered_findings"] = rederive_recovered(rules, plan, kept, found, environment)
    derived = derive(plan, {**measured, "findings": findings})
    run = {
        "schema": "anlan.run/v1",
        "run_id": sample.run_id,
        "started_at": timestamp(sample.started_at),
        "ended_at": timestamp(ended_at),
        "attempts": 1,
        "verdict": derived["verdict"],
        "exit_code": derived["exit_code"],
        "derived": derived,
    }
    write(run_dir, {"run.json": dump(run), "findings.json": dump(findings)})


def _judged_at(sample: Sample, schedule: list[Any]) -> datetime:
    """When the step that puts the survivor under the policies has ended."""
    ends = {name: at + seconds for name, _, at, seconds, status in schedule if status == "done"}
    return sample.started_at + timedelta(seconds=ends.get("judge-recovered", 0.0))


def contents_of(run_dir: Path, sample: Sample) -> dict[str, bytes]:
    """Bundle path → content of an unsigned run that is made in `run_dir`."""
    write_plan(run_dir, sample)
    write_result(run_dir, sample)
    return read_run_directory(run_dir)


class Clock:
    """A clock that stands where it was set."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


def record(state: Path, sample: Sample, signer: Signer) -> Path:
    """Make, sign and log a whole run; returns its directory."""
    run_dir = state / "runs" / sample.run_id
    clock = Clock(sample.started_at - timedelta(milliseconds=500))
    store = EvidenceStore(state, signer, clock)
    write_plan(run_dir, sample)
    store.record_plan(run_dir)
    write_result(run_dir, sample)
    clock.now = sample.started_at + timedelta(minutes=5)
    store.record_run(run_dir)
    return run_dir


def write(run_dir: Path, files: dict[str, bytes]) -> None:
    """Write files below a run directory."""
    for name, content in files.items():
        path = run_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
