"""The environment descriptor: what a stack provisioned and where each part answers.

Every stack writes this one shape (schema `environment`); it holds references to secrets, never
secrets. `role` is where a site starts: who is primary now is asked of the database.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.model.errors import InputError
from orchestrator.model.schema import check


@dataclass(frozen=True)
class MachineSettings:
    """A machine: on the local target a directory, a loopback address and a supervisord."""

    driver: str
    directory: Path
    address: str
    service_user: str


@dataclass(frozen=True)
class DatabaseSettings:
    """A PostgreSQL server of one site."""

    driver: str
    address: str
    port: int
    name: str
    application_name: str
    program: str
    bin_directory: Path
    data_directory: Path
    config_file: Path
    socket_directory: Path
    log_directory: Path
    certificate_file: Path
    key_file: Path
    passfile: Path
    synchronous: bool

    @property
    def logs(self) -> str:
        """The shell pattern of the server's daily logs."""
        return f"{self.log_directory}/postgresql-*.log"


@dataclass(frozen=True)
class BackupSettings:
    """The backup tool of one site."""

    driver: str
    config_file: Path
    stanza: str


@dataclass(frozen=True)
class ObjectStoreSettings:
    """The S3 store of one site; `secret` is a path in the secret manager's KV.

    `admin_url` is where its accounts are administered; empty if the descriptor does not say.
    """

    driver: str
    url: str
    admin_url: str
    region: str
    secret: str
    buckets: dict[str, str]


@dataclass(frozen=True)
class ErpSettings:
    """The ERP server of one site."""

    driver: str
    url: str
    database: str
    program: str
    venv: Path
    config_file: Path


@dataclass(frozen=True)
class Site:
    """A site: one machine with its database, backups, object store and ERP."""

    name: str
    role: str
    machine: MachineSettings
    database: DatabaseSettings
    backup: BackupSettings
    object_store: ObjectStoreSettings
    erp: ErpSettings


@dataclass(frozen=True)
class SecretsSettings:
    """The Vault-compatible secret manager; the unseal keys stay in their file."""

    driver: str
    url: str
    credentials_file: Path
    provisioner_file: Path
    audit_log: Path
    evidence_key: str
    kv_mount: str
    pki_mount: str
    transit_mount: str
    database_mount: str
    program: str
    storage_directory: Path
    unseal_keys_file: Path
    machine: MachineSettings


@dataclass(frozen=True)
class FrontDoorSettings:
    """The proxy through which clients reach the ERP; `servers` maps site to proxy server name."""

    driver: str
    url: str
    runtime_socket: Path
    state_file: Path
    backend: str
    servers: dict[str, str]
    program: str
    machine: MachineSettings


@dataclass(frozen=True)
class Endpoint:
    """Where something listens (TCP)."""

    address: str
    port: int


@dataclass(frozen=True)
class LineSettings:
    """The line between the sites; `ends` maps a site to where the line to its database begins."""

    driver: str
    ends: dict[str, Endpoint]
    program: str
    machine: MachineSettings


@dataclass(frozen=True)
class Targets:
    """What the business asked for."""

    rto_seconds: float
    rpo_seconds: float
    rpo_transactions: int
    restore_rto_seconds: float


LEAST_EVIDENCE_DAYS = 31
"""Policies look back so far for drills that were missed (fact `drill_schedule`)."""

DEFAULT_EVIDENCE_DAYS = 2557
"""Seven years: how long an auditor keeps the records of an audit (17 CFR 210.2-06)."""


@dataclass(frozen=True)
class Retention:
    """How long things are kept: audit logs (days), full backups (count), object locks (days).

    `evidence_days` is None where it was not configured.
    """

    audit_days: int
    backup_full: int
    object_lock_days: int
    evidence_days: int | None

    @property
    def evidence_kept_days(self) -> int:
        """For how many days after its end the evidence of a run is kept."""
        return DEFAULT_EVIDENCE_DAYS if self.evidence_days is None else self.evidence_days

    @property
    def evidence_lock_days(self) -> int:
        """For how many days a site's store locks a bundle: longer only where it is configured."""
        return max(self.object_lock_days, self.evidence_days or 0)


