"""The policy pack in the real engine: what it refuses is not deployed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from stacks import places
from stacks.automation import PROJECT
from tests.commands import CHECKOUT, anlan
from tests.conftest import Place
from tests.plans import TEMPLATES, edited_roles

PROGRAMS = Path(__file__).parent / "programs"
PACK = CHECKOUT / "policies" / "crossguard"
_REFUSED = re.compile(r"\[(mandatory|advisory)\]\s+([\w-]+)\s+\(\S+: ([\w-]+)\)")


class Stack:
    """A stack of a test's program, with a state of its own."""

    def __init__(self, name: str, folder: Path, **variables: str) -> None:
        self.name, self.state = name, folder / "state"
        self.project = folder / name
        shutil.copytree(PROGRAMS / name, self.project)
        self.environment = {
            **os.environ,
            **places.pulumi_environment(self.state),
            "PYTHONPATH": str(CHECKOUT),
            **variables,
        }
        assert self.pulumi("stack", "init", name).returncode == 0

    def pulumi(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["pulumi", *arguments, "--non-interactive", "--color", "never"],
            cwd=self.project,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def resources(self) -> list[str]:
        """Names of the resources in its state."""
        deployment: dict[str, Any] = json.loads(self.pulumi("stack", "export").stdout)["deployment"]
        return [one["urn"].rpartition("::")[2] for one in deployment.get("resources", [])]


def test_each_change_for_the_worse_is_refused_at_its_part(tmp_path: Path) -> None:
    roles = edited_roles(tmp_path / "roles", *TEMPLATES)
    stack = Stack("worse", tmp_path, ANLAN_ROLES_PATH=str(roles))
    done = stack.pulumi("preview", "--policy-pack", str(PACK))
    assert done.returncode != 0
    refused = {(policy, part) for level, policy, part in _REFUSED.findall(done.stdout)}
    assert {level for level, _, _ in _REFUSED.findall(done.stdout)} == {"mandatory"}
    assert refused == {
        *((policy, "postgresql-a") for policy in ("audit-retention", "tls-plaintext-refused")),
        *(
            (policy, f"postgresql-{site}")
            for policy in (
                *("audit-database", "audit-database-logins", "database-network-rules"),
                *("tls-plaintext-refused", "tls-version"),
            )
            for site in "ab"
        ),
        *(("backup-encrypted", f"pgbackrest-{site}") for site in "ab"),
        ("tls-version", "frontdoor"),
        ("audit-secrets", "secrets"),
        ("object-lock", "objectstore-a"),
        ("plan-replication-synchronous", "replication"),
        ("plan-secrets-absent", "machine-a"),
        ("plan-addresses-encrypted", "erp-server-a"),
        *(("plan-sites-apart", part) for part in ("worse", "descriptor")),
    }
    assert "hunter2" not in done.stdout.partition("Policies:")[2].partition("Diagnostics:")[0]
    assert stack.resources() == []


def test_what_a_preview_cannot_know_is_said_and_judged_before_it_is_made(tmp_path: Path) -> None:
    stack = Stack("late", tmp_path)
    done = stack.pulumi("up", "--yes", "--policy-pack", str(PACK))
    assert done.returncode != 0
    preview, _, update = done.stdout.partition("Updating (late)")
    assert "can't run policy 'object-lock'" in preview
    assert "mandatory" not in preview
    assert ("mandatory", "object-lock", "store") in _REFUSED.findall(update)
    assert "source" in stack.resources()
    assert "store" not in stack.resources()


def test_anlan_up_refuses_a_configuration_and_keeps_nothing_of_it(place: Place) -> None:
    pulumi = place.state / "pulumi"
    state = pulumi / ".pulumi" / "stacks" / PROJECT / f"{place.name}.json"
    settings = pulumi / "local" / f"Pulumi.{place.name}.yaml"
    before = (state.read_bytes(), settings.read_bytes())
    done = anlan(place.state, "up", place.name, "-c", "auditRetentionDays=183")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "refused by policy, before anything was deployed" in done.stderr
    assert "audit-retention (P1: Audit logs are kept for six months or longer)" in done.stderr
    assert "postgresql-a: a/postgresql: kept for 183 days; 184 are required" in done.stderr
    assert "→ audit-retention: Raise" in done.stderr
    assert (state.read_bytes(), settings.read_bytes()) == before
