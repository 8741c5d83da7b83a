"""The parts of an environment as components: each places its roles on a machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pulumi

from stacks.components.ansible_role import AnsibleRole
from stacks.components.layout import BUCKETS, GENERATED, POSTGRESQL_VERSION, REGION, Layout

STANDBY_OF = {"a": "b", "b": "a"}


class Part(pulumi.ComponentResource):
    """A component whose children are roles; `last` is the role that completes it."""

    last: AnsibleRole

    def __init__(
        self, kind: str, name: str, layout: Layout, ground: pulumi.Input[str], parent: Any
    ) -> None:
        super().__init__(f"anlan:index:{kind}", name, None, pulumi.ResourceOptions(parent=parent))
        self.layout = layout
        self.ground = ground

    def role(
        self,
        name: str,
        role: str,
        machine: str,
        variables: dict[str, Any],
        after: Sequence[pulumi.Resource],
    ) -> AnsibleRole:
        """Place `role` on `machine` once everything in `after` is there."""
        options = pulumi.ResourceOptions(
            parent=self,
            depends_on=list(after),
            custom_timeouts=pulumi.CustomTimeouts(create="30m", update="30m", delete="10m"),
        )
        common = self.layout.machine(machine).variables
        self.last = AnsibleRole(name, role, {**common, **variables}, self.ground, options)
        return self.last


class SecretManager(Part):
    """Secret manager, certificate authority and evidence signer on the machine `common`."""

    def __init__(
        self, layout: Layout, ground: pulumi.Input[str], machine: AnsibleRole, parent: Any
    ) -> None:
        super().__init__("SecretManager", "secrets", layout, ground, parent)
        variables = {
            "port": layout.port("secrets"),
            "cluster_port": layout.port("secrets_cluster"),
            "binary": str(layout.cache / "bin" / "vault"),
            "plugin_directory": str(layout.cache / "plugins"),
            "trust_directory": str(layout.config.root / "trust"),
            "audit_log": layout.machine("common").path("log/audit.log"),
            "generate": {path: dict(entry) for path, entry in GENERATED.items()},
            "certificate_ttl_hours": layout.config.tls_lifetime_hours,
            "certificate_renew_before_hours": layout.config.tls_renew_before_hours,
        }
        self.role("secrets", "secrets", "common", variables, [machine])
        self.register_outputs({"url": layout.url("common", "secrets")})


class Site(Part):
    """One machine."""

    def __init__(
        self,
        site: str,
        layout: Layout,
        ground: pulumi.Input[str],
        after: Sequence[pulumi.Resource],
        parent: Any,
    ) -> None:
        super().__init__("Site", f"site-{site}", layout, ground, parent)
        self.machine = self.role(f"machine-{site}", "machine", site, {"name": site}, after)
        self.register_outputs({"address": layout.config.addresses[site]})


class Line(Part):
    """The line between the sites, by which their databases reach each other."""

    def __init__(
        self, layout: Layout, ground: pulumi.Input[str], machine: AnsibleRole, parent: Any
    ) -> None:
        super().__init__("Line", "line", layout, ground, parent)
        ends = {
            site: {**layout.endpoint(site, "postgresql"), "listen": layout.line(site)["port"]}
            for site in STANDBY_OF
        }
        self.role("line", "line", "common", {"ends": ends}, [machine])
        self.register_outputs({"ends": ends})


class BackupRepository(Part):
    """The object store of one site, with Object Lock, for backups and evidence."""

    def __init__(
        self,
        site: str,
        layout: Layout,
        ground: pulumi.Input[str],
        after: Sequence[pulumi.Resource],
        parent: Any,
    ) -> None:
        super().__init__("BackupRepository", f"repository-{site}", layout, ground, parent)
        lock_days = layout.config.object_lock_days
        variables = {
            **layout.certificates,
            "port": layout.port("object_store"),
            "admin_port": layout.port("object_store_admin"),
            "binary": str(layout.cache / "bin" / "versitygw"),
            "secret_path": f"object-store/{site}",
            "buckets": [{"name": bucket, "lock_days": lock_days} for bucket in BUCKETS],
            "region": REGION,
        }
        self.role(f"objectstore-{site}", "objectstore", site, variables, after)
        self.register_outputs({"url": layout.url(site, "object_store")})


class Database(Part):
    """The PostgreSQL server of one site with its backups."""

    def __init__(  # noqa: PLR0917
        self,
        site: str,
        role: str,
        layout: Layout,
        ground: pulumi.Input[str],
        after: Sequence[pulumi.Resource],
        repositories: Sequence[pulumi.Resource],
        parent: Any,
    ) -> None:
        super().__init__("Database", f"database-{site}", layout, ground, parent)
        self.server = self.role(
            f"postgresql-{site}", "postgresql", site, self._server(site, role), after
        )
        after_server: list[pulumi.Resource] = [self.server]
        if role == "primary":
            self.data = self.role(
                f"erp_database-{site}", "erp_database", site, self._data(), [self.server]
            )
        self.backup = self.role(
            f"pgbackrest-{site}",
            "pgbackrest",
            site,
            self._backup(),
            [*after_server, *repositories],
        )
        self.register_outputs({"endpoint": layout.endpoint(site, "postgresql")})

    def _server(self, site: str, role: str) -> dict[str, Any]:
        layout, peer = self.layout, STANDBY_OF[site]
        return {
            **layout.certificates,
            "port": layout.port("postgresql"),
            "bin_directory": layout.postgresql_binaries,
            "version": POSTGRESQL_VERSION,
            "node_role": role,
            "name": f"site_{site}",
            "peer": {
                **layout.endpoint(peer, "postgresql"),
                "name": f"site_{peer}",
                "line": layout.line(peer),
            },
            "audit_retention_days": layout.config.audit_retention_days,
        }

    def _data(self) -> dict[str, Any]:
        layout = self.layout
        return {
            **layout.certificates,
            "port": layout.port("postgresql"),
            "bin_directory": layout.postgresql_binaries,
            "venv": str(layout.erp_venv),
            "cache_directory": str(layout.cache),
        }

    def _backup(self) -> dict[str, Any]:
        layout = self.layout
        repositories = [
            {
                "id": number,
                **layout.endpoint(site, "object_store"),
                "bucket": "backup",
                "secret_path": f"object-store/{site}",
                "ca_file": layout.ca_file,
            }
            for number, site in enumerate(("a", "b"), start=1)
        ]
        return {
            **layout.certificates,
            "port": layout.port("postgresql"),
            "bin_directory": layout.postgresql_binaries,
            "repositories": repositories,
            "region": REGION,
            "stanza": "erp",
            "retention_full": layout.config.backup_retention_full,
        }


class Erp(Part):
    """The ERP server of one site; it writes to whichever site is primary."""

    def __init__(
        self,
        site: str,
        layout: Layout,
        ground: pulumi.Input[str],
        after: Sequence[pulumi.Resource],
        parent: Any,
    ) -> None:
        super().__init__("Erp", f"erp-{site}", layout, ground, parent)
        variables = {
            **layout.certificates,
            "port": layout.port("erp"),
            "databases": [layout.endpoint(name, "postgresql") for name in (site, STANDBY_OF[site])],
            "venv": str(layout.erp_venv),
            "cache_directory": str(layout.cache),
        }
        self.role(f"erp-server-{site}", "erp", site, variables, after)
        self.register_outputs({"url": layout.url(site, "erp")})


class FrontDoor(Part):
    """The proxy through which clients reach the ERP of the active site."""

    def __init__(
        self,
        layout: Layout,
        ground: pulumi.Input[str],
        after: Sequence[pulumi.Resource],
        parent: Any,
    ) -> None:
        super().__init__("FrontDoor", "front-door", layout, ground, parent)
        variables = {
            **layout.certificates,
            "port": layout.port("front_door"),
            "servers": {site: layout.endpoint(site, "erp") for site in STANDBY_OF},
            "active": "a",
        }
        self.role("frontdoor", "frontdoor", "common", variables, after)
        self.register_outputs({"url": layout.url("common", "front_door")})
