"""Coverage: one bad part makes a control bad, and what nobody looked at is never satisfied."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from run_samples import Sample, record

from orchestrator.cli.policy import policy as command
from orchestrator.evidence import LocalSigner
from orchestrator.evidence.outcomes import outcomes
from orchestrator.model.catalogue import Catalogue, CatalogueControl
from orchestrator.model.errors import InputError
from orchestrator.model.fact import Fact, facts_document
from orchestrator.model.policy import Finding, Policy, Remediation, Status
from orchestrator.policy.coverage import DrillRun, cover, mapping

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
BOTH = {"en": "text", "zh": "文本"}


def control(name: str, policies: str = "", drills: str = "") -> CatalogueControl:
    return CatalogueControl(
        name, BOTH, BOTH, "", tuple(policies.split()), tuple(drills.split()), BOTH
    )


def catalogue(*controls: CatalogueControl) -> Catalogue:
    return Catalogue("mine", "Mine", BOTH, "1", "here", controls)


def finding(name: str, status: Status) -> Finding:
    fix = Remediation(BOTH, "", (), False)
    policy = Policy(name, BOTH, BOTH, "P0", "audit_log", (), 26, (), {}, (), fix, ())
    return Finding(policy, (), status, "so it is", 1, 1, None, None, {}, ())


def run(drill: str, verdict: str = "pass", days: float = 1) -> DrillRun:
    return DrillRun(drill, f"{drill}-1", verdict, NOW - timedelta(days=days))


def status(
    one: CatalogueControl, findings: list[Finding] | None = None, runs: list[DrillRun] | None = None
) -> str | None:
    covered = cover(catalogue(one), findings or [], runs or [], NOW, 365)
    return covered.controls[0].status


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (["satisfied", "satisfied"], "satisfied"),
        (["satisfied", "not-satisfied"], "not-satisfied"),
        (["unknown", "not-satisfied"], "not-satisfied"),
        (["satisfied", "unknown"], "unknown"),
        (["satisfied", "expired"], "expired"),
        (["satisfied", "not-applicable"], "satisfied"),
        (["not-applicable", "not-applicable"], "not-applicable"),
    ],
)
def test_the_worst_policy_decides(statuses: list[Status], expected: str) -> None:
    findings = [finding(f"p{n}", one) for n, one in enumerate(statuses)]
    assert status(control("c", "p0 p1"), findings) == expected


def test_a_policy_that_was_not_judged_is_unknown() -> None:
    assert status(control("c", "p0 p1"), [finding("p0", "satisfied")]) == "unknown"


def test_what_names_nothing_is_unproven_however_good_the_rest_is() -> None:
    covered = cover(
        catalogue(control("c", "p0"), control("d")), [finding("p0", "satisfied")], [], NOW, 365
    )
    assert [one.status for one in covered.controls] == ["satisfied", "unproven"]
    assert covered.counts == {"satisfied": 1, "unproven": 1}
    assert covered.satisfied_percent == 50.0


def test_one_hundred_percent_is_all_of_them() -> None:
    many = [control(f"c{n}", "p0") for n in range(2000)]
    covered = cover(catalogue(*many, control("d")), [finding("p0", "satisfied")], [], NOW, 365)
    assert covered.satisfied_percent == 99.9


@pytest.mark.parametrize(
    ("runs", "expected", "says"),
    [
        ([], "unknown", "no conclusive run"),
        ([run("restore")], "satisfied", "passed 2026-11-27"),
        ([run("restore", "fail")], "not-satisfied", "failed 2026-11-27"),
        ([run("restore", days=2), run("restore", "fail", 1)], "not-satisfied", "failed"),
        ([run("restore", "fail", 2), run("restore", days=1)], "satisfied", "passed"),
        ([run("restore", "inconclusive")], "unknown", "no conclusive run"),
        ([run("restore", days=2), run("restore", "inconclusive", 1)], "satisfied", "passed"),
        ([run("restore", days=366)], "expired", "more than 365 days"),
        ([run("failover")], "unknown", "no conclusive run"),
    ],
)
def test_the_last_conclusive_run_of_a_drill_decides(
    runs: list[DrillRun], expected: str, says: str
) -> None:
    covered = cover(catalogue(control("c", "", "restore")), [], runs, NOW, 365)
    (only,) = covered.controls
    assert only.status == expected
    assert says in only.parts[0].reason


def test_a_control_needs_each_drill_and_policy_that_it_names() -> None:
    one = control("c", "p0", "restore failover")
    good = [finding("p0", "satisfied")]
    assert status(one, good, [run("restore")]) == "unknown"
    assert status(one, good, [run("restore"), run("failover")]) == "satisfied"


def test_the_mapping_alone_claims_no_status() -> None:
    covered = mapping(catalogue(control("c", "p0"), control("d")))
    assert [one.status for one in covered.controls] == [None, None]
    assert covered.to_json()["summary"] == {
        "controls": 2,
        "counts": {"unproven": 1, "mapped": 1},
        "mapped_percent": 50.0,
        "satisfied_percent": None,
    }


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """One passed failover of environment `local`."""
    signer = LocalSigner(Ed25519PrivateKey.generate())
    yesterday = datetime.now(UTC) - timedelta(days=1)
    record(tmp_path, Sample(started_at=yesterday), signer)
    return tmp_path


def only_run(state: Path) -> Path:
    (found,) = (state / "runs").iterdir()
    return found


def test_a_signed_result_counts_with_its_drill_and_time(state: Path) -> None:
    (one,), problems = outcomes(state, "local")
    assert (one.drill, one.verdict, problems) == ("failover", "pass", [])
    assert one.run_id == only_run(state).name
    assert outcomes(state, "elsewhere") == ([], [])


def test_a_run_without_a_signed_result_says_nothing(state: Path) -> None:
    (only_run(state) / "statements" / "run.dsse.json").unlink()
    assert outcomes(state, "local") == ([], [])


def change_plan(state: Path) -> None:
    file = only_run(state) / "plan.json"
    file.write_text(file.read_text().replace('"failover"', '"restore"', 1))


def forget_key(state: Path) -> None:
    for path in (state / "evidence" / "keys").iterdir():
        path.unlink()


def cut_log(state: Path) -> None:
    shutil.rmtree(state / "evidence" / "log")


def break_signature(state: Path) -> None:
    file = only_run(state) / "statements" / "run.dsse.json"
    data = json.loads(file.read_bytes())
    other = "A" if data["payload"][40] != "A" else "B"
    data["payload"] = data["payload"][:40] + other + data["payload"][41:]
    file.write_text(json.dumps(data, sort_keys=True, separators=(",", ":")))


@pytest.mark.parametrize("damage", [change_plan, forget_key, cut_log, break_signature])
def test_a_result_that_cannot_be_trusted_is_named_and_not_counted(state: Path, damage: Any) -> None:
    damage(state)
    found, problems = outcomes(state, "local")
    assert found == []
    assert [one.code for one in problems] == ["run-not-counted"]


def test_what_is_only_in_run_json_does_not_count(state: Path) -> None:
    file = only_run(state) / "run.json"
    file.write_text(file.read_text().replace('"pass"', '"fail"'))
    (one,), _ = outcomes(state, "local")
    assert one.verdict == "pass", "the signed statement decides"


def called(*arguments: str) -> Result:
    return CliRunner().invoke(command, ["coverage", *arguments], standalone_mode=False)


def test_without_an_environment_the_mapping_is_shown() -> None:
    result = called("--catalogue", "dora", "--json")
    assert result.exception is None, result.exception
    assert result.return_value == 0
    (only,) = json.loads(result.output)["catalogues"]
    controls = {one["id"]: one for one in only["controls"]}
    names = [one["name"] for one in controls["12(7)"]["evidence"]]
    assert names == ["failover", "restore", "corruption"]
    assert controls["11(6)(a)"]["threshold"] == "at least yearly"
    assert only["summary"]["satisfied_percent"] is None
    text = called("--catalogue", "dora").output
    assert "12(7)" in text
    assert "dora: 20 controls" in text


def test_a_catalogue_that_does_not_exist_is_bad_input() -> None:
    error = called("--catalogue", "dorra").exception
    assert isinstance(error, InputError)
    assert "did you mean dora?" in str(error)


def test_a_catalogue_of_ones_own_works(tmp_path: Path) -> None:
    (tmp_path / "catalogues").mkdir()
    (tmp_path / "catalogues" / "house.yaml").write_text(
        """
