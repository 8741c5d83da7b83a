"""From the files of a run to what a report says: everything is read and worked out here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.evidence import layout
from orchestrator.evidence.contents import Contents, contents_of
from orchestrator.evidence.tlog import proofs
from orchestrator.evidence.tlog.entries import parse_entry
from orchestrator.model.errors import InputError
from orchestrator.model.fact import parse_timestamp, timestamp
from orchestrator.model.version import TOOL_VERSION
from orchestrator.report import charts
from orchestrator.report import view as v
from orchestrator.report.actions import SHOWN, actions
from orchestrator.report.judged import FactDocument, controls_of, facts_of, findings_of
from orchestrator.report.rules import read_rules
from orchestrator.report.words import (
    ALL_POLICIES,
    NO_FACTS,
    NOT_MEASURED,
    NOT_RUN,
    RATES,
    TARGETS,
    same,
)

_OWN = {layout.REPORT, layout.MANIFEST, layout.MANIFEST_ENVELOPE}
_STATE: dict[bool | None, v.State] = {True: "pass", False: "fail", None: "unknown"}
_COUNTED = (("ledger", "acknowledged"), ("availability", "ok"))


def build(files: Mapping[str, bytes], *, file: str = "") -> v.View:
    """Return what a report of a run says; `files` is bundle path → content.

    Raises InputError when the run has not ended, or a file is not what it must be.
    """
    contents = contents_of(files)
    plan = document(contents, layout.PLAN, "plan", file=file)
    run = document(contents, layout.RUN, "run", file=file)
    findings = None
    if layout.FINDINGS in contents:
        findings = document(contents, layout.FINDINGS, "finding", file=file)
    raw = contents.raw()
    derived = run["derived"]
    titles = {step["id"]: step["title"] for step in plan["steps"]}
    documents, unusable = _fact_documents(contents, raw)
    facts, data = facts_of(documents)
    rules = read_rules(contents)
    judged = findings_of(findings, rules, facts, data)
    targets = tuple(target_of(one) for one in derived["targets"])
    steps = steps_of(derived, titles, _retried(raw))
    checks = checks_of(derived)
    undo = undo_of(derived)
    gaps = (*_gaps(derived, titles, findings, facts), *unusable)
    todo = actions(derived, targets=targets, steps=steps, checks=checks, undo=undo, findings=judged)
    began, ended = (parse_timestamp(run[name]) for name in ("started_at", "ended_at"))
    journal = [entry for entry in raw.get("steps", []) if isinstance(entry, dict)]
    until = max(
        (
            one.started_seconds + (one.seconds or 0)
            for one in steps
            if one.started_seconds is not None
        ),
        default=0.0,
    )
    return v.View(
        run_id=plan["run_id"],
        drill=plan["drill"]["name"],
        title=plan["drill"]["title"],
        purpose=plan["drill"]["purpose"],
        scenario=plan["scenario"],
        impact=plan["impact"],
        environment=plan["environment"]["name"],
        tier=plan["environment"]["tier"],
        parameters=plan["parameters"],
        operator=plan["operator"],
        trigger=plan["trigger"],
        attempts=run["attempts"],
        tool=plan["tool"]["name"],
        tool_version=plan["tool"]["version"],
        rendered_by=TOOL_VERSION,
        started_at=run["started_at"],
        ended_at=run["ended_at"],
        duration_seconds=(ended - began).total_seconds(),
        verdict=derived["verdict"],
        exit_code=derived["exit_code"],
        reasons=tuple(derived["reasons"]),
        compliance=compliance_of(derived["policies"]),
        evaluated_at=findings["evaluated_at"] if findings else None,
        policies=derived["policies"],
        waived=tuple(one["policy"] for one in derived["waived"]),
        rto_seconds=derived["rto_seconds"],
        rpo_seconds=derived["rpo_seconds"],
        rpo_transactions=derived["rpo_transactions"],
        targets=targets,
        actions=todo,
        more_actions=max(0, len(todo) - SHOWN),
        gaps=gaps,
        findings=judged,
        controls=controls_of(rules, judged, plan["drill"]["name"]),
        phases=_phases(derived["phases"]),
        fault_seconds=_fault(journal),
        until_seconds=until,
        outages=tuple(
            v.Outage(one["from_seconds"], one["seconds"], one["failures"])
            for one in derived["outages"]
        ),
        rates=_rates(raw, journal, until) if journal else (),
        steps=steps,
        critical_path=v.CriticalPath(
            len(derived["critical_path"]["steps"]),
            len(steps),
            derived["critical_path"]["seconds"],
            derived["critical_path"]["between_seconds"],
        ),
        checks=checks,
        checks_passed=sum(one.state == "pass" for one in checks),
        checks_made=len(checks),
        not_observed=len(gaps),
        undo=undo,
        ledger=_ledger(derived["ledger"]),
        clocks=_clocks(raw),
        facts=tuple(facts),
        evidence=_evidence(contents, plan),
    )


def document(contents: Contents, path: str, schema: str, *, file: str = "") -> dict[str, Any]:
    """Return a parsed file that fits its schema. Raises InputError."""
    if path not in contents:
        raise InputError(
            f"there is no {path.rsplit('/', maxsplit=1)[-1]}: the run has not ended",
            "resume it (`anlan drill resume RUN`), or list the runs with `anlan drill history`",
            file=file,
        )
    name = f"{file}:{path}" if file else path
    data: dict[str, Any] = contents.document(path, schema, file=name)
    return data


def _fact_documents(
    contents: Contents, raw: Mapping[str, Any]
) -> tuple[list[FactDocument], list[v.Gap]]:
    """The documents of facts, and what is no such document.

    Facts of the survivor that cannot be make a run inconclusive: its report says so.
    """
    found, gaps = [], []
    if raw.get("facts") is not None:
        facts = contents.facts(layout.FACTS, "facts")
        found.append(FactDocument("F", layout.FACTS, raw["facts"]["facts"], facts))
    if raw.get("recovered_facts") is not None:
        try:
            facts = contents.facts(layout.RECOVERED, "recovered-facts")
            recovered = raw["recovered_facts"]["facts"]
            found.append(FactDocument("R", layout.RECOVERED, recovered, facts))
        except InputError as error:
            gaps.append(v.Gap("recovered-fact", same(layout.RECOVERED), same(error.reason)))
    return found, gaps


def compliance_of(policies: Mapping[str, int] | None) -> v.Compliance:
    """Return what the counts of the policies by status come to."""
    if policies is None:
        return "not-judged"
    if policies["not-satisfied"]:
        return "not-compliant"
    return "not-proven" if policies["unknown"] or policies["expired"] else "compliant"


def target_of(one: Mapping[str, Any]) -> v.Target:
    """Return a target of run.json."""
    name, measured, target = one["name"], one["measured"], one["target"]
    english, chinese, short, unit = TARGETS.get(name, (name, name, "", ""))
    return v.Target(
        name=name,
        title={"en": english, "zh": chinese},
        short=short,
        unit=unit,
        target=target,
        measured=measured,
        met=one["met"],
        state=_STATE[one["met"]],
        share=measured / target if measured is not None and target else None,
    )


def _retried(raw: Mapping[str, Any]) -> dict[str, list[str]]:
    """Why each step was tried again, by its id."""
    found: dict[str, list[str]] = {}
    for entry in raw.get("steps", []):
        if isinstance(entry, dict) and entry.get("kind") == "retry":
            found.setdefault(str(entry["step"]), []).append(str(entry["error"]))
    return found


def steps_of(
    derived: Mapping[str, Any], titles: Mapping[str, v.Text], retried: Mapping[str, list[str]]
) -> tuple[v.Step, ...]:
    """Return the steps of run.json; `retried` is why each was tried again, by its id."""
    path = derived["critical_path"]

    def percent(step: Mapping[str, Any]) -> float | None:
        if step["id"] not in path["steps"]:
            return None
        return float(100 * step["seconds"] / path["seconds"]) if path["seconds"] else 0.0

    return tuple(
        v.Step(
            id=one["id"],
            title=titles.get(one["id"], same(one["id"])),
            phase=one["phase"],
            status=one["status"],
            started_seconds=one["started_seconds"],
            seconds=one["seconds"],
            percent=percent(one),
            error=one["error"],
            retries=tuple(retried.get(one["id"], ())),
        )
        for one in derived["steps"]
    )


def checks_of(derived: Mapping[str, Any]) -> tuple[v.Check, ...]:
    """Return the checks of run.json: failed ones first, then those not observed."""
    return tuple(
        v.Check(one["step"], one["name"], _STATE[ok], one["detail"])
        for ok in (False, None, True)
        for one in derived["checks"]
        if one["ok"] is ok
    )


def undo_of(derived: Mapping[str, Any]) -> tuple[v.Undo, ...]:
    """Return how the steps of run.json were undone."""
    return tuple(
        v.Undo(one["step"], one["status"], one["seconds"], one["error"]) for one in derived["undo"]
    )


def _phases(parts: Sequence[Mapping[str, Any]]) -> tuple[v.Phase, ...]:
    total = sum(part["seconds"] for part in parts)
    return tuple(
        v.Phase(
            part["name"],
            part["from_seconds"],
            part["seconds"],
            100 * part["seconds"] / total if total else 0.0,
        )
        for part in parts
    )


def _fault(journal: Sequence[Mapping[str, Any]]) -> float | None:
    for entry in journal:
        if entry.get("kind") == "mark" and entry.get("name") == "fault":
            return (int(entry["t"]) - int(journal[0]["t"])) / 1e9
    return None


def _rates(
    raw: Mapping[str, Any], journal: Sequence[Mapping[str, Any]], until: float
) -> tuple[v.Rate, ...]:
    found = []
    for name, kind in _COUNTED:
        moments = [
            (entry["t"] - int(journal[0]["t"])) / 1e9
            for entry in raw.get(name, [])
            if isinstance(entry, dict) and entry.get("kind") == kind
        ]
        if moments:
            width, values = charts.rates(moments, until)
            found.append(v.Rate(name, RATES[name], width, tuple(values), max(values)))
    return tuple(found)


def _ledger(ledger: Mapping[str, Any] | None) -> v.Ledger | None:
    if ledger is None:
        return None
    return v.Ledger(
        acknowledged=ledger["acknowledged"],
        recovered=ledger["recovered"],
        lost=len(ledger["lost_keys"]),
        in_doubt_committed=ledger["in_doubt_committed"],
        in_doubt_absent=ledger["in_doubt_absent"],
        lost_keys=tuple(ledger["lost_keys"]),
    )


def _clocks(raw: Mapping[str, Any]) -> tuple[v.Clock, ...]:
    found = []
    for fact in (raw.get("facts") or {}).get("facts", []):
        if fact["kind"] == "clock_offset":
            offset, around = (
                fact["data"].get(name) for name in ("offset_seconds", "uncertainty_seconds")
            )
            if offset is not None and around is not None:
                offset, around = 1000 * offset, 1000 * around
            found.append(v.Clock(fact["subject"].split("/")[0], offset, around))
    return tuple(found)


def _gaps(
    derived: Mapping[str, Any],
    titles: Mapping[str, v.Text],
    findings: Mapping[str, Any] | None,
    facts: Sequence[v.Fact],
) -> tuple[v.Gap, ...]:
    """Everything that was not observed: none of it counts as a pass."""
    gaps = [
        v.Gap("target", target_of(one).title, NOT_MEASURED)
        for one in derived["targets"]
        if one["met"] is None
    ]
    gaps += [
        v.Gap("check", same(f"{one['step']} · {one['name']}"), same(one["detail"]))
        for one in derived["checks"]
        if one["ok"] is None
    ]
    gaps += [
        v.Gap(
            "step", {"en": one["id"], "zh": titles.get(one["id"], same(one["id"]))["zh"]}, NOT_RUN
        )
        for one in derived["steps"]
        if one["status"] == "not_run"
    ]
    if findings is None:
        gaps.append(v.Gap("policies", ALL_POLICIES, NO_FACTS))
    else:
        gaps += [
            v.Gap("policy", {"en": one["policy"], "zh": one["title"]["zh"]}, same(one["reason"]))
            for one in findings["findings"]
            if one["status"] in {"unknown", "expired"}
        ]
    gaps += [
        v.Gap(
            "fact" if one.file == layout.FACTS else "recovered-fact",
            {"en": f"{one.kind} of {one.subject}", "zh": f"{one.subject} 的 {one.kind}"},
            same(f"{one.status}: {one.error}"),
        )
        for one in facts
        if one.status != "observed"
    ]
    return tuple(gaps)


def _evidence(contents: Contents, plan: Mapping[str, Any]) -> v.Evidence:
    """Every file with its digest, the signing keys, and where the log holds the run."""
    keys: set[str] = set()
    for path, content in contents.items():
        if path.endswith(".dsse.json") and path not in _OWN:
            keys |= {item["keyid"] for item in json.loads(content)["signatures"]}
    return v.Evidence(
        keys=tuple(sorted(keys)),
        log=log_of(contents),
        files=tuple(
            v.File(path, len(content), contents.digest(path))
            for path, content in sorted(contents.items())
            if path not in _OWN
        ),
        environment_digest=plan["environment"]["digest"],
        deployment_digest=plan["environment"]["deployment_digest"],
        drill_digest=plan["drill"]["digest"],
    )


def log_of(contents: Mapping[str, bytes]) -> tuple[v.LogEntry, ...]:
    """Return where the evidence log holds a run, by its proofs."""
    proven = (contents[path] for path in layout.PROOFS.values() if path in contents)
    logged = [proofs.parse_proof(content) for content in proven]
    entries = [parse_entry(proof.leaf, proof.index) for proof in logged]
    return tuple(
        v.LogEntry(one.kind, one.index, timestamp(one.time), one.digest) for one in entries
    )
