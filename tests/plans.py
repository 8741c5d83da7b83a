"""The plan of the local stack, without an engine, and what somebody might make of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pulumi

from stacks import places
from stacks.components.ansible import role_digest, roles_directory
from stacks.components.config import parse_config
from stacks.components.descriptor import describe
from stacks.components.erp_environment import ErpEnvironment
from stacks.components.layout import local_layout
from stacks.planned.resource import ROLE, Resource, plain

TEMPLATES: dict[str, tuple[str, str, str]] = {
    "plaintext": (
        "postgresql/templates/pg_hba.conf.j2",
        "hostssl all          all",
        "host    all          all",
    ),
    "audit off": ("postgresql/templates/postgresql.conf.j2", "'pgaudit,pg_stat", "'pg_stat"),
    "logins not logged": (
        "postgresql/templates/postgresql.conf.j2",
        "log_connections = on",
        "log_connections = off",
    ),
    "older TLS": (
        "frontdoor/templates/haproxy.cfg.j2",
        "bind-options ssl-min-ver TLSv1.3",
        "bind-options ssl-min-ver TLSv1.2",
    ),
    "older TLS in the database": (
        "postgresql/templates/postgresql.conf.j2",
        "ssl_min_protocol_version = 'TLSv1.3'",
        "",
    ),
    "no encryption": (
        "pgbackrest/templates/pgbackrest.conf.j2",
        "repo{{ repository.id }}-cipher-type=aes-256-cbc",
        "",
    ),
}
"""Edits of a role's template: file, what stands there, what somebody writes instead."""


def edited_roles(target: Path, *names: str) -> Path:
    """Copy the roles to `target` with these edits, and return it."""
    shutil.copytree(roles_directory(), target)
    for name in names:
        file, before, after = TEMPLATES[name]
        text = (target / file).read_text()
        assert before in text, f"{file} has changed: this edit would prove nothing"
        (target / file).write_text(text.replace(before, after))
    return target


def local_plan(**values: Any) -> list[Resource]:
    """Return the resources of the local stack in the order of their registration."""
    seen: list[Resource] = []

    class Recorder(pulumi.runtime.Mocks):
        def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str, dict[str, Any]]:
            seen.append(Resource(args.typ, args.name, plain(args.inputs)))
            return args.name, args.inputs

        def call(self, args: pulumi.runtime.MockCallArgs) -> dict[str, Any]:
            return {}

    pulumi.runtime.set_mocks(Recorder())
    config = parse_config(values, "plan", Path("/srv/anlan"), places.service_user())
    layout = local_layout(config, roles_directory())

    @pulumi.runtime.test
    def program() -> None:
        ErpEnvironment("plan", layout, describe(layout, "0" * 64))

    program()
    return seen


def changed(
    plan: list[Resource], part: str, change: Callable[[dict[str, Any]], Any]
) -> list[Resource]:
    """Return a plan in which the properties of one part (a component may share its name) change."""
    chosen = [one for one in plan if one.name == part and one.properties]
    assert len(chosen) == 1, part
    return [_changed(one, change) if one is chosen[0] else one for one in plan]


def _changed(one: Resource, change: Callable[[dict[str, Any]], Any]) -> Resource:
    properties = _copy(one.properties)
    change(properties)
    return Resource(one.type, one.name, properties)


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value


def digests_of(plan: list[Resource], roles: Path) -> list[Resource]:
    """Return a plan that applies the roles of another folder."""
    return [
        Resource(one.type, one.name, {**one.properties, "digest": role_digest(one.role, roles)})
        if one.type == ROLE
        else one
        for one in plan
    ]