schema: anlan.catalogue/v1
id: house
name: House rules
title: {en: House rules, zh: 内部规定}
edition: '1'
source: intranet
controls:
  - id: H1
    title: {en: Restore is drilled, zh: 恢复经演练}
    condition: {en: A restore works., zh: 恢复可行。}
    drills: [restore]
    unproven: {en: The rest., zh: 其余。}
"""
    )
    result = called("--policies", str(tmp_path), "--json")
    assert result.exception is None, result.exception
    assert [one["id"] for one in json.loads(result.output)["catalogues"]] == ["house"]


RULES = {
    "mine.yaml": """
schema: anlan.policies/v2
policies:
  - id: clocks
    title: {en: Clocks are in step, zh: 时钟一致}
    rationale: {en: Logs must agree., zh: 日志须一致。}
    severity: P2
    facts: clock_offset
    subjects: ['{site}/postgresql']
    valid_hours: 26
    must:
      - field: deviation_seconds
        schema: {type: number, maximum: 1}
        else: off by {actual} s
    remediation: {en: Use a time source., zh: 使用时间源。}
    examples:
      - {expect: satisfied, data: {deviation_seconds: 0}}
      - {expect: not-satisfied, data: {deviation_seconds: 3}}
""",
    "catalogues/house.yaml": """
