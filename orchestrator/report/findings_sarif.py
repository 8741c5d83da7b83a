"""Findings as SARIF 2.1.0 (OASIS, 2020): a rule for each policy, a result for each bad observation.

An observation that is not satisfied is of kind `fail`, its level by the severity. One that is
unknown or expired is of kind `open` (3.27.9: not enough information to decide), whose level can be
`none` alone (3.27.10); what is satisfied or not applicable is no result. Subjects are no files: a
result has a logical location, and an artifact below the base ENVIRONMENT for tools that need one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.model.canonical import sha256
from orchestrator.model.policy import Policy, waivers_at
from orchestrator.model.version import TOOL_VERSION

_SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
_LEVELS = {"P0": "error", "P1": "warning", "P2": "note"}
_KINDS = {"not-satisfied": "fail", "unknown": "open", "expired": "open"}
_BASE = "ENVIRONMENT"


def to_sarif(document: Mapping[str, Any], policies: Mapping[str, Policy], environment: str) -> str:
    """Return the SARIF log of a findings document; `policies` are those of its findings, by id."""
    findings = document["findings"]
    run = {
        "tool": {
            "driver": {
                "name": "anlan",
                "version": TOOL_VERSION,
                "rules": [_rule(one, policies[one["policy"]]) for one in findings],
            }
        },
        "invocations": [
            {"executionSuccessful": True, "endTimeUtc": document["evaluated_at"]},
        ],
        "originalUriBaseIds": {
            _BASE: {"description": {"text": f"The subjects of the environment {environment}"}}
        },
        "columnKind": "utf16CodeUnits",
        "results": [
            result
            for index, one in enumerate(findings)
            for result in _results(one, index, environment)
        ],
    }
    log = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(log, indent=2, ensure_ascii=False) + "\n"


def _rule(finding: Mapping[str, Any], policy: Policy) -> dict[str, Any]:
    fix = policy.remediation.text
    return {
        "id": policy.id,
        "shortDescription": {"text": policy.title["en"]},
        "fullDescription": {"text": policy.rationale["en"]},
        "help": {"text": f"{fix['en']}\n{fix['zh']}"},
        "defaultConfiguration": {"level": _LEVELS[policy.severity]},
        "properties": {
            "tags": ["compliance", policy.kind],
            "severity": policy.severity,
            "title_zh": policy.title["zh"],
            "controls": list(finding["controls"]),
        },
    }


def _results(finding: Mapping[str, Any], index: int, environment: str) -> Iterator[dict[str, Any]]:
    for seen in finding["observations"]:
        kind = _KINDS.get(seen["status"])
        if kind is None:
            continue
        subject = seen["subject"]
        identity = "\0".join((environment, finding["policy"], subject))
        yield {
            "ruleId": finding["policy"],
            "ruleIndex": index,
            "kind": kind,
            "level": _LEVELS[finding["severity"]] if kind == "fail" else "none",
            "message": {"text": f"{subject}: {seen['reason']}"},
            "locations": [
                {
                    "physicalLocation": {"artifactLocation": {"uri": subject, "uriBaseId": _BASE}},
                    "logicalLocations": [
                        {
                            "name": subject.rpartition("/")[2],
                            "fullyQualifiedName": f"{environment}/{subject}",
                            "kind": "resource",
                        }
                    ],
                }
            ],
            # One that is accepted stays a result; viewers hide it by this alone.
            "suppressions": [
                {"kind": "external", "status": "accepted", "justification": text}
                for text in waivers_at(finding, subject)
            ],
            # The same failing of the same subject is the same result in every later run.
            "partialFingerprints": {"policySubject/v1": sha256(identity.encode())},
            "properties": {
                "status": seen["status"],
                "severity": finding["severity"],
                "controls": list(finding["controls"]),
                "fact": seen["fact"],
                "valid_until": finding["valid_until"],
            },
        }
