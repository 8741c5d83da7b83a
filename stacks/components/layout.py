"""Where the parts of a local environment are: directories, addresses, ports. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stacks import places
from stacks.components.config import StackConfig

PORTS = {
    "secrets": 200,
    "secrets_cluster": 201,
    "postgresql": 432,
    "line_to_a": 433,
    "line_to_b": 434,
    "front_door": 443,
    "erp": 800,
    "object_store": 900,
    "object_store_admin": 901,
}
POSTGRESQL_VERSION = 15
REGION = "us-east-1"
BUCKETS = ("backup", "evidence")
# Entries of the secret manager that are made once: a login, or named fields.
GENERATED: Mapping[str, Mapping[str, Any]] = {
    "erp-database": {"username": "erp"},
    "replicator": {"username": "replicator"},
    "rewinder": {"username": "rewinder"},
    "vault-admin": {"username": "vault_admin"},
    "backup": {"fields": ["cipher_pass"]},
    "object-store/a": {
        "fields": ["root_access_key", "root_secret_key", "access_key", "secret_key"]
    },
    "object-store/b": {
        "fields": ["root_access_key", "root_secret_key", "access_key", "secret_key"]
    },
    "erp-admin": {"username": "admin"},
    "erp-probe": {"username": "drill"},
}


@dataclass(frozen=True)
class Machine:
    """One machine of the local target: a directory with a loopback address."""

    name: str
    directory: Path
    address: str
    service_user: str

    @property
    def variables(self) -> dict[str, Any]:
        """The variables that every role of this machine takes."""
        return {
            "machine": str(self.directory),
            "address": self.address,
            "service_user": self.service_user,
        }

    def path(self, relative: str) -> str:
        """Return a path below the machine's directory."""
        return str(self.directory / relative)


@dataclass(frozen=True)
class Layout:
    """The places of one environment."""

    config: StackConfig
    service_user: str
    cache: Path
    erp_venv: Path

    @property
    def identity(self) -> str:
        """What tells this environment from one elsewhere: root, addresses and ports."""
        config = self.config
        where = [config.name, str(config.root), config.addresses, config.ports_base]
        return hashlib.sha256(json.dumps(where, sort_keys=True).encode()).hexdigest()[:16]

    def machine(self, name: str) -> Machine:
        """Return the machine `a`, `b` or `common`."""
        config = self.config
        return Machine(name, config.root / name, config.addresses[name], self.service_user)

    def port(self, part: str) -> int:
        """Return the port of a part, a key of PORTS."""
        return self.config.ports_base + PORTS[part]

    def url(self, machine: str, part: str) -> str:
        """Return the https URL of a part on a machine."""
        return f"https://{self.config.addresses[machine]}:{self.port(part)}"

    def endpoint(self, machine: str, part: str) -> dict[str, Any]:
        """Return address and port of a part on a machine."""
        return {"address": self.config.addresses[machine], "port": self.port(part)}

    def line(self, site: str) -> dict[str, Any]:
        """Return address and port of the line that leads to the database of a site."""
        return self.endpoint("common", f"line_to_{site}")

    @property
    def ca_file(self) -> str:
        """The trust anchor of the environment."""
        return str(self.config.root / "trust" / "ca.pem")

    @property
    def certificates(self) -> dict[str, Any]:
        """The variables of every role that gets secrets or certificates."""
        return {
            "secrets_url": self.url("common", "secrets"),
            "ca_file": self.ca_file,
            "credentials_file": str(self.config.root / "common/secrets/provisioner.json"),
            "certificate_ttl_hours": self.config.tls_lifetime_hours,
            "certificate_renew_before_hours": self.config.tls_renew_before_hours,
        }

    @property
    def postgresql_binaries(self) -> str:
        """The folder of the PostgreSQL programs."""
        return f"/usr/lib/postgresql/{POSTGRESQL_VERSION}/bin"


def local_layout(config: StackConfig, roles: Path) -> Layout:
    """Return the layout on this machine; `roles` holds the ERP's pinned requirements."""
    pinned = roles / "erp" / "files" / "requirements.txt"
    digest = hashlib.sha256(pinned.read_bytes()).hexdigest()[:16]
    cache = places.cache_directory()
    return Layout(config, places.service_user(), cache, cache / "erp" / digest)
