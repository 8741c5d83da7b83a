"""`anlan policy`: what it prints, its exit codes, and an environment in which nothing answers."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli.policy import policy
from orchestrator.model.errors import InputError
from orchestrator.model.fact import parse_facts
from orchestrator.model.folders import data_folder
from stacks.components.config import StackConfig
from stacks.components.descriptor import describe
from stacks.components.layout import Layout
from stacks.places import service_user

OURS = "client-refuses-"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(policy, list(arguments), standalone_mode=False)


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of an environment whose files and servers are not there."""

    config = StackConfig(
        name="nowhere",
        root=tmp_path / "gone",
        link=None,
        addresses=dict.fromkeys(("a", "b", "common"), "127.0.14.250"),
    )
    layout = Layout(config, service_user(), tmp_path / "cache", tmp_path / "venv")
    descriptor = describe(layout, hashlib.sha256(b"").hexdigest())
    folder = tmp_path / "state" / "env" / "nowhere"
    folder.mkdir(parents=True)
    (folder / "environment.json").write_text(json.dumps(descriptor))
    monkeypatch.setenv("ANLAN_STATE_DIR", str(tmp_path / "state"))
    return "nowhere"


def test_list_shows_every_policy() -> None:
    found = json.loads(run("list", "--json").output)
    by_id = {item["id"]: item for item in found}
    assert by_id["audit-retention"]["severity"] == "P1"
    assert by_id["audit-retention"]["must"][0]["field"] == "retention_days"
    text = run("list").output
    assert all(name in text for name in by_id)


def test_where_nothing_answers_every_policy_is_unknown_and_none_passes(
    nowhere: str, tmp_path: Path
) -> None:
    out = tmp_path / "out.json"
    result = run("check", nowhere, "--json", "--out", str(out))
    assert result.exception is None, result.exception
    assert result.return_value == 5
    findings = json.loads(result.output)["findings"]
    # Whom our own clients trust is tried with servers of the collector's own.
    theirs = [item for item in findings if not item["policy"].startswith(OURS)]
    assert {item["status"] for item in theirs} == {"unknown"}
    assert all(item["observed"] == 0 < item["population_size"] for item in theirs)
    written = json.loads(out.read_text())
    facts = parse_facts(written["facts"])
    asked = {item["facts"] for item in json.loads(run("list", "--json").output)}
    assert {fact.kind for fact in facts} == asked
    assert {fact.status for fact in facts if fact.kind != "client_trust"} == {"unreachable"}
    assert written["findings"]["findings"] == findings


def test_the_table_says_why_a_policy_is_unknown(nowhere: str) -> None:
    theirs = [item for item in json.loads(run("list", "--json").output) if OURS not in item["id"]]
    output = " ".join(run("check", nowhere).output.split())
    assert "unreachable: nothing answers at 127.0.14.250:15443" in output
    assert f"{len(theirs)} unknown" in output


def test_a_broken_policy_is_known_before_any_system_is_asked(nowhere: str, tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "mine.yaml").write_text("schema: anlan.policies/v2\npolicies: []\n")
    error = run("check", nowhere, "--policies", str(folder)).exception
    assert isinstance(error, InputError)
    assert error.file.endswith("policies/mine.yaml:2")
    assert error.path == "$.policies"


def test_an_unknown_environment_is_bad_input(nowhere: str) -> None:
    error = run("check", "elsewhere").exception
    assert isinstance(error, InputError)
    assert "no environment 'elsewhere'" in str(error)


def test_list_is_narrowed_by_severity_and_kind() -> None:
    found = json.loads(run("list", "--json", "--severity", "p0", "--kind", "audit_log").output)
    assert {item["id"] for item in found} == {"audit-database", "audit-secrets"}
    error = run("list", "--kind", "audit_lag").exception
    assert isinstance(error, InputError)
    assert error.todo == "did you mean audit_log?"


def test_show_tells_one_policy_whole_and_names_the_nearest() -> None:
    text = run("show", "audit-retention").output
    assert "must: retention_days {" in text
    assert "parameter required_days: 184" in text
    error = run("show", "audit-retension").exception
    assert isinstance(error, InputError)
    assert error.todo == "did you mean audit-retention?"


def test_test_tries_the_examples_and_fails_on_a_wrong_one(tmp_path: Path) -> None:
    good = run("test", "audit-retention")
    assert (good.return_value, "6 of 6 examples of 1 policies" in good.output) == (0, True)
    text = (data_folder("policies") / "audit.yaml").read_text()
    assert "retention_days: 183" in text
    (tmp_path / "mine.yaml").write_text(text.replace("retention_days: 183", "retention_days: 185"))
    wrong = run("test", "audit-retention", "--policies", str(tmp_path))
    assert wrong.return_value == 1
    assert "audit-retention, example 2: expected not-satisfied, it is satisfied" in wrong.output


def test_recorded_facts_are_judged_without_asking_and_are_expired_later(
    nowhere: str, tmp_path: Path
) -> None:
    out = tmp_path / "out.json"
    run("check", nowhere, "--out", str(out))
    document = json.loads(out.read_text())
    for one in document["facts"]["facts"]:
        if one["kind"] == "clock_offset":
            data = dict.fromkeys(
                ("offset_seconds", "uncertainty_seconds", "deviation_seconds"), 0.1
            )
            one |= {"status": "observed", "error": "", "data": data}
    out.write_text(json.dumps(document))
    fresh = run("check", nowhere, "--kind", "clock_offset", "--facts", str(out), "--json")
    assert fresh.return_value == 0
    for one in document["facts"]["facts"]:
        one["collected_at"] = "2026-01-01T00:00:00.000Z"
    out.write_text(json.dumps(document))
    old = run("check", nowhere, "--kind", "clock_offset", "--facts", str(out), "--json")
    assert old.return_value == 5
    assert {item["status"] for item in json.loads(old.output)["findings"]} == {"expired"}
    out.write_text("{")
    error = run("check", nowhere, "--facts", str(out)).exception
    assert isinstance(error, InputError)
    assert "not JSON" in error.reason
