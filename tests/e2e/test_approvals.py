"""A drill that touches production waits for approvals and its window, and is evidence of both."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.drivers.lease import LeaseFile
from orchestrator.drivers.secrets import Secrets, TransitSigner
from orchestrator.evidence import EvidenceStore
from orchestrator.model.environment import Environment
from orchestrator.model.schedule import applied, parse_schedule
from tests.commands import CHECKOUT, QUICK, anlan, only_run, run_of

DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
SCHEDULE = """\
schema: anlan.schedule/v1
title: {en: Soon, zh: 即将}
entries:
  - {id: soon, drill: front-door-killed, cron: "*/5 * * * *", start_within_minutes: WITHIN,
     parameters: {baseline_seconds: 1}}
"""
Approve = Callable[..., subprocess.CompletedProcess[str]]


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@pytest.fixture
def state(environment: Environment, tmp_path: Path) -> Path:
    """A state directory for which two of three must approve drills of the environment."""
    approvers = []
    for name in ("li", "wang", "me"):
        key, public = tmp_path / f"{name}.key", tmp_path / f"{name}.pub"
        openssl("genpkey", "-algorithm", "ed25519", "-out", str(key))
        openssl("pkey", "-in", str(key), "-pubout", "-out", str(public))
        approvers.append({"name": name, "public_key": public.read_text()})
    rule = {"schema": "anlan.approvals/v1", "required": 2, "approvers": approvers}
    (tmp_path / "rule.yaml").write_text(yaml.safe_dump(rule))
    folder = tmp_path / "state" / "env" / environment.name
    folder.mkdir(parents=True)
    allow(tmp_path / "state", environment, rule)
    (tmp_path / "quick.yaml").write_text(QUICK)
    return tmp_path / "state"


def allow(state: Path, environment: Environment, rule: dict[str, Any]) -> None:
    """Put a rule in force."""
    descriptor = json.loads((environment.root / "environment.json").read_text())
    file = state / "env" / environment.name / "environment.json"
    file.write_text(json.dumps({**descriptor, "approvals": rule}))


def ask(state: Path, environment: Environment) -> str:
    """Plan the quick drill; returns the id of its run."""
    asked = anlan(
        state, "drill", "run", str(state.parent / "quick.yaml"), environment.name, "--json"
    )
    assert asked.returncode == 3, asked.stderr
    answer = json.loads(asked.stdout)
    assert (answer["state"], answer["run"]) == ("planned", only_run(state))
    return str(answer["run"])


def say(state: Path, word: str, run: str, name: str, *more: str) -> dict[str, Any]:
    """A person's word on a run."""
    key = str(state.parent / f"{name}.key")
    done = anlan(state, "drill", word, run, "--key", key, "--yes", "--json", *more)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def verified(state: Path, environment: Environment, run: str) -> subprocess.CompletedProcess[str]:
    bundle = str(state / "evidence" / "bundles" / f"{run}.zip")
    trust = ("--trust", str(environment.evidence_public_key))
    rule = ("--approvals", str(state.parent / "rule.yaml"))
    return anlan(state, "evidence", "verify", bundle, *trust, *rule, "--json")


