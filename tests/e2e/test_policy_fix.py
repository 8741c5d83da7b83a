"""`anlan policy fix`: what a role can put right is seen, put right, and then nothing is left."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from orchestrator.drivers.lease import LeaseFile
from orchestrator.drivers.postgresql import PostgreSQL
from orchestrator.model.environment import Environment
from tests.commands import anlan
from tests.conftest import Place
from tests.contract.mutations.world import execute, reload_and_wait

POLICY = "audit-database-logins"


def fix(place: Place, how: str) -> tuple[int, dict[str, Any]]:
    done: subprocess.CompletedProcess[str] = anlan(
        place.state, "policy", "fix", place.name, POLICY, how, "--json"
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_a_setting_by_alter_system_is_seen_and_put_right(
    place: Place, environment: Environment
) -> None:
    server = PostgreSQL(environment, environment.sites["b"])
    execute(server, "ALTER SYSTEM SET log_connections = 'off'")
    reload_and_wait(server, "SELECT current_setting('log_connections') = 'off'")

    code, planned = fix(place, "--dry-run")
    assert (code, planned["roles"]) == (1, {"postgresql": ["postgresql-b"]})
    (task,) = planned["changes"]["postgresql-b"]
    assert task.endswith(": ALTER SYSTEM RESET log_connections")
    with server.connect_local() as connection:
        assert connection.execute("SHOW log_connections").fetchone() == ("off",)

    code, applied = fix(place, "--apply")
    assert (code, applied["after"][POLICY]["status"]) == (0, "satisfied")
    assert applied["before"][POLICY]["reason"] == "b/postgresql: log_connections is off"
    assert fix(place, "--apply") == (
        0,
        {
            "dry_run": False,
            "roles": {},
            "policies": [],
            "changes": {},
            "nothing_to_change": False,
            "left_alone": {},
            "before": {POLICY: {"status": "satisfied", "reason": ""}},
            "after": {POLICY: {"status": "satisfied", "reason": ""}},
        },
    )


def test_nothing_is_fixed_while_a_drill_holds_the_environment(
    place: Place, environment: Environment
) -> None:
    lease = LeaseFile(environment.lease_file)
    lease.acquire("test-fix")
    try:
        done = anlan(place.state, "policy", "fix", place.name, POLICY, "--apply")
    finally:
        lease.release("test-fix")
    assert done.returncode == 3
    assert "run test-fix holds the environment" in done.stderr
