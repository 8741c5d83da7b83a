"""Verbs of the drill secrets-loss: a snapshot, the loss, the restore, and proof that all works.

While the secret manager is away nothing is asked of it: the snapshot comes from an object store,
by the keys in pgBackRest's own file, and the unseal keys from theirs.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from orchestrator.collect import audit_log_secrets
from orchestrator.drivers.credentials import Credentials
from orchestrator.drivers.objectstore import ObjectStore
from orchestrator.drivers.postgresql_connection import connect_read_write
from orchestrator.drivers.secrets import Secrets, TransitSigner
from orchestrator.drivers.secrets_storage import SecretsStorage
from orchestrator.drivers.signers import TRANSIT, signer_settings
from orchestrator.evidence.keys import holds, load_public_key
from orchestrator.model.errors import InfrastructureError
from orchestrator.model.fact import timestamp
from orchestrator.steps.backup import backups_of, repositories
from orchestrator.steps.context import Context, StepFailed
from orchestrator.steps.registry import verb

_BUCKET = "backup"
_CERTIFICATE_SECONDS = 60
_DATABASE_ROLE = "orchestrator"


@verb()
def record_secrets(context: Context) -> None:
    """Note a keyed digest of every secret and setting, to compare them with after the restore."""
    found = dict(_inventory(context))
    context.require("secrets_recorded", len(found) > 0, f"{len(found)} secrets and settings")
    context.note("secrets", {"digests": found})


@verb(repeatable=True)
def take_secrets_snapshot(context: Context) -> None:
    """Keep a snapshot of the secret manager in every site's object store, under a lock."""
    key = f"secrets/{context.run_id}.snap"
    kept = context.noted("secrets_snapshot")
    if kept is None:
        content = context.secrets.snapshot()
        for number in repositories(context):
            _store(context, number).put_locked(
                context.environment.sites[_site(context, number)].object_store.buckets[_BUCKET],
                key,
                content,
                days=context.environment.retention.object_lock_days,
            )
        kept = context.note(
            "secrets_snapshot",
            {
                "key": key,
                "sha256": hashlib.sha256(content).hexdigest(),
                "size_bytes": len(content),
                "taken_at": timestamp(datetime.now(UTC)),
            },
        )
    for number in repositories(context):
        content = _fetch(context, number, kept)
        same = hashlib.sha256(content).hexdigest() == kept["sha256"]
        detail = f"{key}, {len(content)} bytes, at site {_site(context, number)}"
        context.require(f"snapshot_in_store_{number}", same, detail)


def bring_back(context: Context) -> None:
    """The restored storage if it was proven, else the one that was lost; nothing else is left."""
    storage = SecretsStorage(context.environment)
    if context.marked("secrets_served") is not None:
        storage.accept(context.token)
    elif storage.put_back(context.token):
        renew_database_login(context)
    left = storage.residue()
    if left:
        raise StepFailed(f"left beside the storage: {', '.join(left)}")


@verb(undo=bring_back)
def lose_secrets(context: Context) -> None:
    """Kill the secret manager and take its storage away."""
    context.mark("fault")
    storage = SecretsStorage(context.environment)
    storage.lose(context.token)
    try:
        answer = f"version {Secrets(context.environment).health().version} answers"
        gone = False
    except InfrastructureError:
        answer, gone = "nothing answers", True
    detail = f"{answer}; the storage is {storage.lost.name}"
    context.require("secrets_lost", gone and storage.lost.exists(), detail)
    context.mark("secrets_lost")


@verb()
def restore_secrets(context: Context) -> None:
    """Fetch the snapshot, give it to a new, empty server, and unseal that with the old keys."""
    storage = SecretsStorage(context.environment)
    if context.marked("secrets_restored") is None:
        kept = context.noted("secrets_snapshot") or {}
        number = int(context.options["repository"])
        content = _fetch(context, number, kept)
        same = hashlib.sha256(content).hexdigest() == kept.get("sha256")
        detail = f"{len(content)} bytes from site {_site(context, number)}"
        context.require("snapshot_whole", same, detail)
        context.mark("snapshot_fetched")
        storage.restore(context.token, content)
        context.mark("secrets_restored")
    storage.unseal()
    context.mark("secrets_unsealed")


