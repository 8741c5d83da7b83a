"""`anlan policy` check, explain and fix: options, files, and what a fix would touch."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli.policy import policy
from orchestrator.cli.policy_common import at_site
from orchestrator.cli.policy_fix import _plan
from orchestrator.drivers.lease import LeaseFile
from orchestrator.model.environment import load_environment
from orchestrator.model.errors import InputError, Refused
from orchestrator.model.fact import Fact, facts_document
from orchestrator.model.policy import Policy, parse_policies
from orchestrator.policy import Parameters, evaluate
from stacks import automation
from tests.unit.test_policy_cli import nowhere as nowhere  # noqa: PLC0414  (a fixture)
from tests.unit.test_policy_formats import TEXT

NOW = datetime(2026, 11, 28, tzinfo=UTC)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(policy, list(arguments), standalone_mode=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One policy, about each site's database."""
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "tls.yaml").write_text(TEXT.replace("SEVERITY", "P0"))
    return folder


@pytest.fixture
def facts(tmp_path: Path) -> Path:
    """Site a speaks no TLS, b does."""
    file = tmp_path / "facts.json"
    now = datetime.now(UTC)
    found = [
        Fact("tls_endpoint", f"{site}/postgresql", now, "s", "q", 1, 1.0, "observed", "", data)
        for site, data in (("a", {"speaks_tls": False}), ("b", {"speaks_tls": True}))
    ]
    file.write_text(json.dumps(facts_document(found)))
    return file


def one(severity: str = "P0") -> Policy:
    return parse_policies(TEXT.replace("SEVERITY", severity))[0]


@pytest.mark.parametrize("form", ["json", "sarif", "junit", "ocsf"])
def test_findings_are_written_to_a_file_as_they_are_printed(
    nowhere: str, folder: Path, facts: Path, tmp_path: Path, form: str
) -> None:
    out = tmp_path / "out"
    shared = ("check", nowhere, "--policies", str(folder), "--facts", str(facts), "--format", form)
    printed, written = run(*shared), run(*shared, "--output", str(out))
    assert (printed.return_value, written.return_value, written.output) == (1, 1, "")
    assert len(out.read_text().splitlines()) == len(printed.output.splitlines()) > 1


def test_a_table_is_not_written_to_a_file(nowhere: str, folder: Path, facts: Path) -> None:
    error = run(
        "check", nowhere, "--policies", str(folder), "--facts", str(facts), "--output", "x"
    ).exception
    assert isinstance(error, InputError)


@pytest.mark.parametrize(("site", "code"), [("a", 1), ("b", 0)])
def test_a_site_is_judged_by_its_own_subjects(
    nowhere: str, folder: Path, facts: Path, site: str, code: int
) -> None:
    shared = (nowhere, "--policies", str(folder), "--facts", str(facts), "--site", site)
    result = run("check", *shared, "--json")
    assert result.return_value == code
    (finding,) = json.loads(result.output)["findings"]
    assert [seen["subject"] for seen in finding["observations"]] == [f"{site}/postgresql"]
    explained = run("explain", nowhere, "tls-version", *shared[1:])
    assert explained.return_value == code
    assert f"{site}/postgresql: " in explained.output
    assert "seen:     " + ("false" if code else "true") in explained.output


def test_common_keeps_what_belongs_to_no_site(nowhere: str) -> None:
    both = dataclasses.replace(one(), subjects=("{site}/erp", "common/secrets"))
    assert [each.subjects for each in at_site([both, one()], nowhere, "common")] == [
        ("common/secrets",)
    ]
    with pytest.raises(InputError, match="there is no site 'z'"):
        at_site([both], nowhere, "z")


# Fixing ----------------------------------------------------------------------------------------

PARTS = {"postgresql-a": "a", "postgresql-b": "b"}


def planned(monkeypatch: pytest.MonkeyPatch, found: Policy, speaks: Mapping[str, bool]) -> Any:
    monkeypatch.setattr(automation, "parts_of", lambda _, role: PARTS if role else {})
    known = [
        Fact("tls_endpoint", f"{site}/postgresql", NOW, "s", "q", 1, 1.0, "observed", "", data)
        for site, data in ((site, {"speaks_tls": value}) for site, value in speaks.items())
    ]
    parameters = Parameters({"sites": {"a": {}, "b": {}}}, {})
    return _plan("local", evaluate([found], known, parameters, NOW))


def test_only_the_part_whose_subject_failed_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(monkeypatch, one(), {"a": True, "b": False})
    assert plan.parts == {"postgresql": ("postgresql-b",)}
    assert plan.fixable == ("tls-version",)
    assert planned(monkeypatch, one(), {"a": True, "b": True}).parts == {}


@pytest.mark.parametrize(
    ("change", "why"),
    [({"safe": False}, "not safe unattended"), ({"role": ""}, "no role puts it right")],
)
def test_what_is_not_safe_or_has_no_role_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], why: str
) -> None:
    remediation = dataclasses.replace(one().remediation, **change)
    found = dataclasses.replace(one(), remediation=remediation)
    plan = planned(monkeypatch, found, {"a": False, "b": False})
    assert plan.parts == {}
    assert why in plan.left["tls-version"]


def test_a_fix_says_whether_it_acts(nowhere: str) -> None:
    error = run("fix", nowhere).exception
    assert isinstance(error, InputError)
    assert "--dry-run, or --apply" in str(error)


def test_a_fix_is_refused_while_a_drill_holds_the_environment(
    nowhere: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "state" / "env" / nowhere / "environment.json"
    lease = LeaseFile(load_environment(file).lease_file)
    lease.acquire("failover-1")
    for how in ("--dry-run", "--apply"):
        error = run("fix", nowhere, how).exception
        assert isinstance(error, Refused)
        assert error.exit_code == 3
        assert "failover-1 holds" in str(error)
