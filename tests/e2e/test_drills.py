"""The drills as an operator runs them, and what an officer does with their evidence."""

from __future__ import annotations

import json
import shutil
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.drivers.host import Machine
from orchestrator.drivers.lease import LeaseFile
from orchestrator.drivers.objectstore import ObjectStore
from orchestrator.drivers.postgresql import PostgreSQL
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment
from tests.commands import CHECKOUT, anlan, run_drill, state_for


@pytest.fixture(scope="module")
def state(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory for the drills of this module."""
    return state_for(environment, tmp_path_factory.mktemp("drills"))


def drill(state: Path, environment: Environment, *arguments: str) -> dict[str, Any]:
    """Run a drill that must pass; returns its JSON."""
    code, result = run_drill(state, environment, *arguments)
    assert (code, result["verdict"]) == (0, "pass"), result["derived"]["reasons"]
    derived = result["derived"]
    assert derived["policies"]["satisfied"] > 20
    assert derived["policies"]["not-satisfied"] == derived["policies"]["unknown"] == 0
    assert all(check["ok"] for check in derived["checks"])
    assert Path(result["report"]).read_text().startswith("<!doctype html>")
    return result


@pytest.fixture(scope="module")
def backup(state: Path, environment: Environment) -> dict[str, Any]:
    """A backup drill that passed: it is what the restore drill restores."""
    return drill(state, environment, "backup")


def test_backup_is_verified_encrypted_and_locked(backup: dict[str, Any]) -> None:
    names = {check["name"] for check in backup["derived"]["checks"]}
    for number in (1, 2):
        for what in (
            "sound",
            "encrypted",
            "cipher",
            "locked",
            "deletion_refused",
            "archives",
            "retention",
        ):
            assert f"repository_{number}_{what}" in names
    assert "marker_in_database_files" in names


@pytest.mark.usefixtures("backup")
@pytest.mark.parametrize(
    ("target", "repository"), [("latest", "2"), ("random", "1"), ("ledger", "1")]
)
def test_restore_is_measured_and_leaves_nothing(
    state: Path, environment: Environment, target: str, repository: str
) -> None:
    chosen = ["-p", f"target={target}", "-p", f"repository={repository}", "-p", "observe_seconds=1"]
    if target == "random":
        # In this environment's past other tests made strangers, whom the twin's policies name.
        derived = run_drill(state, environment, "restore", *chosen)[1]["derived"]
        assert [one for one in derived["reasons"] if not one.startswith("check policy_")] == []
    else:
        derived = drill(state, environment, "restore", *chosen)["derived"]
    assert [phase["name"] for phase in derived["phases"]] == [
        *("isolate", "fetch", "recover", "application"),
    ]
    total = sum(phase["seconds"] for phase in derived["phases"])
    assert total == pytest.approx(derived["rto_seconds"], abs=0.01)
    assert derived["rpo_transactions"] == 0
    names = {check["name"] for check in derived["checks"]}
    expected = {"amcheck", "data_checksums", "twin_isolated", "twin_erp_serves", "no_residue"}
    assert expected | {"nothing_after_target", "business_records"} <= names
    if target != "random":
        assert derived["ledger"]["acknowledged"] > 0
    assert ("target_entry_recovered" in names) == (target == "ledger")


def test_switchover_drains_moves_and_comes_back_without_loss(
    state: Path, environment: Environment
) -> None:
    derived = drill(state, environment, "switchover", "-p", "baseline_seconds=1")["derived"]
    assert [phase["name"] for phase in derived["phases"]] == [
        *("drain", "fence", "promote", "route", "application"),
    ]
    assert 0 < derived["rto_seconds"] <= environment.targets.rto_seconds
    assert len(derived["outages"]) >= 2, "the way there and the way back"
    assert derived["rpo_transactions"] == 0
    assert derived["ledger"]["acknowledged"] > 50
    checks = {check["name"]: check["ok"] for check in derived["checks"]}
    wanted = ("requests_drained", "standby_has_everything", "never_two_primaries")
    assert [checks[name] for name in wanted] == [True, True, True]


@pytest.mark.parametrize("fault", ["database-killed", "database-frozen"])
def test_a_broken_database_on_a_living_machine_is_powered_off_first(
    state: Path, environment: Environment, fault: str
) -> None:
    chosen = ["-p", f"fault={fault}", "-p", "baseline_seconds=1"]
    derived = drill(state, environment, "failover", *chosen)["derived"]
    checks = {check["name"]: check["detail"] for check in derived["checks"]}
    assert "processes killed" in checks["site_powered_off"]
    assert checks["primary_fenced"].startswith("machine of site a")
    detect = next(one["seconds"] for one in derived["phases"] if one["name"] == "detect")
    # Refused is certain; silence must last.
    assert (detect > 3.5) == (fault == "database-frozen")


def test_a_blip_is_no_failure_unless_the_grace_is_too_short(
    state: Path, environment: Environment
) -> None:
    derived = drill(state, environment, "false-failover", "-p", "baseline_seconds=1")["derived"]
    assert derived["rto_seconds"] > 2.4
    assert derived["outages"], "the clients must have noticed the blip"
    hasty = ["-p", "baseline_seconds=1", "-p", "detect_grace_seconds=1"]
    code, result = run_drill(state, environment, "false-failover", *hasty)
    assert (code, result["verdict"]) == (1, "fail")
    assert ["no_failure_called" in reason for reason in result["derived"]["reasons"]] == [True]


def test_a_dead_front_door_comes_back_and_nobody_fails_over(
    state: Path, environment: Environment
) -> None:
    derived = drill(state, environment, "front-door-killed", "-p", "baseline_seconds=1")["derived"]
    assert 0 < derived["rto_seconds"] <= environment.targets.rto_seconds
    assert derived["outages"], "the clients must have seen it die"
    checks = {check["name"]: check["ok"] for check in derived["checks"]}
    wanted = ("front_door_killed", "front_door_back", "no_failure_called", "never_two_primaries")
    assert [checks[name] for name in wanted] == [True] * 4


def test_failover_loses_nothing_and_is_verified_by_an_officer_elsewhere(
    state: Path, environment: Environment, tmp_path: Path
) -> None:
    result = drill(state, environment, "failover", "-p", "baseline_seconds=1")
    derived = result["derived"]
    assert [phase["name"] for phase in derived["phases"]] == [
        *("detect", "decide", "fence", "promote", "route", "application"),
    ]
    assert 0 < derived["rto_seconds"] <= environment.targets.rto_seconds
    assert derived["outages"], "the clients must have seen the site's death"
    assert derived["ledger"]["acknowledged"] > 50
    checks = {check["name"]: check["ok"] for check in derived["checks"]}
    assert checks["never_two_primaries"] is True

    # Somewhere else, with nothing but the bundle and the key.
    bundle, key = tmp_path / "bundle.zip", tmp_path / "evidence.pub"
    shutil.copy(result["bundle"], bundle)
    shutil.copy(environment.evidence_public_key, key)
    verify = ("evidence", "verify", str(bundle), "--trust", str(key), "--json")
    verified = anlan(tmp_path / "nothing", *verify, "--run", result["run_id"])
    answer = json.loads(verified.stdout)
    assert (verified.returncode, answer["status"]) == (0, "VALID"), answer["problems"]
    for name in ("verdict", "rto_seconds", "rpo_transactions", "targets"):
        assert answer["summary"][name] == derived[name]
    foreign = anlan(tmp_path / "nothing", *verify, "--run", "another")
    assert (foreign.returncode, json.loads(foreign.stdout)["status"]) == (1, "INVALID")

    # An edited result is found out, though every digest was made to fit.
    with zipfile.ZipFile(bundle) as source:
        files = {name: source.read(name) for name in source.namelist()}
    run = json.loads(files["runs/run.json"])
    run["derived"]["rto_seconds"] = 0.1
    files["runs/run.json"] = json.dumps(run).encode()
    with zipfile.ZipFile(bundle, "w") as target:
        for name, content in files.items():
            target.writestr(name, content)
    edited = anlan(tmp_path / "nothing", *verify)
    assert edited.returncode == 1
    codes = {problem["code"] for problem in json.loads(edited.stdout)["problems"]}
    assert {"digest-mismatch", "verdict-mismatch"} <= codes

    # Both sites keep the bundle under a lock.
    secrets = Secrets(environment)
    for site in environment.sites.values():
        store = ObjectStore(environment, site, secrets.kv(site.object_store.secret))
        bucket = store.bucket("evidence")
        (kept,) = store.versions(bucket, f"{result['run_id']}.zip")
        assert store.get(bucket, kept.key) == Path(result["bundle"]).read_bytes()
        assert store.try_delete_locked(bucket, kept.key, kept.version).refused


def test_history_and_log_hold_every_run(state: Path, environment: Environment) -> None:
    runs = json.loads(anlan(state, "drill", "history", "--json").stdout)
    assert len(runs) >= 4
    assert {run["state"] for run in runs} == {"finished"}
    key = str(environment.evidence_public_key)
    log = anlan(state, "evidence", "log", "verify", "--trust", key, "--json")
    (answer,) = json.loads(log.stdout)
    assert (log.returncode, answer["status"], answer["unfinished"]) == (0, "VALID", [])
    assert answer["runs"] == len(runs)


def test_a_second_run_is_refused_and_told_who_holds_the_environment(
    state: Path, environment: Environment
) -> None:
    lease = LeaseFile(environment.lease_file)
    lease.acquire("failover-elsewhere", {"operator": "someone"})
    try:
        before = len(list((state / "runs").iterdir()))
        refused = anlan(state, "drill", "run", "backup", environment.name)
        assert refused.returncode == 3
        assert "failover-elsewhere" in refused.stderr
        assert "operator someone" in refused.stderr
        assert len(list((state / "runs").iterdir())) == before
        rehearsed = anlan(state, "drill", "run", "backup", environment.name, "--dry-run")
        assert (rehearsed.returncode, "held by run failover-elsewhere" in rehearsed.stdout) == (
            3,
            True,
        )
    finally:
        lease.release("failover-elsewhere")


@pytest.fixture
def dead_database(environment: Environment) -> Iterator[None]:
    """The standby's database is stopped for a while."""
    server = PostgreSQL(environment, environment.sites["b"])
    server.stop()
    yield
    server.start()
    PostgreSQL(environment, environment.sites["a"]).await_streaming("site_b")


@pytest.mark.usefixtures("dead_database")
def test_a_server_that_is_down_ends_with_4_and_what_to_do(
    state: Path, environment: Environment
) -> None:
    rehearsed = anlan(state, "drill", "run", "failover", environment.name, "--dry-run")
    assert (rehearsed.returncode, "✘ b/database answers" in rehearsed.stdout) == (4, True)
    done = anlan(state, "drill", "run", "failover", environment.name)
    assert done.returncode == 4
    assert "b/database does not answer" in done.stderr
    assert "anlan env restore" in done.stderr
    checked = anlan(state, "env", "check", environment.name, "--json")
    assert checked.returncode == 4
    broken = {c["check"] for c in json.loads(checked.stdout)["checks"] if not c["ok"]}
    assert "b/database_answers" in broken
    assert not LeaseFile(environment.lease_file).current().is_held


def broken_drill(folder: Path, old: str, new: str, drill: str = "backup") -> Path:
    text = (CHECKOUT / "drills" / f"{drill}.yaml").read_text()
    assert old in text
    path = folder / "broken.yaml"
    path.write_text(text.replace(old, new, 1))
    return path


@pytest.mark.parametrize(
    "change",
    [
        ("do: write_marker", "do: write_mark", r"$.steps[1].do: there is no verb 'write_mark'"),
        ("impact: none", "impact: mild", "$.impact"),
        ("timeout_seconds: 60", "timeout_seconds: soon", "$.steps[0].timeout_seconds"),
        ("id: write-marker", "id: check-environment", "$.steps[1].id: id 'check-environment' is"),
        ("name: backup", "name: backup\nname: backup", "duplicate key 'name'"),
        ("default: full", "default: whole", "$.parameters.type.default"),
    ],
)
def test_a_broken_drill_ends_with_2_naming_file_and_path(
    state: Path, environment: Environment, tmp_path: Path, change: tuple[str, str, str]
) -> None:
    old, new, said = change
    path = broken_drill(tmp_path, old, new)
    done = anlan(state, "drill", "plan", str(path), environment.name)
    assert done.returncode == 2
    assert str(path) in done.stderr
    assert said in done.stderr


@pytest.mark.parametrize(
    "change",
    [
        ("at: survivor", "at: moon", "at: 'moon' is no place"),
        ("[tls-version,", "[tls-versions,", "did you mean tls-version?"),
    ],
)
def test_a_drill_that_judges_by_what_does_not_exist_is_not_planned(
    state: Path, environment: Environment, tmp_path: Path, change: tuple[str, str, str]
) -> None:
    old, new, said = change
    path = broken_drill(tmp_path, old, new, "failover")
    done = anlan(state, "drill", "plan", str(path), environment.name)
    assert done.returncode == 2
    assert f"{path}: step judge-survivor, with: " in done.stderr
    assert said in done.stderr


def test_bad_input_ends_with_2(state: Path, environment: Environment, tmp_path: Path) -> None:
    name = environment.name
    for arguments, said in (
        (("drill", "run", "restore", name, "-p", "target=yesterday"), "'yesterday'"),
        (("drill", "run", "restore", name, "-p", "repository=9"), "parameter repository"),
        (("drill", "run", "restore", name, "-p", "colour=blue"), "no parameter 'colour'"),
        (("drill", "run", "backup", "nowhere"), "there is no environment 'nowhere'"),
        (("drill", "run", "nothing", name), "nothing.yaml"),
        (("drill", "resume", "nothing"), "'nothing' does not exist"),
        (("evidence", "verify", str(tmp_path / "no.zip"), "--trust", "no.pub"), "no.pub"),
    ):
        done = anlan(state, *arguments)
        assert (done.returncode, said in done.stderr) == (2, True), (arguments, done.stderr)

    other = tmp_path / "state" / "env" / "bad"
    other.mkdir(parents=True)
    descriptor = json.loads((environment.root / "environment.json").read_text())
    descriptor["tier"] = "gold"
    (other / "environment.json").write_text(json.dumps(descriptor))
    done = anlan(tmp_path / "state", "env", "check", "bad")
    assert (done.returncode, "$.tier" in done.stderr) == (2, True), done.stderr
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "tls.yaml").write_text("schema: anlan.policies/v2\npolicies: []\n")
    done = anlan(state, "drill", "plan", "backup", name, "--policies", str(policies))
    assert (done.returncode, "$.policies" in done.stderr) == (2, True), done.stderr


