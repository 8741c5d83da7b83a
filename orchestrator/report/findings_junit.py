"""Findings as JUnit XML: a suite for each kind of fact, a case for each policy and subject.

The common ground of what its readers accept (Jenkins, GitLab, `junitparser`): not satisfied is a
failure, unknown and expired are errors (nobody knows), not applicable is skipped.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from typing import Any

from orchestrator.model.policy import Policy, waivers_at

_ELEMENTS = {
    "not-satisfied": "failure",
    "unknown": "error",
    "expired": "error",
    "not-applicable": "skipped",
}
_COUNTS = {"failures": "failure", "errors": "error", "skipped": "skipped"}
# What XML 1.0 cannot hold at all, not even escaped.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_junit(document: Mapping[str, Any], policies: Mapping[str, Policy], environment: str) -> str:
    """Return the JUnit XML of a findings document; `policies` are those of its findings, by id."""
    root = ET.Element("testsuites", {"name": f"anlan policy check {environment}"})
    suites: dict[str, ET.Element] = {}
    for finding in document["findings"]:
        policy = policies[finding["policy"]]
        suite = suites.get(policy.kind)
        if suite is None:
            moment = document["evaluated_at"].removesuffix("Z")
            attributes = {"name": policy.kind, "timestamp": moment}
            suite = suites[policy.kind] = ET.SubElement(root, "testsuite", attributes)
        for seen in finding["observations"]:
            suite.append(_case(finding, policy, seen))
    for element in (*suites.values(), root):
        element.set("tests", str(len(element.findall(".//testcase"))))
        for name, tag in _COUNTS.items():
            element.set(name, str(len(element.findall(f".//{tag}"))))
    ET.indent(root)
    text = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _case(finding: Mapping[str, Any], policy: Policy, seen: Mapping[str, Any]) -> ET.Element:
    case = ET.Element(
        "testcase",
        {
            "classname": f"{policy.kind}.{policy.id}",
            "name": f"{policy.id} {_text(seen['subject'])}",
        },
    )
    tag = _ELEMENTS.get(seen["status"])
    if tag is None:
        return case
    reason = _text(seen["reason"])
    inner = ET.SubElement(case, tag, {"message": reason})
    if tag != "skipped":
        inner.set("type", f"{finding['severity']} {seen['status']}")
        controls = ", ".join(f"{one['source']} {one['id']}" for one in finding["controls"])
        lines = [
            f"{seen['subject']}: {reason}",
            f"severity: {finding['severity']}",
            f"controls: {controls or 'none'}",
            f"fact: {seen['fact'] or 'none'}",
            f"to do: {policy.remediation.text['en']}",
            *waivers_at(finding, seen["subject"]),
        ]
        inner.text = _text("\n".join(lines))
    return case


def _text(text: str) -> str:
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)