@dataclass(frozen=True)
class Tls:
    """What every endpoint must speak, and the trust anchor of the environment."""

    minimum_version: str
    ca_file: Path
    renew_before_hours: int


@dataclass(frozen=True)
class Environment:
    """A provisioned environment; `digest` is the sha256 of the descriptor file's bytes.

    `approvals` is the rule for drills that touch production (schema `approvals`), or None;
    `evidence` says who signs and who vouches for the log (schema `evidence-settings`), or nothing.
    """

    name: str
    tier: str
    root: Path
    targets: Targets
    retention: Retention
    tls: Tls
    sites: dict[str, Site]
    secrets: SecretsSettings
    front_door: FrontDoorSettings
    line: LineSettings
    evidence_public_key: Path
    lease_file: Path
    deployment_digest: str
    digest: str
    approvals: dict[str, Any] | None = None
    evidence: dict[str, Any] = field(default_factory=dict)

    def peer(self, site: str) -> Site:
        """Return the other site."""
        return next(value for name, value in self.sites.items() if name != site)

    @property
    def starting_primary(self) -> Site:
        """The site that is primary when the environment is fresh."""
        return next(site for site in self.sites.values() if site.role == "primary")


def _build(cls: type, data: dict[str, Any]) -> Any:
    """Make a settings dataclass, turning the fields declared as paths or settings into them."""
    values: dict[str, Any] = {}
    for name, annotation in cls.__annotations__.items():
        value = data[name]
        if annotation == "Path":
            value = Path(value)
        elif annotation == "MachineSettings":
            value = _build(MachineSettings, value)
        values[name] = value
    return cls(**values)


def _site(name: str, data: dict[str, Any]) -> Site:
    return Site(
        name=name,
        role=data["role"],
        machine=_build(MachineSettings, data["machine"]),
        database=_build(DatabaseSettings, data["database"]),
        backup=_build(BackupSettings, data["backup"]),
        object_store=_build(ObjectStoreSettings, {"admin_url": "", **data["object_store"]}),
        erp=_build(ErpSettings, data["erp"]),
    )


def _line(data: dict[str, Any]) -> LineSettings:
    ends = {name: _build(Endpoint, end) for name, end in data["ends"].items()}
    machine = _build(MachineSettings, data["machine"])
    return LineSettings(data["driver"], ends, data["program"], machine)


def parse_environment(text: str, *, file: str = "") -> Environment:
    """Return the environment that a descriptor's text describes.

    Raises InputError with file, path in it and reason when it is no valid descriptor.
    """
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f"not JSON: {error.msg}", file=file, path=f"line {error.lineno} column {error.colno}"
        ) from error
    check(data, "environment", file=file)
    roles = sorted(site["role"] for site in data["sites"].values())
    if roles != ["primary", "standby"]:
        raise InputError(
            f"one site must start as primary and one as standby, found {roles}",
            file=file,
            path="$.sites",
        )
    return Environment(
        name=data["name"],
        tier=data["tier"],
        root=Path(data["root"]),
        targets=_build(Targets, data["targets"]),
        retention=_build(Retention, {"evidence_days": None, **data["retention"]}),
        tls=_build(Tls, data["tls"]),
        sites={name: _site(name, site) for name, site in sorted(data["sites"].items())},
        secrets=_build(SecretsSettings, data["secrets"]),
        front_door=_build(FrontDoorSettings, data["front_door"]),
        line=_line(data["line"]),
        evidence_public_key=Path(data["trust"]["evidence_public_key"]),
        lease_file=Path(data["lease_file"]),
        deployment_digest=data["deployment"]["digest"],
        digest=hashlib.sha256(text.encode()).hexdigest(),
        approvals=data.get("approvals"),
        evidence=data.get("evidence", {}),
    )


def load_environment(path: Path) -> Environment:
    """Read and check the descriptor file at `path`. Raises InputError."""
    try:
        text = path.read_text()
    except OSError as error:
        raise InputError(
            f"cannot read the environment descriptor: {error.strerror}",
            "provision it with `anlan up ENV`, or list what is there with `anlan env list`",
            file=str(path),
        ) from error
    return parse_environment(text, file=str(path))
