"""The local stack, each part of it changed for the worse; roles come from ANLAN_ROLES_PATH."""

from typing import Any

from stacks import places
from stacks.components.ansible import roles_directory
from stacks.components.ansible_role import AnsibleRole
from stacks.components.config import parse_config
from stacks.components.descriptor import describe
from stacks.components.erp_environment import ErpEnvironment
from stacks.components.layout import local_layout
from stacks.components.parts import Part

CHANGES: dict[str, dict[str, Any]] = {
    "machine-a": {"password": "hunter2"},
    "erp-server-a": {"secrets_url": "http://127.0.30.1:15200"},
    "secrets": {"audit_log": "/dev/null"},
    "objectstore-a": {
        "buckets": [{"name": name, "lock_days": 0} for name in ("backup", "evidence")]
    },
    "replication": {"synchronous": False},
    "postgresql-a": {"audit_retention_days": 30},
}
role = Part.role


def changed(  # noqa: PLR0917  (as the original)
    self: Part, name: str, which: str, machine: str, variables: dict[str, Any], after: Any
) -> AnsibleRole:
    return role(self, name, which, machine, {**variables, **CHANGES.get(name, {})}, after)


Part.role = changed  # type: ignore[method-assign]
config = parse_config({}, "worse", places.state_directory(), places.service_user())
layout = local_layout(config, roles_directory())
descriptor = describe(layout, "0" * 64)
sites = descriptor["sites"]
sites["b"]["machine"]["address"] = sites["a"]["machine"]["address"]
ErpEnvironment("worse", layout, descriptor)
