"""A whole site is lost, and made again from code and backup; the drill, and `anlan up` alone."""

from __future__ import annotations

import json
import shutil

import pytest

from orchestrator.drivers.host import Machine
from orchestrator.drivers.lease import LeaseFile
from orchestrator.drivers.pgbackrest import PgBackRest
from orchestrator.model.environment import Environment
from tests.commands import anlan, run_drill, state_for
from tests.conftest import Place
from tests.faults.death import die_at

pytestmark = pytest.mark.usefixtures("stack")


def test_a_lost_site_is_made_again_from_code_and_backup(
    place: Place, environment: Environment
) -> None:
    tool = PgBackRest(environment, environment.sites["a"])
    tool.backup("full", repository=2)
    lost = environment.sites["a"].machine.directory
    keys = {path: path.read_bytes() for path in (lost / "tls").glob("*.key")}

    # The orchestrator is killed while Pulumi works, and resumed.
    chosen = ("site-loss", environment.name, "-p", "baseline_seconds=1")
    die_at(place.state, "in:rebuild-site:6.0", "run", *chosen)
    run = max(path.name for path in (place.state / "runs").glob("site-loss-*"))
    ended = anlan(place.state, "drill", "resume", run, "--json", timeout_seconds=900)
    result = json.loads(ended.stdout)
    derived = result["derived"]
    # How long it takes on a busy machine is no matter of a test.
    assert [one for one in derived["reasons"] if not one.startswith("rebuild_seconds is")] == []
    assert 0 < derived["rto_seconds"] <= environment.targets.rto_seconds
    assert derived["rto_seconds"] < derived["rebuild_seconds"]
    assert derived["ledger"]["acknowledged"] == derived["ledger"]["recovered"] > 500
    checks = {check["name"]: (check["ok"], check["detail"]) for check in derived["checks"]}
    for name in ("site_is_empty", "restored_from_backup", "standby_streams", "invoice_posted"):
        assert checks[name][0] is True
    assert checks["never_two_primaries"][0] is True
    assert checks["evidence_at_both_sites"][1].split()[0] != "0"
    assert [one["status"] for one in derived["undo"] if one["step"] == "post-invoice"] == ["done"]
    # Nothing of the old site came back: its keys are new.
    assert keys
    assert all(path.read_bytes() != old for path, old in keys.items())
    assert [one for one in tool.backups() if one.repository == 1]
    assert not list(environment.root.glob("*.fenced"))

    trust = str(environment.evidence_public_key)
    verified = anlan(place.state, "evidence", "verify", result["bundle"], "--trust", trust)
    assert verified.returncode == 0, verified.stdout
    same = anlan(place.state, "up", place.name, "--json")
    assert json.loads(same.stdout)["changes"]["same"] > 20
    assert json.loads(same.stdout)["changes"]["update"] == 0


def test_where_the_stack_is_not_nothing_is_broken(
    environment: Environment, tmp_path_factory: pytest.TempPathFactory
) -> None:
    state = state_for(environment, tmp_path_factory.mktemp("elsewhere"))
    code, result = run_drill(state, environment, "site-loss", "-p", "baseline_seconds=1")
    assert (code, result["verdict"]) == (5, "inconclusive")
    assert any("stack is known" in reason for reason in result["derived"]["reasons"])
    assert environment.sites["a"].machine.directory.is_dir()


def test_up_makes_a_lost_standby_anew(place: Place, environment: Environment) -> None:
    machine, lease = Machine.of_site(environment, "b"), LeaseFile(environment.lease_file)
    token = lease.acquire("test-loss")
    try:
        machine.kill(token)
    finally:
        lease.release("test-loss")
    shutil.rmtree(machine.directory)

    made = anlan(place.state, "up", place.name, "--json", timeout_seconds=600)
    assert made.returncode == 0, made.stdout + made.stderr
    assert json.loads(made.stdout)["changes"]["update"] > 0
    checked = anlan(place.state, "env", "check", place.name)
    assert checked.returncode == 0, checked.stdout
    # The backups of its repository are gone with it.
    PgBackRest(environment, environment.sites["a"]).backup("full", repository=2)
