"""Mutations of the secret manager, done with a root token of the unseal keys."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from orchestrator.collect.secret_manager import CONFIGURATION
from orchestrator.drivers.secrets_storage import SecretsStorage
from tests.contract.mutations.world import Mutation, World, text

Change = Callable[[World], AbstractContextManager[None]]
_NAME = "test-mallory"


@contextmanager
def root(world: World) -> Iterator[Any]:
    """A client with a root token, which is revoked at the end."""
    held = SecretsStorage(world.environment).unseal_keys()
    client = world.secrets.connect()
    client.sys.cancel_root_generation()
    started = answer = client.write_data("sys/generate-root/attempt", data={})
    for key in held["unseal_keys"][: held["threshold"]]:
        answer = client.sys.generate_root(key, started["nonce"])
    encoded = answer["encoded_token"]
    raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4))
    token = bytes(a ^ b for a, b in zip(raw, started["otp"].encode(), strict=True)).decode()
    client = world.secrets.connect(token)
    try:
        yield client
    finally:
        client.auth.token.revoke_self()


@contextmanager
def root_alive(world: World) -> Iterator[None]:
    """A root token lives."""
    with root(world):
        yield


@contextmanager
def root_begun(world: World) -> Iterator[None]:
    """Somebody began to make a root token."""
    client = world.secrets.connect()
    client.write_data("sys/generate-root/attempt", data={})
    try:
        yield
    finally:
        client.sys.cancel_root_generation()


@contextmanager
def audit_off(world: World) -> Iterator[None]:
    """The audit device is disabled; afterwards it writes to the same file again."""
    with root(world) as client:
        device = client.sys.list_enabled_audit_devices()["data"]["file/"]
        client.sys.disable_audit_device("file")
    try:
        yield
    finally:
        with root(world) as client:
            client.sys.enable_audit_device("file", path="file", options=device["options"])


@contextmanager
def audit_raw(world: World) -> Iterator[None]:
    """A second audit device writes secrets in clear."""
    file = world.environment.secrets.machine.directory / "log" / "raw.log"
    with root(world) as client:
        options = {"file_path": str(file), "mode": "0600", "log_raw": "true"}
        client.sys.enable_audit_device("file", path="raw", options=options)
    try:
        yield
    finally:
        with root(world) as client:
            client.sys.disable_audit_device("raw")
        file.unlink()


@contextmanager
def long_token(world: World) -> Iterator[None]:
    """A token that lives for ten days."""
    with root(world) as client:
        made = client.auth.token.create_orphan(policies=["default"], ttl="240h")["auth"]
    try:
        yield
    finally:
        with root(world) as client:
            client.auth.token.revoke_accessor(made["accessor"])


@contextmanager
def login_method(world: World) -> Iterator[None]:
    """Logins by user name and password."""
    with root(world) as client:
        client.sys.enable_auth_method("userpass")
    try:
        yield
    finally:
        with root(world) as client:
            client.sys.disable_auth_method("userpass")


def policy(rule: str) -> Change:
    """A change: another policy."""

    @contextmanager
    def change(world: World) -> Iterator[None]:
        with root(world) as client:
            client.sys.create_or_update_acl_policy(_NAME, rule)
        try:
            yield
        finally:
            with root(world) as client:
                client.sys.delete_acl_policy(_NAME)

    return change


def written(path: str, new: Mapping[str, Any], old: Mapping[str, Any]) -> Change:
    """A change: data at a path, and what is written there afterwards."""

    @contextmanager
    def change(world: World) -> Iterator[None]:
        with root(world) as client:
            client.write_data(path, data=dict(new))
        try:
            yield
        finally:
            with root(world) as client:
                client.write_data(path, data=dict(old))

    return change


def approle(**new: Any) -> Change:
    """A change: settings of the orchestrator's AppRole."""

    @contextmanager
    def change(world: World) -> Iterator[None]:
        path = "auth/approle/role/orchestrator"
        with root(world) as client:
            found = client.read(path)["data"]
        with written(path, new, {name: found[name] for name in new})(world):
            yield

    return change


@contextmanager
def other_approle(world: World) -> Iterator[None]:
    """Another AppRole."""
    path = f"auth/approle/role/{_NAME}"
    with root(world) as client:
        client.write_data(path, data={"token_policies": "default"})
    try:
        yield
    finally:
        with root(world) as client:
            client.delete(path)


