"""`ErpEnvironment`: two sites with a secret manager and a front door, in the order they need."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pulumi

from stacks.components.descriptor import DescriptorFile
from stacks.components.ground import Ground
from stacks.components.layout import Layout
from stacks.components.parts import (
    BackupRepository,
    Database,
    Erp,
    FrontDoor,
    Line,
    Part,
    SecretManager,
    Site,
)


class _Links(Part):
    """What joins the sites: replication, and the database logins the secret manager rotates."""

    def __init__(
        self, layout: Layout, ground: pulumi.Input[str], a: Database, b: Database, parent: Any
    ) -> None:
        super().__init__("Links", "links", layout, ground, parent)
        primary = {
            "machine": str(layout.machine("a").directory),
            **layout.endpoint("a", "postgresql"),
        }
        self.replication = self.role(
            "replication",
            "replication",
            "a",
            {
                **layout.certificates,
                "bin_directory": layout.postgresql_binaries,
                "primary": primary,
                "standby": "site_b",
                "synchronous": layout.config.synchronous,
            },
            [b.server, a.data, a.backup],
        )
        self.credentials = self.role(
            "credentials",
            "credentials",
            "common",
            {
                **layout.certificates,
                "databases": [layout.endpoint(site, "postgresql") for site in ("a", "b")],
            },
            [a.data],
        )
        self.register_outputs({})


class ErpEnvironment(pulumi.ComponentResource):
    """A whole environment; output `descriptor` is there when all of it works."""

    descriptor: pulumi.Output[dict[str, Any]]

    def __init__(self, name: str, layout: Layout, descriptor: dict[str, Any]) -> None:
        # First of all resources, so that policies know the environment that the others are for.
        super().__init__("anlan:index:ErpEnvironment", name, {"descriptor": descriptor})
        config = layout.config
        options = pulumi.ResourceOptions(parent=self)
        soil = Ground("ground", config.root, config.link, layout.identity, options)
        ground = soil.identity

        common = Site("common", layout, ground, [soil], self)
        sites = {name: Site(name, layout, ground, [soil], self) for name in ("a", "b")}
        secrets = SecretManager(layout, ground, common.machine, self)
        line = Line(layout, ground, common.machine, self)
        stores = {
            name: BackupRepository(name, layout, ground, [site.machine, secrets.last], self)
            for name, site in sites.items()
        }
        repositories = [store.last for store in stores.values()]
        a = Database(
            "a",
            "primary",
            layout,
            ground,
            [sites["a"].machine, secrets.last],
            repositories,
            self,
        )
        b = Database(
            "b",
            "standby",
            layout,
            ground,
            [sites["b"].machine, secrets.last, line.last, a.data, a.backup],
            repositories,
            self,
        )
        links = _Links(layout, ground, a, b, self)
        erps = [
            Erp(name, layout, ground, [site.machine, secrets.last, a.data], self)
            for name, site in sites.items()
        ]
        door = FrontDoor(layout, ground, [secrets.last, *(erp.last for erp in erps)], self)

        everything = [links.replication, links.credentials, b.backup, door.last]
        path: Path = config.root / "environment.json"
        file = DescriptorFile(
            "descriptor",
            path,
            descriptor,
            ground,
            pulumi.ResourceOptions(parent=self, depends_on=everything),
        )
        self.descriptor = file.content.apply(json.loads)
        self.register_outputs({"descriptor": self.descriptor})
