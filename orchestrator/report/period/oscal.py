"""OSCAL assessment results 1.2.1 of a period: one result, with every drill and policy as it stands.

A result a run would be the runs' own documents again; a tool that reads this one asks where an
environment stands at the end of the period. What is not proven is not satisfied. Ids are UUIDv5
and times are those of the period, so the same period gives the same document.
Model: https://pages.nist.gov/OSCAL/concepts/layer/assessment/assessment-results/
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from orchestrator.report.oscal import VERSION
from orchestrator.report.oscal_controls import token
from orchestrator.report.oscal_text import line, lines, prop, string
from orchestrator.report.period.content import TITLES
from orchestrator.report.period.oscal_objectives import PROGRAMME, objectives, reviewed_controls
from orchestrator.report.period.tables import say
from orchestrator.report.period.view import (
    Attention,
    DrillState,
    PeriodView,
    PolicyState,
    Run,
)

_ROOT = uuid.uuid5(uuid.NAMESPACE_URL, "https://anlan.dev/oscal/period")
_REASONS = {"satisfied": "pass", "not-satisfied": "fail", "pass": "pass", "fail": "fail"}
_ABSENT = {"missing", "unfinished", "removed"}


def render_oscal(view: PeriodView, lang: str = "en") -> bytes:
    """Return the assessment results as JSON; texts of our own in English, titles in `lang`."""
    return (json.dumps(document(view, lang), indent=2, ensure_ascii=False) + "\n").encode()


def document(view: PeriodView, lang: str = "en") -> dict[str, Any]:
    """Return the OSCAL document of a period."""
    span = f"{view.since[:10]} – {view.until[:10]}"
    title = f"{say(lang, *TITLES[view.kind])}: {view.environment}, {span}"
    found = objectives(view, lang)
    log = _id(view, "log")
    return {
        "assessment-results": {
            "uuid": _id(view, "document"),
            "metadata": {
                "title": line(title),
                "last-modified": view.until,
                "version": string(f"{view.since}/{view.until}"),
                "oscal-version": VERSION,
                "props": [
                    prop("environment", view.environment),
                    prop("kind", view.kind),
                    *(prop("tier", one) for one in view.tiers),
                    prop("log-origin", view.origin),
                    prop("log-size", str(view.log_size)),
                    prop("made-with", f"anlan {view.rendered_by}"),
                ],
            },
            "import-ap": {
                "href": f"#{log}",
                "remarks": "The plan of every drill and the schedules in force are statements in "
                "this log, signed before the drills began.",
            },
            **({"local-definitions": {"objectives-and-methods": found}} if found else {}),
            "results": [_result(view, lang)],
            "back-matter": {
                "resources": [
                    {
                        "uuid": log,
                        "title": line(f"Evidence log {view.origin}"),
                        "description": lines(f"{view.log_size} entries of it were read."),
                    },
                    *(_resource(view, run) for run in view.runs),
                ]
            },
        }
    }


def _id(view: PeriodView, *names: str) -> str:
    seed = (view.kind, view.environment, view.origin, view.since, view.until, *names)
    return str(uuid.uuid5(_ROOT, "\0".join(seed)))


def _resource(view: PeriodView, run: Run) -> dict[str, Any]:
    """The bundle of a run; its result is named by digest."""
    return {
        "uuid": _id(view, "bundle", run.run_id),
        "title": line(f"Evidence bundle {run.run_id}"),
        "props": [
            prop("result-sha256", run.result_sha256),
            *(prop(f"log-entry.{one.kind}", str(one.index)) for one in run.entries),
        ],
    }


def _result(view: PeriodView, lang: str) -> dict[str, Any]:
    absent = [one for one in view.attention if one.kind in _ABSENT]
    return {
        "uuid": _id(view, "result"),
        "title": line(say(lang, *TITLES[view.kind])),
        "description": lines(
            f"Recovery: {view.recovery}. Compliance: {view.compliance}. Everything due was done: "
            f"{view.programme}. A drill stands as it last ended, a policy as it was last judged."
        ),
        "start": view.since,
        "end": view.until,
        "props": [
            prop("recovery", view.recovery),
            prop("compliance", view.compliance),
            prop("programme", view.programme),
            *(prop(f"runs.{name}", str(count)) for name, count in view.verdicts.items()),
            *(
                prop(f"due.{name}", str(getattr(view.due, name)))
                for name in ("due", "done", "missed", "missing", "unfinished", "removed", "pending")
            ),
            *(
                prop(f"{one.target}.{name}", str(getattr(one, name)), one.tier)
                for one in view.sla
                for name in ("met", "missed", "not_observed")
            ),
        ],
        "local-definitions": _local(view),
        "reviewed-controls": reviewed_controls(view),
        "observations": [
            *(_run(view, run, lang) for run in view.runs),
            *(_absent(view, one, lang) for one in absent),
            *(_judged(view, one, lang) for one in view.policies),
            _counted(view),
        ],
        "findings": [
            _programme(view),
            *(_drill(view, one, absent, lang) for one in view.drills),
            *(_policy(view, one, lang) for one in view.policies),
        ],
    }


def _local(view: PeriodView) -> dict[str, Any]:
    tool = _id(view, "tool")
    return {
        "components": [
            {
                "uuid": _id(view, "environment"),
                "type": "system",
                "title": line(f"environment {view.environment}"),
                "description": lines("The environment that the drills were run on."),
                "status": {"state": "operational"},
            }
        ],
        "assessment-assets": {
            "components": [
                {
                    "uuid": tool,
                    "type": "software",
                    "title": "anlan",
                    "description": lines(f"anlan {view.rendered_by}, which made this of evidence."),
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
    }


def _observation(
    view: PeriodView, names: tuple[str, ...], title: str, told: str, collected: str
) -> dict[str, Any]:
    return {
        "uuid": _id(view, "observation", *names),
        "title": line(title),
        "description": lines(told),
        "methods": ["TEST"],
        "types": ["control-objective"],
        "origins": _origin(view),
        "subjects": [
            {
                "subject-uuid": _id(view, "environment"),
                "type": "component",
                "title": line(f"environment {view.environment}"),
            }
        ],
        "collected": collected,
    }


def _origin(view: PeriodView) -> list[dict[str, Any]]:
    return [{"actors": [{"type": "tool", "actor-uuid": _id(view, "tool")}]}]


def _evidence(view: PeriodView, run_id: str) -> list[dict[str, Any]]:
    href = f"#{_id(view, 'bundle', run_id)}"
    return [{"href": href, "description": line(f"Evidence bundle {run_id}")}]


def _run(view: PeriodView, run: Run, lang: str) -> dict[str, Any]:
    measured = [
        f"{one.name}: "
        + ("not observed" if one.measured is None else str(one.measured))
        + f", target {one.target}."
        for one in run.targets
    ]
    told = "\n".join([f"{run.run_id}: {run.verdict}.", *run.reasons, *measured])
    found = _observation(view, ("run", run.run_id), run.title[lang], told, run.ended_at)
    found["props"] = [
        prop("run", run.run_id),
        prop("drill", run.drill),
        prop("verdict", run.verdict),
        prop("tier", run.tier),
        *(
            prop(f"measured.{name}", str(value))
            for name, value in (
                ("rto_seconds", run.rto_seconds),
                ("rpo_seconds", run.rpo_seconds),
                ("rpo_transactions", run.rpo_transactions),
            )
            if value is not None
        ),
        *(prop("approved-by", name) for name in run.approved_by),
    ]
    found["relevant-evidence"] = _evidence(view, run.run_id)
    return found


def _absent(view: PeriodView, one: Attention, lang: str) -> dict[str, Any]:
    told = f"{one.about}, {one.at}: {one.kind}. {one.text['en']}"
    title = f"{one.title[lang]}: {one.kind}"
    found = _observation(view, (one.kind, one.about), title, told, view.until)
    found["methods"] = ["EXAMINE"]
    found["props"] = [prop("run", one.about), prop("absent", one.kind), prop("at", one.at)]
    return found


def _judged(view: PeriodView, one: PolicyState, lang: str) -> dict[str, Any]:
    told = f"{one.policy}: {one.status}. {one.reason}"
    found = _observation(view, ("policy", one.policy), one.title[lang], told, one.judged_at)
    found["props"] = [
        prop("status", one.status),
        prop("policy", one.policy),
        prop("population", str(one.population_size)),
        prop("observed", str(one.observed)),
    ]
    found["relevant-evidence"] = _evidence(view, one.run_id)
    if one.valid_until:
        found["expires"] = one.valid_until
    return found


def _counted(view: PeriodView) -> dict[str, Any]:
    due = view.due
    told = (
        f"Due {due.due}: done {due.done}, not begun in time {due.missed}, never ran {due.missing}, "
        f"unfinished {due.unfinished}, removed {due.removed}, outside of the period {due.pending}."
    )
    found = _observation(view, (PROGRAMME,), "Drills that were due", told, view.until)
    return {**found, "methods": ["EXAMINE"]}


def _finding(
    view: PeriodView, name: str, title: str, told: str, *, status: str, observations: list[str]
) -> dict[str, Any]:
    return {
        "uuid": _id(view, "finding", name),
        "title": line(title),
        "description": lines(told),
        "origins": _origin(view),
        "target": {
            "type": "objective-id",
            "target-id": name,
            "title": line(title),
            "status": {
                "state": "satisfied" if status in {"pass", "satisfied"} else "not-satisfied",
                "reason": _REASONS.get(status, "other"),
                "remarks": lines(f"{status}. {told}"),
            },
        },
        "related-observations": [{"observation-uuid": one} for one in observations],
    }


def _programme(view: PeriodView) -> dict[str, Any]:
    observation = _id(view, "observation", PROGRAMME)
    found = _finding(
        view,
        PROGRAMME,
        "Every drill that was due was done",
        _counted(view)["description"],
        status=view.programme,
        observations=[observation],
    )
    return {**found, "props": [prop("status", view.programme)]}


def _drill(view: PeriodView, one: DrillState, absent: list[Attention], lang: str) -> dict[str, Any]:
    told = f"Last result: {one.last_verdict or 'none'}. {one.reason}"
    if one.open_after:
        told += f" Due since, without a result: {', '.join(one.open_after)}."
    seen = [
        _id(view, "observation", "run", run.run_id) for run in view.runs if run.drill == one.drill
    ]
    seen += [
        _id(view, "observation", gap.kind, gap.about) for gap in absent if gap.drill == one.drill
    ]
    found = _finding(
        view,
        token(f"drill-{one.drill}"),
        one.title[lang],
        told,
        status=one.state,
        observations=seen,
    )
    last = {"last-verdict": one.last_verdict, "last-run": one.last_run, "state": one.state}
    return {**found, "props": [prop("drill", one.drill), *_props(last)]}


def _policy(view: PeriodView, one: PolicyState, lang: str) -> dict[str, Any]:
    seen = [_id(view, "observation", "policy", one.policy)]
    told = one.reason or one.title[lang]
    found = _finding(
        view, token(one.policy), one.title[lang], told, status=one.status, observations=seen
    )
    found["props"] = [
        prop("status", one.status),
        prop("severity", one.severity),
        *_props({"waived-until": one.waived_until}),
        *(
            [prop("lapsed", "true", "Its facts were no longer valid at the end of the period.")]
            if one.lapsed
            else []
        ),
    ]
    if one.status != "satisfied" and one.remediation[lang]:
        found["remarks"] = lines(one.remediation[lang])
    return found


def _props(values: Mapping[str, str | None]) -> list[dict[str, str]]:
    return [prop(name, value) for name, value in values.items() if value]