@contextmanager
def pki_role(world: World) -> Iterator[None]:
    """The PKI's role issues certificates with a wildcard; a write replaces the whole role."""
    with root(world) as client:
        found = client.read("pki/roles/service")["data"]
    new = {**found, "allow_wildcard_certificates": True}
    with written("pki/roles/service", new, found)(world):
        yield


@contextmanager
def rotation(world: World) -> Iterator[None]:
    """The orchestrator's database password is rotated every ten days."""
    path = "database/static-roles/orchestrator"
    with root(world) as client:
        found = client.read(path)["data"]
    kept = {name: found[name] for name in ("db_name", "username")}
    new = {**kept, "rotation_period": "240h"}
    with written(path, new, {**kept, "rotation_period": found["rotation_period"]})(world):
        yield


def _listener(world: World) -> AbstractContextManager[None]:
    file = world.environment.secrets.machine.directory / CONFIGURATION
    return text(file, '"tls13"', '"tls12"')


_AT, _POLICIES = "common/secrets", "common/secrets/policies"
_APPROLE = "common/secrets/approle-orchestrator"
MUTATIONS = [
    Mutation("audit-secrets", _AT, "no audit device writes", audit_off),
    Mutation("secrets-audit-hashed", _AT, "it has no audit device", audit_off),
    Mutation("secrets-audit-hashed", _AT, "devices that log raw: raw/", audit_raw),
    Mutation("secrets-root-token", _AT, "root tokens are alive: ", root_alive),
    Mutation("secrets-root-generation", _AT, "was begun and not ended", root_begun),
    Mutation("secrets-tokens-end", _AT, "a token lives for 864000 s", long_token),
    Mutation("secrets-login-methods", _AT, "userpass/ of type userpass", login_method),
    Mutation("secrets-login-methods", _AT, "tokens that AppRole did not give: ", long_token),
    Mutation("secrets-listener", _AT, "a listener is told to accept TLSv1.2", _listener),
    Mutation(
        "secrets-policy-everything",
        _POLICIES,
        f"paths that stand for everything: {_NAME} *",
        policy('path "*" { capabilities = ["read"] }'),
    ),
    Mutation(
        "secrets-policy-wildcards",
        _POLICIES,
        f"wildcards outside the baseline: {_NAME} kv/*",
        policy('path "kv/*" { capabilities = ["update"] }'),
    ),
    Mutation(
        "secrets-policy-sudo",
        _POLICIES,
        f"sudo outside the baseline: {_NAME} sys/audit/file",
        policy('path "sys/audit/file" { capabilities = ["delete", "sudo"] }'),
    ),
    Mutation(
        "secrets-policies-known",
        _POLICIES,
        f"policies outside the baseline: {_NAME}",
        policy('path "kv/data/erp-admin" { capabilities = ["read"] }'),
    ),
    Mutation("approle-tokens-short", _APPROLE, "a token lives for 0 s", approle(token_ttl=0)),
    Mutation(
        "approle-login-bound",
        _APPROLE,
        "its tokens are not bound to networks",
        approle(token_bound_cidrs=[]),
    ),
    Mutation(
        "approle-orchestrator-least",
        _APPROLE,
        "its tokens also get: provisioner",
        approle(token_policies=["orchestrator", "provisioner"]),
    ),
    Mutation("approle-known", _APPROLE, f"did not make: {_NAME}", other_approle),
    Mutation(
        "secrets-leases",
        "common/secrets/kv",
        "leases of up to 315360000 s",
        written("sys/mounts/kv/tune", {"max_lease_ttl": "87600h"}, {"max_lease_ttl": "0"}),
    ),
    Mutation("pki-role", "common/secrets/pki-service", "certificates with a wildcard", pki_role),
    Mutation(
        "evidence-key-stays",
        "common/secrets/transit-evidence",
        "it may be deleted",
        written(
            "transit/keys/evidence/config", {"deletion_allowed": True}, {"deletion_allowed": False}
        ),
    ),
    Mutation(
        "secrets-rotation",
        "common/secrets/database-orchestrator",
        "it is rotated every 864000 s",
        rotation,
    ),
]
