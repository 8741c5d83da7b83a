"""Planned resources → facts of the kinds that the collectors observe in running systems.

A planned fact has the fields that the plan decides, and no other: that an audited act is really
written, or that a certificate is valid, is seen in the running system alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from stacks.planned import configuration
from stacks.planned.resource import DESCRIPTOR_FILE, PlanError, Resource

Data = dict[str, Any]
Descriptor = Mapping[str, Any]
Planner = Callable[[Resource, Descriptor], Iterator[tuple[str, Data]]]
"""(resource, descriptor) → subjects with their data. Raises PlanError, NotKnownYet."""

EVERYTHING = "common/plan"
_SWITCHES = (
    *("ssl", "fsync", "full_page_writes", "logging_collector"),
    *("log_connections", "log_disconnections", "log_truncate_on_rotation"),
)
_TEXTS = (
    *("ssl_min_protocol_version", "password_encryption", "log_filename", "log_line_prefix"),
    *("log_statement", "archive_mode", "synchronous_commit"),
)
_SECRET_NAME = re.compile(
    r"(^|_)(password|passwd|passphrase|secret_key|secret_id|token|private_key|access_key"
    r"|api_key|cipher_pass|unseal_key)s?$",
    re.IGNORECASE,
)
_SECRET_VALUE = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----|\bhv[sb]\.[\w-]{20,}|\bAKIA[A-Z0-9]{16}\b"
    r"|[a-z][a-z0-9+]*://[^/\s:@]+:[^/\s:@]+@"
)
_CLEAR_ADDRESS = re.compile(r"(http|ftp|ldap|redis|amqp)://", re.IGNORECASE)


def planned(kind: str, resource: Resource, descriptor: Descriptor) -> list[tuple[str, Data]]:
    """Return subject and data of each fact of a kind that a resource will lead to."""
    if kind == "plan":
        return list(_plan(resource, descriptor))
    planner = _PLANNERS.get(resource.role, {}).get(kind)
    return list(planner(resource, descriptor)) if planner else []


def _place(resource: Resource, descriptor: Descriptor) -> str:
    """The site of a resource's machine, or `common`."""
    return _machine(resource.variables["machine"], descriptor)


def _machine(directory: str, descriptor: Descriptor) -> str:
    for site, parts in descriptor["sites"].items():
        if parts["machine"]["directory"] == directory:
            return str(site)
    if descriptor["secrets"]["machine"]["directory"] == directory:
        return "common"
    raise PlanError(f"the descriptor has no machine {directory}")


def _settings(resource: Resource, descriptor: Descriptor) -> Iterator[tuple[str, Data]]:
    settings, rules = _server(resource)
    yield (
        f"{_place(resource, descriptor)}/postgresql",
        {
            "role": resource.variables["node_role"],
            **configuration.switches(settings, _SWITCHES),
            **{name: settings[name] for name in _TEXTS},
            "shared_preload_libraries": configuration.listed(settings["shared_preload_libraries"]),
            "pgaudit_log": configuration.listed(settings["pgaudit.log"]),
            "hba": [text for text, _, method in rules if method],
            "hba_trust": [text for text, _, method in rules if method == "trust"],
            "hba_cleartext": _clear(rules),
            "hba_errors": [text for text, _, method in rules if not method],
        },
    )


def _server(resource: Resource) -> tuple[dict[str, str], list[tuple[str, str, str]]]:
    return configuration.server_settings(resource), configuration.client_rules(resource)


def _clear(rules: list[tuple[str, str, str]]) -> list[str]:
    return [
        text
        for text, kind, method in rules
        if configuration.is_clear(kind) and method not in {"reject", ""}
    ]


def _database_audit(resource: Resource, descriptor: Descriptor) -> Iterator[tuple[str, Data]]:
    settings = configuration.server_settings(resource)
    name = settings["log_filename"]
    dated = "%F" in name or all(part in name for part in ("%Y", "%m", "%d"))
    truncates = configuration.switches(settings, ("log_truncate_on_rotation",))
    yield (
        f"{_place(resource, descriptor)}/postgresql",
        {
            "pgaudit_loaded": "pgaudit"
            in configuration.listed(settings["shared_preload_libraries"]),
            "classes": configuration.listed(settings["pgaudit.log"]),
            "retention_days": configuration.variables(resource)["audit_retention_days"],
            "overwrites": truncates["log_truncate_on_rotation"] or not dated,
        },
    )


def _database_endpoint(resource: Resource, descriptor: Descriptor) -> Iterator[tuple[str, Data]]:
    settings, rules = _server(resource)
    speaks = configuration.switches(settings, ("ssl",))["ssl"]
    yield (
        f"{_place(resource, descriptor)}/postgresql",
        {
            "speaks_tls": speaks,
            "plaintext_refused": not _clear(rules),
            "lowest_accepted_version": settings["ssl_min_protocol_version"],
        },
    )