def test_a_plan_or_dry_run_touches_nothing(state: Path, environment: Environment) -> None:
    before = sorted(path.name for path in (state / "runs").iterdir())
    planned = anlan(state, "drill", "run", "failover", environment.name, "--dry-run", "--json")
    plan = json.loads(planned.stdout)
    assert plan["impact"] == "production"
    assert plan["targets"]["rto_seconds"] == environment.targets.rto_seconds
    assert planned.returncode == 0
    assert plan["estimate"]["seconds"] > 1
    assert {check["ok"] for check in plan["preconditions"]["checks"]} == {True}
    assert sorted(path.name for path in (state / "runs").iterdir()) == before
    assert not LeaseFile(environment.lease_file).current().is_held


def readiness(state: Path, environment: Environment, *arguments: str) -> dict[str, tuple[Any, str]]:
    """Run the drill; returns what each check came to."""
    checks = run_drill(state, environment, "readiness", *arguments)[1]["derived"]["checks"]
    return {check["name"]: (check["ok"], check["detail"]) for check in checks}


def test_readiness_counts_on_a_real_failover_of_what_is_here_now(
    state: Path, environment: Environment, tmp_path: Path
) -> None:
    never = state_for(environment, tmp_path / "state")
    checks = readiness(never, environment)
    assert {name for name, (ok, _) in checks.items() if not ok} == {"failover_proven"}

    drill(state, environment, "failover", "-p", "baseline_seconds=1")
    ready = drill(state, environment, "readiness")["derived"]
    assert {check["name"] for check in ready["checks"]} > {
        *("survey_complete", "standby_mode", "standby_lag", "archive_path", "room_b"),
        *("erp_warm_a", "erp_warm_b", "login_rewinder_a", "login_replicator_b", "rewindable_a"),
        *("failover_proven", "failover_current", "failover_recent"),
    }

    (newest,) = sorted((state / "runs").glob("failover-*/plan.json"))[-1:]
    plan = json.loads(newest.read_text())
    plan["drill"]["digest"], plan["environment"]["deployment_digest"] = "0" * 64, "1" * 64
    newest.write_text(json.dumps(plan))
    checks = readiness(state, environment, "-p", "max_age_days=0.01")
    ok, detail = checks["failover_current"]
    assert (ok, detail.partition(": ")[2]) == (False, "stack and roles, drill")


def test_readiness_names_each_part_that_would_fail(state: Path, environment: Environment) -> None:
    site = environment.sites["b"]
    machine = Machine.of_site(environment, "b")
    key = site.database.key_file.with_name("rewinder.key")
    machine.program_stop(site.erp.program)
    key.rename(key.with_suffix(".away"))
    try:
        limits = ["-p", "lag_bytes=0", "-p", "free_mib=1048576"]
        checks = readiness(state, environment, *limits)
    finally:
        key.with_suffix(".away").rename(key)
        machine.program_start(site.erp.program)
        until = time.monotonic() + 60
        while anlan(state, "env", "check", environment.name).returncode:
            assert time.monotonic() < until, "the ERP that was stopped does not come back"
    red = {name for name, (ok, _) in checks.items() if ok is False}
    assert red >= {"b/erp_answers", "erp_warm_b", "login_rewinder_b", "room_a", "room_b"}
    assert not red & {"erp_warm_a", "login_rewinder_a", "login_replicator_b", "archive_path"}