@verb()
def prove_secrets(context: Context) -> None:
    """Use everything that the secret manager is for; then the restored storage counts."""
    if context.marked("secrets_served") is not None:
        return
    health = context.secrets.health()
    context.require("secrets_unsealed", not health.sealed, f"version {health.version}")
    before, after = (context.noted("secrets") or {})["digests"], dict(_inventory(context))
    differs = sorted(name for name in before.keys() | after if before.get(name) != after.get(name))
    detail = f"{len(after)} secrets and settings, different: {', '.join(differs) or 'none'}"
    context.require("same_secrets", bool(before) and not differs, detail)
    _prove_evidence_key(context)
    _prove_certificates(context)
    _prove_database_login(context)
    seen = audit_log_secrets.look(context.environment, context.secrets).data
    context.require("audit_writes", bool(seen["probe_written"]), str(seen["probe"]))
    context.mark("secrets_served")


def _prove_evidence_key(context: Context) -> None:
    """Transit's key signs, and is the one that was handed out: of evidence, where Transit signs."""
    trusted = context.environment.evidence_public_key
    signer = TransitSigner(context.secrets)
    message = f"{context.run_id}: restored".encode()
    ok = holds(load_public_key(trusted), signer.sign(message), message)
    driver = signer_settings(context.environment)["driver"]
    name = "evidence_key_signs" if driver == TRANSIT else "transit_key_signs"
    told = "" if driver == TRANSIT else f"; evidence is signed by {driver}"
    context.require(name, ok, f"verified with {trusted.name}, {signer.key_id}{told}")


def _prove_certificates(context: Context) -> None:
    """The PKI issues a certificate that the environment's trust anchor vouches for."""
    text, _ = context.provisioner.issue(
        "secrets-loss", [context.home.machine.address], ttl_seconds=_CERTIFICATE_SECONDS
    )
    certificate = x509.load_pem_x509_certificate(text)
    authority = x509.load_pem_x509_certificate(context.environment.tls.ca_file.read_bytes())
    try:
        certificate.verify_directly_issued_by(authority)
        ok = True
    except (ValueError, TypeError, InvalidSignature):
        ok = False
    detail = f"serial {certificate.serial_number:x}, {_CERTIFICATE_SECONDS} s valid"
    context.require("certificate_issued", ok, detail)


def _prove_database_login(context: Context) -> None:
    """The password that came back logs in; a new one is made, and then only that logs in."""
    restored = context.secrets.database_login()
    works = _logs_in(context, restored)
    context.require("restored_database_login", works, f"as {restored.username}, over TLS")
    fresh = _rotate(context)
    ok = _logs_in(context, fresh) and not _logs_in(context, restored)
    context.require("database_login_rotated", ok, "the new password logs in, the old one does not")


def renew_database_login(context: Context) -> None:
    """Let the secret manager make a new database password if the one it has is not the last.

    Raises InfrastructureError when the new one does not log in either.
    """
    if not _logs_in(context, context.secrets.database_login()):
        connect_read_write(context.environment, _rotate(context)).close()


def _rotate(context: Context) -> Credentials:
    context.provisioner.rotate_database_login(_DATABASE_ROLE)
    return context.secrets.database_login(_DATABASE_ROLE)


def _logs_in(context: Context, login: Credentials) -> bool:
    """Whether the database lets this login in. Raises InfrastructureError for another failure."""
    try:
        connect_read_write(context.environment, login).close()
    except InfrastructureError as error:
        if "authentication failed" in error.what:
            return False
        raise
    return True


def _inventory(context: Context) -> Iterator[tuple[str, str]]:
    """Every secret and setting by name, with a digest of its value.

    The digest is keyed by the unseal keys, which are the same after a restore and in no evidence.
    """
    held = SecretsStorage(context.environment).unseal_keys()["unseal_keys"]
    key = hashlib.sha256(f"{context.run_id} {' '.join(held)}".encode()).digest()
    for name, value in context.provisioner.everything():
        text = json.dumps(value, sort_keys=True).encode()
        yield name, hmac.new(key, text, hashlib.sha256).hexdigest()[:32]


def _site(context: Context, number: int) -> str:
    return repositories(context)[number].name


def _store(context: Context, number: int) -> ObjectStore:
    """The store of a repository, by the keys that pgBackRest's file of any site holds."""
    site = repositories(context)[number]
    return ObjectStore(context.environment, site, backups_of(context).store_keys(number))


def _fetch(context: Context, number: int, kept: Any) -> bytes:
    bucket = repositories(context)[number].object_store.buckets[_BUCKET]
    return _store(context, number).get(bucket, str(kept.get("key", "")))