def _replication(resource: Resource, descriptor: Descriptor) -> Iterator[tuple[str, Data]]:
    known = configuration.variables(resource)
    names = f"FIRST 1 ({known['standby']})" if known["synchronous"] else ""
    yield (
        f"{_machine(known['primary']['machine'], descriptor)}/postgresql",
        {"role": "primary", "synchronous_standby_names": names},
    )


def _repositories(resource: Resource, descriptor: Descriptor) -> Iterator[tuple[str, Data]]:
    ciphers = configuration.repository_ciphers(resource)
    sites = {
        urlsplit(parts["object_store"]["url"]).netloc: site
        for site, parts in descriptor["sites"].items()
    }
    for one in resource.variables["repositories"]:
        where = f"{one['address']}:{one['port']}"
        if where not in sites:
            raise PlanError(f"the descriptor has no object store at {where}")
        yield f"{sites[where]}/backup_repository", {"cipher": ciphers[int(one["id"])]}


def _locks(resource: Resource, descriptor: Descriptor) -> Iterator[tuple[str, Data]]:
    """A bucket that the descriptor names and the role does not make has no lock."""
    site = _place(resource, descriptor)
    days = {one["name"]: one["lock_days"] for one in resource.variables["buckets"]}
    for purpose, bucket in descriptor["sites"][site]["object_store"]["buckets"].items():
        kept = {"bucket": bucket, "days": days.get(bucket, 0)}
        yield (
            f"{site}/object_store/{purpose}",
            kept
            if bucket in days
            else {
                **kept,
                "enabled": False,
            },
        )


def _secrets_audit(resource: Resource, descriptor: Descriptor) -> Iterator[tuple[str, Data]]:
    file = configuration.variables(resource)["audit_log"]
    yield (
        "common/secrets",
        {
            "file_device": file == descriptor["secrets"]["audit_log"],
            "retention_days": descriptor["retention"]["audit_days"],
        },
    )


def _door(resource: Resource, _: Descriptor) -> Iterator[tuple[str, Data]]:
    for version in configuration.door_versions(resource):
        data: Data = {"speaks_tls": version is not None, "plaintext_refused": version is not None}
        if version is not None:
            data["lowest_accepted_version"] = version
        yield "common/front_door", data


_PLANNERS: Mapping[str, Mapping[str, Planner]] = {
    "postgresql": {
        "database_settings": _settings,
        "audit_log": _database_audit,
        "tls_endpoint": _database_endpoint,
    },
    "replication": {"database_settings": _replication},
    "pgbackrest": {"backup_repository": _repositories},
    "objectstore": {"object_lock": _locks},
    "secrets": {"audit_log": _secrets_audit},
    "frontdoor": {"tls_endpoint": _door},
}
"""By role and kind of fact."""

PLANNED_KINDS = frozenset({"plan", *(kind for kinds in _PLANNERS.values() for kind in kinds)})
"""The kinds of facts that a plan can lead to."""


def _plan(resource: Resource, descriptor: Descriptor) -> Iterator[tuple[str, Data]]:
    """What can be said of every resource, and of the two that hold the descriptor."""
    properties = dict(resource.properties)
    if resource.type == DESCRIPTOR_FILE:
        properties["content"] = resource.descriptor
    texts = list(_texts(properties, ""))
    data: Data = {
        "clear_secrets": [
            path
            for path, name, text in texts
            if len(text) and (_SECRET_NAME.search(name) or _SECRET_VALUE.search(text))
        ],
        "clear_addresses": [
            f"{path} = {text}" for path, _, text in texts if _CLEAR_ADDRESS.match(text)
        ],
    }
    if resource.descriptor is not None:
        data["shared_addresses"] = _shared(descriptor)
    yield EVERYTHING, data


def _texts(value: Any, path: str, name: str = "") -> Iterator[tuple[str, str, str]]:
    """Every text below a value: its path, the name it stands under, itself."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(inner, f"{path}.{key}".strip("."), str(key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _texts(inner, f"{path}[{number}]", name)
    elif isinstance(value, str):
        yield path, name, value


def _shared(descriptor: Descriptor) -> list[str]:
    """The addresses that more than one site uses for its machine and servers."""
    users: dict[str, set[str]] = {}
    for site, parts in descriptor["sites"].items():
        found = {
            parts["machine"]["address"],
            parts["database"]["address"],
            *(urlsplit(parts[part]["url"]).hostname or "" for part in ("object_store", "erp")),
        }
        for address in found:
            users.setdefault(address, set()).add(site)
    return sorted(address for address, sites in users.items() if len(sites) > 1)