schema: anlan.catalogue/v1
id: house
name: House rules
title: {en: House rules, zh: 内部规定}
edition: '1'
source: intranet
controls:
  - id: H1
    title: {en: Clocks, zh: 时钟}
    condition: {en: They agree., zh: 时钟一致。}
    policies: [clocks]
    unproven: {en: The rest., zh: 其余。}
  - id: H2
    title: {en: Failover, zh: 切换}
    condition: {en: It works., zh: 可切换。}
    drills: [failover]
    unproven: {en: The rest., zh: 其余。}
  - id: H3
    title: {en: Paper, zh: 文件}
    condition: {en: It is there., zh: 文件存在。}
    unproven: {en: All of it., zh: 全部。}
""",
}


def facts_file(state: Path, deviation: float) -> str:
    data = {"deviation_seconds": deviation, "offset_seconds": 0.0, "round_trip_seconds": 0.0}
    now = datetime.now(UTC)
    facts = [
        Fact("clock_offset", f"{site}/postgresql", now, "test", "", 1, 1.0, "observed", "", data)
        for site in "ab"
    ]
    (state / "facts.json").write_text(json.dumps(facts_document(facts)))
    return str(state / "facts.json")


@pytest.fixture
def place(state: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in RULES.items():
        path = state / "policies" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    folder = state / "env" / "local"
    folder.mkdir(parents=True)
    (folder / "environment.json").write_text(
        json.dumps({"name": "local", "sites": {"a": {}, "b": {}}})
    )
    monkeypatch.setenv("ANLAN_STATE_DIR", str(state))
    return state


def covered(place: Path, deviation: float, *more: str) -> tuple[Any, dict[str, str], Any]:
    file = facts_file(place, deviation)
    result = called(
        "local", "--policies", str(place / "policies"), "--facts", file, "--json", *more
    )
    assert result.exception is None, result.exception
    document = json.loads(result.stdout)
    controls = document["catalogues"][0]["controls"]
    return result.return_value, {one["id"]: one["status"] for one in controls}, document


def test_an_environments_coverage_is_of_its_findings_and_its_signed_drills(place: Path) -> None:
    code, statuses, document = covered(place, 0.1)
    assert statuses == {"H1": "satisfied", "H2": "satisfied", "H3": "unproven"}
    assert code == 0
    assert document["catalogues"][0]["summary"]["satisfied_percent"] == 66.6
    reason = document["catalogues"][0]["controls"][1]["evidence"][0]["reason"]
    assert reason.startswith("passed 20")
    assert Sample().run_id in reason


def test_a_finding_that_is_not_satisfied_makes_the_command_fail(place: Path) -> None:
    code, statuses, _ = covered(place, 3)
    assert (code, statuses["H1"]) == (1, "not-satisfied")


def test_a_drill_whose_result_is_not_trusted_leaves_its_control_unknown(place: Path) -> None:
    break_signature(place)
    code, statuses, document = covered(place, 0.1)
    assert (code, statuses["H2"]) == (5, "unknown")
    assert "statements/run.dsse.json" in document["problems"][0]


def test_the_text_names_the_last_pass_and_what_does_not_follow(place: Path) -> None:
    result = called("local", "--policies", str(place / "policies"), "--facts", facts_file(place, 0))
    text = " ".join(result.stdout.split())
    assert "house: 3 controls, 66.6 % satisfied: 2 satisfied, 1 unproven" in text
    assert "drill failover ✔ satisfied: passed" in text
    assert "does not follow" in text
    assert "\x1b[" not in result.stdout


def test_facts_without_an_environment_are_bad_input(place: Path) -> None:
    error = called("--facts", facts_file(place, 0)).exception
    assert isinstance(error, InputError)
