"""Findings as OCSF 1.6.0, class Compliance Finding (2003): JSON lines, an event an observation.

Ids: https://schema.ocsf.io/1.6.0/classes/compliance_finding. Unknown and expired are `Warning`
there: no result, for information that is missing. OCSF has no word for not applicable: `Other`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.model.canonical import sha256
from orchestrator.model.fact import parse_timestamp
from orchestrator.model.policy import Policy, waivers_at
from orchestrator.model.version import TOOL_VERSION

VERSION = "1.6.0"
_CLASS, _CREATE = 2003, 1
_SEVERITIES = {"P0": (5, "Critical"), "P1": (4, "High"), "P2": (3, "Medium")}
_INFORMATIONAL = (1, "Informational")
_STATUSES = {
    "satisfied": (1, "Pass"),
    "unknown": (2, "Warning"),
    "expired": (2, "Warning"),
    "not-satisfied": (3, "Fail"),
    "not-applicable": (99, "Not Applicable"),
}


def to_ocsf(document: Mapping[str, Any], policies: Mapping[str, Policy], environment: str) -> str:
    """Return one line of JSON for each observation of a findings document.

    `policies` are those of its findings, by id.
    """
    evaluated = _milliseconds(document["evaluated_at"])
    events = (
        event
        for finding in document["findings"]
        for event in _events(finding, policies[finding["policy"]], environment, evaluated)
    )
    return "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in events)


def _events(
    finding: Mapping[str, Any], policy: Policy, environment: str, evaluated: int
) -> Iterator[dict[str, Any]]:
    controls = [f"{one['source']} {one['id']}" for one in finding["controls"]]
    standards = list(dict.fromkeys(one["source"] for one in finding["controls"]))
    for seen in finding["observations"]:
        status_id, status = _STATUSES[seen["status"]]
        passed = seen["status"] in ("satisfied", "not-applicable")
        severity_id, severity = _INFORMATIONAL if passed else _SEVERITIES[finding["severity"]]
        identity = "\0".join((environment, policy.id, seen["subject"]))
        seen_at = {"last_seen_time": _milliseconds(finding["observed_at"])} if seen["fact"] else {}
        waived = waivers_at(finding, seen["subject"])
        yield {
            "activity_id": _CREATE,
            "activity_name": "Create",
            "category_uid": 2,
            "category_name": "Findings",
            "class_uid": _CLASS,
            "class_name": "Compliance Finding",
            "type_uid": _CLASS * 100 + _CREATE,
            "type_name": "Compliance Finding: Create",
            "time": evaluated,
            "severity_id": severity_id,
            "severity": severity,
            "status_id": 1,
            "status": "New",
            "message": f"{policy.title['en']}: {seen['subject']}: {seen['reason'] or status}",
            **({"comment": "; ".join(waived)} if waived else {}),
            "metadata": {
                "version": VERSION,
                "product": {
                    "name": "anlan",
                    "vendor_name": "Anlan",
                    "version": TOOL_VERSION,
                },
            },
            "finding_info": {
                "uid": sha256(identity.encode()),
                "title": policy.title["en"],
                "desc": policy.rationale["en"],
                "created_time": evaluated,
                **seen_at,
            },
            "compliance": {
                "control": policy.id,
                # A policy that evidences no control is the organisation's own.
                "standards": standards or ["anlan policies"],
                "requirements": controls,
                "status_id": status_id,
                "status": status,
                "status_code": seen["status"],
                "status_detail": seen["reason"],
            },
            "resources": [
                {
                    "uid": f"{environment}/{seen['subject']}",
                    "name": seen["subject"],
                    "type": seen["subject"].split("/")[1] if "/" in seen["subject"] else "other",
                }
            ],
            "remediation": {"desc": policy.remediation.text["en"]},
            "unmapped": {
                "policy_severity": finding["severity"],
                "title_zh": policy.title["zh"],
                "fact": seen["fact"],
                "valid_until": finding["valid_until"],
            },
        }


def _milliseconds(moment: str) -> int:
    return round(parse_timestamp(moment).timestamp() * 1000)
