"""Run directories of the size that a real failover leaves: the policies of the repository, a fact
of every kind that they ask for, and journals of several thousand lines.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from run_samples import (
    ENVIRONMENT,
    SECOND,
    Clock,
    Sample,
    dump,
    lines,
    make_plan,
    run_of,
    sha,
    write,
)

from orchestrator.evidence import EvidenceStore, Signer
from orchestrator.model.fact import Fact, facts_document, timestamp
from orchestrator.model.fact_kinds import NOT_OF_RUNS
from orchestrator.model.folders import data_folder
from orchestrator.model.schema import load_schema
from orchestrator.policy import Rules, decode_rules, parse_rules
from orchestrator.policy.evaluate import wanted
from orchestrator.report import render

DESCRIPTOR = {
    **ENVIRONMENT,
    "tls": {"minimum_version": "TLSv1.3", "renew_before_hours": 720},
    "retention": {"audit_days": 184, "backup_full": 2, "object_lock_days": 1},
}
JUDGED = {"at": "survivor", "policies": ["tls", "database_access", "database_logging"]}
_RATE, _ASKS = 60, 20


@cache
def real_rules() -> Mapping[str, bytes]:
    """The repository's policies: relative path → content."""
    root = data_folder("policies")
    files = sorted(root.rglob("*.yaml"))
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def record_real(state: Path, run_id: str, signer: Signer, started_at: datetime) -> Path:
    """Make, sign, log and report a whole run of real size; returns its directory."""
    sample = Sample(run_id=run_id, started_at=started_at, rate=_RATE)
    run_dir = state / "runs" / run_id
    store = EvidenceStore(state, signer, Clock(started_at - timedelta(milliseconds=500)))
    environment, drill = dump(DESCRIPTOR), b"name: failover\n"
    rules = real_rules()
    plan = make_plan(sample, environment, drill)
    plan["policies"] = {name: sha(content) for name, content in rules.items()}
    for step in plan["steps"]:
        if step["do"] == "judge_recovered":
            step["with"] = JUDGED
    write(
        run_dir,
        {
            "plan.json": dump(plan),
            "environment.json": environment,
            "drill.yaml": drill,
            **{f"policies/{name}": content for name, content in rules.items()},
        },
    )
    store.record_plan(run_dir)
    run_of(run_dir, sample, DESCRIPTOR, rules, _raw)
    store = EvidenceStore(state, signer, Clock(started_at + timedelta(minutes=5)))
    store.record_run(run_dir)
    (run_dir / "report.html").write_text(render(run_dir))
    return run_dir


def _raw(raw: dict[str, bytes], seen: datetime, ended: datetime) -> dict[str, bytes]:
    """The raw data of a sample with the facts and the watch of a real run in it."""
    rules = parse_rules(decode_rules(real_rules()))
    watch = [json.loads(line) for line in raw["raw/primaries.jsonl"].splitlines()]
    often = [
        {**one, **{key: one[key] + SECOND * part // _ASKS for key in ("t", "asked")}}
        for one in watch[1:]
        for part in range(_ASKS)
    ]
    recovered = {
        **facts_document(_facts(rules, ["b"], seen)),
        "schema": "anlan.recovered-facts/v1",
        "sites": ["b"],
        "judged_at": timestamp(seen),
    }
    return {
        **raw,
        "raw/facts.json": dump(facts_document(_facts(rules, ["a", "b"], ended))),
        "raw/recovered_facts.json": dump(recovered),
        "raw/primaries.jsonl": lines([watch[0], *sorted(often, key=lambda one: int(one["t"]))]),
    }


def _facts(rules: Rules, sites: list[str], now: datetime) -> list[Fact]:
    """A fact of every kind and subject, with what the examples of its policies hold."""
    asked = [one for one in rules.policies if one.kind not in NOT_OF_RUNS]
    data: dict[str, dict[str, Any]] = {}
    for policy in asked:
        for example in policy.examples:
            if example.expect == "satisfied":
                data.setdefault(policy.kind, {}).update(_times(example.data, now))
    return [
        Fact(
            kind=kind,
            subject=subject,
            collected_at=now,
            source=f"{subject} at 127.0.10.1",
            query=f"query of {kind}",
            row_count=1,
            duration_ms=3.25,
            status="observed",
            data={**_anything(load_schema(f"facts/{kind}")), **data[kind]},
        )
        for kind, subject in sorted(wanted(asked, sites))
    ]


def _anything(schema: Mapping[str, Any]) -> Any:
    """A value of a kind's schema, with every field that it may have."""
    if "const" in schema or "enum" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    named = schema.get("type", "string")
    kind = named if isinstance(named, str) else named[0]
    if kind == "object":
        fields = schema.get("properties", {})
        return {name: _anything(part) for name, part in fields.items()}
    if kind == "array":
        return [_anything(schema.get("items", {}))] * 4
    return {"string": "text", "number": 0.25, "integer": 1, "boolean": False}.get(kind)


def _times(value: Any, now: datetime) -> Any:
    """The data of an example with `{hours_from_now: N}` as times."""
    if isinstance(value, Mapping):
        if set(value) == {"hours_from_now"}:
            return timestamp(now + timedelta(hours=value["hours_from_now"]))
        return {key: _times(item, now) for key, item in value.items()}
    return [_times(item, now) for item in value] if isinstance(value, list) else value
