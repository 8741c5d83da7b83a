"""The secret manager's driver against a real Vault."""

from __future__ import annotations

import json

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from orchestrator.drivers.secrets import Secrets, TransitSigner, handed_out
from orchestrator.model.environment import Environment
from orchestrator.model.errors import InfrastructureError


def test_health_says_unsealed_and_the_audit_device_writes_where_the_descriptor_says(
    environment: Environment, secrets: Secrets
) -> None:
    assert secrets.health().initialized
    assert not secrets.health().sealed
    (device,) = secrets.audit_devices().values()
    assert device["options"]["file_path"] == str(environment.secrets.audit_log)


def test_what_the_policy_does_not_grant_is_refused(secrets: Secrets) -> None:
    with pytest.raises(InfrastructureError, match="refuses to read erp-admin"):
        secrets.kv("erp-admin")


def test_a_signature_verifies_with_the_environments_public_key_alone(
    environment: Environment, secrets: Secrets
) -> None:
    signer = TransitSigner(secrets)
    assert signer.public_key_pem() == environment.evidence_public_key.read_text()
    assert signer.key_id.startswith("sha256:")
    key = load_pem_public_key(environment.evidence_public_key.read_bytes())
    assert isinstance(key, Ed25519PublicKey)
    signature = signer.sign(b"evidence")
    key.verify(signature, b"evidence")
    with pytest.raises(InvalidSignature):
        key.verify(signature, b"evidence!")


def test_a_revoked_token_is_replaced_by_a_fresh_login(environment: Environment) -> None:
    secrets = Secrets(environment)
    first = secrets.login_of("erp-probe")
    secrets._login.auth.token.revoke_self()
    assert secrets.login_of("erp-probe") == first


def test_no_password_shows_when_a_login_is_printed(secrets: Secrets) -> None:
    login = secrets.database_login()
    assert login.password not in repr(login)
    assert login.password not in json.dumps(str(login))


def test_every_secret_that_was_given_out_is_remembered_and_no_name(
    environment: Environment, secrets: Secrets
) -> None:
    login = secrets.database_login()
    probe = secrets.login_of("erp-probe")
    held = json.loads(environment.secrets.credentials_file.read_text())
    assert {login.password, probe.password, held["secret_id"]} <= handed_out()
    assert secrets._login.token in handed_out()
    assert {login.username, probe.username}.isdisjoint(handed_out())
