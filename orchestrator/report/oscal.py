"""OSCAL assessment results 1.2.1 of a run, for programs of auditors.

A finding is satisfied or not-satisfied, nothing else: what is unknown, expired or not applicable is
not satisfied, and its own status stands in a property of our namespace. Ids are UUIDv5 and times
are those of the run, so the same run gives the same document.
Model: https://pages.nist.gov/OSCAL/concepts/layer/assessment/assessment-results/
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from orchestrator.evidence import layout
from orchestrator.report.oscal_controls import objectives, reviewed_controls, token
from orchestrator.report.oscal_text import line, lines, prop, string
from orchestrator.report.view import Fact, Finding, Observation, View

VERSION = "1.2.1"
_ROOT = uuid.uuid5(uuid.NAMESPACE_URL, "https://anlan.dev/oscal")
_REASONS = {"satisfied": "pass", "not-satisfied": "fail"}
_JSON = "application/json"


def render_oscal(view: View, lang: str = "en") -> bytes:
    """Return the assessment results as JSON; texts of our own in English, titles in `lang`."""
    return (json.dumps(document(view, lang), indent=2, ensure_ascii=False) + "\n").encode()


def document(view: View, lang: str = "en") -> dict[str, Any]:
    """Return the OSCAL document of a run."""
    return {
        "assessment-results": {
            "uuid": _id(view, "document"),
            "metadata": {
                "title": line(f"{view.title[lang]}: {view.environment}, {view.run_id}"),
                "last-modified": view.ended_at,
                "version": string(view.run_id),
                "oscal-version": VERSION,
                "props": [
                    prop("environment", view.environment),
                    prop("tier", view.tier),
                    prop("operator", view.operator),
                    prop("trigger", view.trigger),
                    prop("made-with", f"{view.tool} {view.tool_version}"),
                ],
            },
            "import-ap": {
                "href": f"#{_id(view, 'file', layout.PLAN)}",
                "remarks": "The plan of the drill, signed and logged before it began.",
            },
            **_local(view, lang),
            "results": [_result(view, lang)],
            "back-matter": {"resources": _resources(view)},
        }
    }


def _id(view: View, *names: str) -> str:
    """The UUIDv5 of a thing of this run."""
    return str(uuid.uuid5(_ROOT, "\0".join((view.run_id, *names))))


def _local(view: View, lang: str) -> dict[str, Any]:
    found = objectives(view, lang)
    return {"local-definitions": {"objectives-and-methods": found}} if found else {}


def _result(view: View, lang: str) -> dict[str, Any]:
    tool = _id(view, "tool")
    facts = {fact.id: fact for fact in view.facts}
    observations = [_drill_observation(view, lang)]
    findings = [_drill_finding(view, lang)]
    for finding in view.findings:
        seen = [_observation(view, finding, one, facts, lang) for one in finding.observations]
        observations += seen
        findings.append(_finding(view, finding, [one["uuid"] for one in seen], lang))
    subjects = sorted({one.subject for finding in view.findings for one in finding.observations})
    return {
        "uuid": _id(view, "result"),
        "title": line(view.title[lang]),
        "description": lines(
            f"{view.scenario[lang]}. Verdict: {view.verdict}. " + " ".join(view.reasons)
        ),
        "start": view.started_at,
        "end": view.ended_at,
        "props": [
            prop("verdict", view.verdict),
            prop("compliance", view.compliance),
            *(prop(f"target.{one.name}", str(one.target)) for one in view.targets),
            *(
                prop(
                    f"measured.{one.name}",
                    "not observed" if one.measured is None else str(one.measured),
                )
                for one in view.targets
            ),
        ],
        "local-definitions": {
            "components": [_component(view, name) for name in [_system(view), *subjects]],
            "assessment-assets": {
                "components": [
                    {
                        "uuid": tool,
                        "type": "software",
                        "title": line(view.tool),
                        "description": lines(f"{view.tool} {view.tool_version}, which drilled."),
                        "status": {"state": "operational"},
                    }
                ],
                "assessment-platforms": [
                    {
                        "uuid": _id(view, "platform"),
                        "title": "Orchestrator",
                        "uses-components": [{"component-uuid": tool}],
                    }
                ],
            },
        },
        "reviewed-controls": reviewed_controls(view),
        "observations": observations,
        "findings": findings,
    }


def _system(view: View) -> str:
    return f"environment {view.environment}"


def _component(view: View, name: str) -> dict[str, Any]:
    return {
        "uuid": _id(view, "subject", name),
        "type": "system" if name == _system(view) else "service",
        "title": line(name),
        "description": lines(f"{name}, as it answered in this run."),
        "status": {"state": "operational"},
    }


def _subject(view: View, name: str) -> dict[str, Any]:
    uid = _id(view, "subject", name)
    return {"subject-uuid": uid, "type": "component", "title": line(name)}


def _origin(view: View) -> list[dict[str, Any]]:
    return [{"actors": [{"type": "tool", "actor-uuid": _id(view, "tool")}]}]


def _drill_observation(view: View, lang: str) -> dict[str, Any]:
    """What the drill itself showed: targets, checks, gaps."""
    told = [
        *(
            f"{one.title[lang]}: "
            + ("not observed" if one.measured is None else f"{one.measured}{one.unit}")
            + f", target {one.target}{one.unit}."
            for one in view.targets
        ),
        *(f"Check {one.name} of {one.step}: {one.state}. {one.detail}" for one in view.checks),
        *(f"Not observed: {one.kind} {one.what[lang]}: {one.why[lang]}" for one in view.gaps),
    ]
    return {
        "uuid": _id(view, "observation", "drill"),
        "title": line(view.title[lang]),
        "description": lines("\n".join(told) or "The drill was run."),
        "methods": ["TEST"],
        "types": ["control-objective"],
        "origins": _origin(view),
        "subjects": [_subject(view, _system(view))],
        "relevant-evidence": [
            _evidence(view, layout.RUN, "What came of the run: measured values, checks, verdict.")
        ],
        "collected": view.ended_at,
    }


def _drill_finding(view: View, lang: str) -> dict[str, Any]:
    return {
        "uuid": _id(view, "finding", "drill"),
        "title": line(view.title[lang]),
        "description": lines(" ".join(view.reasons) or "Every step, check and target was met."),
        "props": [prop("verdict", view.verdict), prop("drill", view.drill)],
        "origins": _origin(view),
        "target": {
            "type": "objective-id",
            "target-id": token(f"drill-{view.drill}"),
            "title": line(view.purpose[lang]),
            "status": {
                "state": "satisfied" if view.verdict == "pass" else "not-satisfied",
                "reason": {"pass": "pass", "fail": "fail"}.get(view.verdict, "other"),
            },
        },
        "related-observations": [{"observation-uuid": _id(view, "observation", "drill")}],
    }


def _observation(
    view: View,
    finding: Finding,
    one: Observation,
    facts: Mapping[str, Fact],
    lang: str,
) -> dict[str, Any]:
    fact = facts.get(one.fact or "")
    values = [f"{value.field} = {value.value}" for value in one.values]
    said = [f"{one.subject}: {one.status}. {one.reason}".strip(), *values]
    found: dict[str, Any] = {
        "uuid": _id(view, "observation", finding.policy, one.subject),
        "title": line(f"{finding.title[lang]}: {one.subject}"),
        "description": lines("\n".join(said)),
        "props": [prop("status", one.status), prop("policy", finding.policy)],
        "methods": ["TEST"],
        "types": ["control-objective"],
        "origins": _origin(view),
        "subjects": [_subject(view, one.subject)],
    }
    if fact:
        found["relevant-evidence"] = [_fact_evidence(view, fact)]
    # Without a fact the time is that of judging: then it was found that nobody knows.
    found["collected"] = one.collected_at or view.evaluated_at or view.ended_at
    if one.valid_until:
        found["expires"] = one.valid_until
    return found


def _fact_evidence(view: View, fact: Fact) -> dict[str, Any]:
    evidence = _evidence(view, fact.file, f"Fact {fact.id}: {fact.kind} of {fact.subject}")
    evidence["props"] = [
        prop("fact-sha256", fact.digest),
        prop("source", fact.source),
        prop("row-count", "none" if fact.row_count is None else str(fact.row_count)),
        prop("observed", fact.status),
    ]
    if fact.query.strip() or fact.error:
        evidence["remarks"] = lines(f"{fact.query}\n{fact.error}")
    return evidence


def _evidence(view: View, path: str, description: str) -> dict[str, Any]:
    return {"href": f"#{_id(view, 'file', path)}", "description": lines(description)}


def _finding(
    view: View, finding: Finding, observations: Sequence[str], lang: str
) -> dict[str, Any]:
    satisfied = finding.status == "satisfied"
    props = [
        prop("status", finding.status),
        prop("severity", finding.severity),
        prop("population", str(finding.population_size)),
        prop("observed", str(finding.observed)),
        *(prop("control", f"{one.source} {one.id}") for one in finding.controls),
        *(
            prop("waived-until", one.until, f"{one.subject}: {one.reason} ({one.owner})")
            for one in finding.waivers
        ),
    ]
    told = f"{finding.rationale[lang]} {finding.reason}".strip() or finding.title[lang]
    found: dict[str, Any] = {
        "uuid": _id(view, "finding", finding.policy),
        "title": line(finding.title[lang]),
        "description": lines(told),
        "props": props,
        "origins": _origin(view),
        "target": {
            "type": "objective-id",
            "target-id": token(finding.policy),
            "title": line(finding.title[lang]),
            "status": {
                "state": "satisfied" if satisfied else "not-satisfied",
                "reason": _REASONS.get(finding.status, "other"),
                "remarks": lines(f"{finding.status}. {finding.reason}"),
            },
        },
    }
    if observations:
        found["related-observations"] = [{"observation-uuid": one} for one in observations]
    if not satisfied and finding.remediation[lang]:
        found["remarks"] = lines(finding.remediation[lang])
    return found


def _resources(view: View) -> list[dict[str, Any]]:
    """Every file of the bundle, with its digest: hrefs are paths within the bundle."""
    return [
        {
            "uuid": _id(view, "file", file.path),
            "title": line(file.path),
            "rlinks": [
                {
                    "href": quote(file.path),
                    "media-type": _media_type(file.path),
                    "hashes": [{"algorithm": "SHA-256", "value": file.sha256}],
                }
            ],
        }
        for file in view.evidence.files
    ]


def _media_type(path: str) -> str:
    if re.search(r"\.ya?ml$", path):
        return "application/yaml"
    return {"json": _JSON, "jsonl": "application/jsonl"}.get(
        path.rsplit(".", maxsplit=1)[-1], "application/octet-stream"
    )
