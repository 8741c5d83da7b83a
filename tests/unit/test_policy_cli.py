"""`anlan policy`: what it prints, its exit codes, and an environment in which nothing answers."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli.policy import policy
from orchestrator.collect import KINDS
from orchestrator.model.errors import InputError
from orchestrator.model.fact import parse_facts
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


def test_list_shows_every_policy_with_its_controls() -> None:
    found = json.loads(run("list", "--json").output)
    by_id = {item["id"]: item for item in found}
    assert by_id["audit-retention"]["severity"] == "high"
    assert by_id["audit-retention"]["controls"][0]["threshold"] == "6 months"
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
    assert {fact.kind for fact in facts} == set(KINDS)
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
    (folder / "mine.yaml").write_text("schema: anlan.policies/v1\npolicies: []\n")
    error = run("check", nowhere, "--policies", str(folder)).exception
    assert isinstance(error, InputError)
    assert error.file.endswith("policies/mine.yaml")
    assert error.path == "$.policies"


def test_an_unknown_environment_is_bad_input(nowhere: str) -> None:
    error = run("check", "elsewhere").exception
    assert isinstance(error, InputError)
    assert "no environment 'elsewhere'" in str(error)
