"""The drill secrets-loss, and what it must find."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.drivers.lease import LeaseFile
from orchestrator.drivers.secrets import Secrets
from orchestrator.drivers.secrets_storage import SecretsStorage
from orchestrator.model.environment import Environment
from orchestrator.model.errors import InfrastructureError, Refused
from tests.commands import anlan, run_drill, state_for


@pytest.fixture
def state(environment: Environment, tmp_path: Path) -> Path:
    """A state directory that knows the environment."""
    return state_for(environment, tmp_path / "state")


def test_the_secret_manager_comes_back_from_its_snapshot_and_nobody_notices(
    environment: Environment, state: Path
) -> None:
    before = Secrets(environment).database_login()
    _, result = run_drill(state, environment, "secrets-loss")
    derived = result["derived"]
    assert result["verdict"] == "pass", derived["reasons"]
    names = [phase["name"] for phase in derived["phases"]]
    assert names == ["lose", "fetch", "recover", "unseal", "application"]
    assert 1 < derived["rto_seconds"] <= environment.targets.restore_rto_seconds
    checks = {check["name"]: check["ok"] for check in derived["checks"]}
    assert checks["no_erp_request_failed"] is True
    assert checks["same_secrets"] is True
    assert Secrets(environment).database_login().password != before.password
    storage = environment.secrets.storage_directory
    assert [path.name for path in storage.parent.glob("secrets*")] == [storage.name]
    trust = str(environment.evidence_public_key)
    verified = anlan(state, "evidence", "verify", result["bundle"], "--trust", trust)
    assert verified.returncode == 0, verified.stdout
    for secret in (before.password, Secrets(environment).kv("erp-probe")["password"]):
        assert not [p for p in (state / "runs").rglob("*") if p.is_file() and holds(p, secret)]


def holds(path: Path, text: str) -> bool:
    return text.encode() in path.read_bytes()


@pytest.fixture
def token(environment: Environment) -> Iterator[int]:
    """The environment's lease."""
    lease = LeaseFile(environment.lease_file)
    yield lease.acquire("test-secrets")
    lease.release("test-secrets")


def test_a_storage_that_is_not_lost_is_never_overwritten(
    environment: Environment, token: int
) -> None:
    storage = SecretsStorage(environment)
    with pytest.raises(Refused, match="is not lost"):
        storage.restore(token, b"")
    with pytest.raises(Refused, match="fencing token"):
        storage.lose(token - 1)
    assert not Secrets(environment).health().sealed


def test_a_damaged_snapshot_is_refused_and_the_old_storage_is_put_back(
    environment: Environment, state: Path, token: int
) -> None:
    storage = SecretsStorage(environment)
    content = Secrets(environment).snapshot()
    damaged = content[:-200] + bytes(200)
    storage.lose(token)
    try:
        with pytest.raises(InfrastructureError, match="did not take the snapshot"):
            storage.restore(token, damaged)
    finally:
        LeaseFile(environment.lease_file).release("test-secrets")
        done = anlan(state, "env", "restore", environment.name)
    assert done.returncode == 0, done.stderr
    assert storage.residue() == []
    assert Secrets(environment).database_login().password
