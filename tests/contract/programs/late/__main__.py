"""One bucket whose retention no preview can know. Nothing that it makes does anything."""

from typing import Any

import pulumi
from pulumi import dynamic

from stacks import places
from stacks.components.ansible import role_digest, roles_directory
from stacks.components.config import parse_config
from stacks.components.descriptor import describe
from stacks.components.layout import local_layout


class Nothing(dynamic.ResourceProvider):
    def create(self, props: dict[str, Any]) -> dynamic.CreateResult:
        return dynamic.CreateResult("made", {**props, "days": 0})


class Source(dynamic.Resource, module="tests", name="Source"):
    days: pulumi.Output[int]


class Role(dynamic.Resource, module="anlan", name="AnsibleRole"):
    pass


config = parse_config({}, "late", places.state_directory(), places.service_user())
layout = local_layout(config, roles_directory())
pulumi.ComponentResource(
    "anlan:index:ErpEnvironment", "late", {"descriptor": describe(layout, "0" * 64)}
)
source = Source(Nothing(), "source", {"days": None})
buckets = [{"name": name, "lock_days": source.days} for name in ("backup", "evidence")]
Role(
    Nothing(),
    "store",
    {
        "role": "objectstore",
        "variables": {**layout.machine("a").variables, "buckets": buckets},
        "digest": role_digest("objectstore"),
    },
)