def test_a_run_begins_when_enough_persons_have_approved_it(
    state: Path, environment: Environment, tmp_path: Path
) -> None:
    run = ask(state, environment)
    say(state, "approve", run, "li")
    early = anlan(state, "drill", "resume", run)
    assert early.returncode == 3
    assert "not approved: 1 of 2 (li)" in early.stderr
    assert run_of(state) == []
    assert not LeaseFile(environment.lease_file).current().is_held

    # On a machine of their own: the plan goes there, what is signed comes back.
    plan, word = state / "runs" / run / "plan.json", str(tmp_path / "word.json")
    elsewhere = tmp_path / "elsewhere"
    key = ("--key", str(tmp_path / "wang.key"), "--yes")
    signed = anlan(elsewhere, "drill", "approve", str(plan), *key, "--out", word)
    assert signed.returncode == 0, signed.stderr
    assert not elsewhere.exists()
    kept = anlan(state, "drill", "approve", run, "--signed", word, "--json")
    assert json.loads(kept.stdout)["may_not_begin"] == "", kept.stderr

    # Killed as it begins: it has begun, and is finished like any other.
    crash = [sys.executable, "-m", "tests.faults.crash", "note:permitted:before"]
    died = subprocess.run(
        [*crash, "drill", "resume", run],
        env={**os.environ, "ANLAN_STATE_DIR": str(state)},
        cwd=CHECKOUT,
        capture_output=True,
        check=False,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr
    done = anlan(state, "drill", "resume", run, "--json")
    result = json.loads(done.stdout)
    assert (result["verdict"], result["attempts"]) == ("pass", 2), result["derived"]["reasons"]
    checks = {one["name"]: one["detail"] for one in result["derived"]["checks"]}
    assert checks["approved"] == "2 of 2: li, wang"
    answer = verified(state, environment, run)
    assert answer.returncode == 0, answer.stdout


def test_a_rejected_run_never_begins_and_says_why_in_its_evidence(
    state: Path, environment: Environment
) -> None:
    run = ask(state, environment)
    for name in ("li", "wang"):
        say(state, "approve", run, name)
    answer = say(state, "reject", run, "me", "--reason", "payroll week")
    assert answer["rejected"] == {"me": "payroll week"}
    closed = anlan(state, "drill", "resume", run, "--json")
    assert closed.returncode == 5, closed.stderr
    reasons = json.loads(closed.stdout)["derived"]["reasons"]
    assert reasons[0] == "missed: rejected by me: payroll week"
    assert not [entry for entry in run_of(state) if entry["kind"] == "begin"]
    assert verified(state, environment, run).returncode == 0


def test_a_planned_run_that_is_aborted_never_begins(state: Path, environment: Environment) -> None:
    run = ask(state, environment)
    assert anlan(state, "drill", "abort", run).returncode == 0
    closed = anlan(state, "drill", "resume", run, "--json")
    (reason, *_) = json.loads(closed.stdout)["derived"]["reasons"]
    assert reason.startswith("missed: aborted before it began: by ")
    assert not [entry for entry in run_of(state) if entry["kind"] == "begin"]


def test_a_run_waits_for_its_window_and_for_the_rule_it_was_planned_under(
    state: Path, environment: Environment
) -> None:
    rule = yaml.safe_load((state.parent / "rule.yaml").read_text())
    shut = datetime.now(UTC) - timedelta(hours=2)
    window = {"days": DAYS, "from": f"{shut:%H:%M}", "until": f"{shut + timedelta(hours=1):%H:%M}"}
    allow(state, environment, {**rule, "required": 0, "change_windows": [window]})
    run = ask(state, environment)
    early = anlan(state, "drill", "resume", run)
    assert early.returncode == 3
    assert "outside of the change windows; the next opens" in early.stderr
    allow(state, environment, rule)
    changed = anlan(state, "drill", "resume", run)
    assert (changed.returncode, "has changed since" in changed.stderr) == (3, True)
    assert run_of(state) == []


def apply(state: Path, environment: Environment, minutes_ago: float, within: int) -> None:
    """Put the schedule in force, as if some minutes ago."""
    schedule = parse_schedule(SCHEDULE.replace("WITHIN", str(within)))
    at = datetime.now(UTC) - timedelta(minutes=minutes_ago)
    record = applied(schedule, environment.name, environment.tier, "me", at)
    EvidenceStore(state, TransitSigner(Secrets(environment))).record_schedule(record)


def work(state: Path) -> str:
    done = anlan(state, "worker", "--once")
    assert done.returncode == 0, done.stderr
    return done.stdout


def results(state: Path) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in sorted((state / "runs").glob("*/run.json"))]


def test_a_scheduled_run_that_nobody_approved_is_missed_for_that_reason(
    state: Path, environment: Environment
) -> None:
    apply(state, environment, minutes_ago=11, within=5)
    work(state)
    assert results(state)
    for run in results(state):
        reason = run["derived"]["reasons"][0]
        # Who put the schedule in force does not count.
        assert reason.startswith("missed: not approved: 0 of 2; missing: one of li, wang")
        assert verified(state, environment, run["run_id"]).returncode == 0


def test_a_scheduled_run_begins_when_it_was_approved(state: Path, environment: Environment) -> None:
    apply(state, environment, minutes_ago=5, within=60)
    assert "not yet: not approved: 0 of 2" in work(state)
    assert results(state) == []
    run = min(path.name for path in (state / "runs").iterdir() if path.name[0] != ".")
    for name in ("li", "wang"):
        say(state, "approve", run, name)
    assert f"{run}: begins" in work(state)
    (result,) = results(state)
    checks = {one["name"]: one["ok"] for one in result["derived"]["checks"]}
    assert checks["approved"] is True
    assert result["verdict"] == "pass", result["derived"]["reasons"]
