"""The environment descriptor of a layout, and the file that commands read it from."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pulumi
from pulumi import dynamic

from orchestrator.model.schema import check
from stacks.components.ansible import digest_files, programs_digest
from stacks.components.ground import require_no_run
from stacks.components.layout import BUCKETS, REGION, Layout, Machine

_START = {"a": "primary", "b": "standby"}


def deployment_digest(layout: Layout, roles: Path, programs: Path) -> str:
    """Return the SHA-256 over the roles, the stack programs and the configuration."""
    parts = {
        "roles": digest_files(roles, [roles]),
        "programs": programs_digest(programs),
        "config": layout.config.values(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def describe(layout: Layout, digest: str) -> dict[str, Any]:
    """Return the descriptor (schema `environment`). Raises InputError when it violates it."""
    config = layout.config
    root = config.root
    common = layout.machine("common")
    descriptor = {
        "schema": "anlan.environment/v1",
        "name": config.name,
        "tier": config.tier,
        "root": str(root),
        "targets": {
            "rto_seconds": config.rto_seconds,
            "rpo_seconds": config.rpo_seconds,
            "rpo_transactions": 0,
            "restore_rto_seconds": config.restore_rto_seconds,
        },
        "retention": {
            "audit_days": config.audit_retention_days,
            "backup_full": config.backup_retention_full,
            "object_lock_days": config.object_lock_days,
            **({"evidence_days": config.evidence_days} if config.evidence_days else {}),
        },
        "tls": {
            "minimum_version": "TLSv1.3",
            "ca_file": layout.ca_file,
            "renew_before_hours": config.tls_renew_before_hours,
        },
        "sites": {name: _site(layout, name) for name in _START},
        "secrets": {
            "driver": "vault",
            "url": layout.url("common", "secrets"),
            "credentials_file": common.path("secrets/orchestrator.json"),
            "provisioner_file": common.path("secrets/provisioner.json"),
            "audit_log": common.path("log/audit.log"),
            "evidence_key": "evidence",
            "kv_mount": "kv",
            "pki_mount": "pki",
            "transit_mount": "transit",
            "database_mount": "database",
            "program": "secrets",
            "storage_directory": common.path("data/secrets"),
            "unseal_keys_file": common.path("secrets/init.json"),
            "machine": _machine(common),
        },
        "front_door": {
            "driver": "haproxy",
            "url": layout.url("common", "front_door"),
            "runtime_socket": common.path("run/haproxy.sock"),
            "state_file": common.path("data/haproxy.state"),
            "backend": "erp",
            "servers": {name: name for name in _START},
            "program": "frontdoor",
            "machine": _machine(common),
        },
        "line": {
            "driver": "haproxy",
            "ends": {name: layout.line(name) for name in _START},
            "program": "line",
            "machine": _machine(common),
        },
        "trust": {"evidence_public_key": str(root / "trust" / "evidence.pub")},
        "lease_file": str(root / "lease.json"),
        "deployment": {"digest": digest},
        **({"approvals": config.approvals} if config.approvals else {}),
        **({"evidence": config.evidence} if config.evidence else {}),
    }
    check(descriptor, "environment", file="the stack's output `environment`")
    return descriptor


def _machine(machine: Machine) -> dict[str, Any]:
    return {
        "driver": "supervisord",
        "directory": str(machine.directory),
        "address": machine.address,
        "service_user": machine.service_user,
    }


def _site(layout: Layout, name: str) -> dict[str, Any]:
    machine = layout.machine(name)
    return {
        "role": _START[name],
        "machine": _machine(machine),
        "database": {
            "driver": "postgresql",
            **layout.endpoint(name, "postgresql"),
            "name": "erp",
            "application_name": f"site_{name}",
            "program": "postgresql",
            "bin_directory": layout.postgresql_binaries,
            "data_directory": machine.path("data/pg"),
            "config_file": machine.path("etc/postgresql.conf"),
            "socket_directory": machine.path("run"),
            "log_directory": machine.path("log"),
            "certificate_file": machine.path("tls/replicator.crt"),
            "key_file": machine.path("tls/replicator.key"),
            "passfile": machine.path("etc/pgpass"),
            "synchronous": layout.config.synchronous,
        },
        "backup": {
            "driver": "pgbackrest",
            "config_file": machine.path("etc/pgbackrest.conf"),
            "stanza": "erp",
        },
        "object_store": {
            "driver": "s3",
            "url": layout.url(name, "object_store"),
            "admin_url": layout.url(name, "object_store_admin"),
            "region": REGION,
            "secret": f"object-store/{name}",
            "buckets": {bucket: bucket for bucket in BUCKETS},
        },
        "erp": {
            "driver": "tryton",
            "url": layout.url(name, "erp"),
            "database": "erp",
            "program": "erp",
            "venv": str(layout.erp_venv),
            "config_file": machine.path("etc/trytond.conf"),
        },
    }


class DescriptorProvider(dynamic.ResourceProvider):
    """Holds nothing; pickled into the state by name."""

    serialize_as_secret_always = False

    def create(self, props: dict[str, Any]) -> dynamic.CreateResult:
        """Write the file."""
        return dynamic.CreateResult(props["path"], _write(props))

    def update(
        self, _id: str, _olds: dict[str, Any], props: dict[str, Any]
    ) -> dynamic.UpdateResult:
        """Write the file anew."""
        return dynamic.UpdateResult(_write(props))

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> dynamic.DiffResult:
        """Another content or drift updates, another place replaces."""
        known = ("path", "content", "identity", "drift")
        keys = [key for key in known if olds.get(key) != news.get(key)]
        replaces = [key for key in keys if key in ("path", "identity")]
        return dynamic.DiffResult(changes=bool(keys), replaces=replaces, delete_before_replace=True)

    def read(self, id_: str, props: dict[str, Any]) -> dynamic.ReadResult:
        """Find out whether the file holds what it should; that drift makes the next update."""
        path = Path(props["path"])
        drift = []
        if not path.is_file():
            drift = [f"{path} is missing"]
        elif path.read_text() != props["content"]:
            drift = [f"{path} was changed"]
        found = {**props, "drift": drift}
        found.pop("__provider", None)
        return dynamic.ReadResult(id_, found, dict(found))

    def delete(self, _id: str, props: dict[str, Any]) -> None:
        """Remove the file. Raises GroundError while a drill holds the environment."""
        require_no_run(Path(props["path"]))
        Path(props["path"]).unlink(missing_ok=True)


class DescriptorFile(dynamic.Resource, module="anlan", name="DescriptorFile"):
    """`environment.json` in the environment's root, written when everything in it works."""

    content: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        path: Path,
        descriptor: dict[str, Any],
        identity: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        content = json.dumps(descriptor, indent=2) + "\n"
        inputs: dict[str, Any] = {
            "path": str(path),
            "content": content,
            "identity": identity,
            "drift": [],
        }
        super().__init__(DescriptorProvider(), name, inputs, opts)


def _write(props: dict[str, Any]) -> dict[str, Any]:
    path = Path(props["path"])
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(props["content"])
    fresh.replace(path)
    return dict(props)
