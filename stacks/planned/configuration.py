"""The files that a role would write, from its templates, its defaults and a resource's variables.

What a server will do is read from these, not from a switch that somebody keeps in step with them.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

import jinja2
import yaml

from stacks.components.ansible import role_digest, roles_directory
from stacks.planned.resource import PlanError, Resource

# PostgreSQL 15, chapter 20: what holds for a setting that the file leaves out.
_SERVER_DEFAULTS = {
    "ssl": "off",
    "ssl_min_protocol_version": "TLSv1.2",
    "password_encryption": "scram-sha-256",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "archive_mode": "off",
    "shared_preload_libraries": "",
    "pgaudit.log": "none",
    "log_statement": "none",
    "logging_collector": "off",
    "log_connections": "off",
    "log_disconnections": "off",
    "log_truncate_on_rotation": "off",
    "log_filename": "postgresql-%Y-%m-%d_%H%M%S.log",
    "log_line_prefix": "%m [%p] ",
}
_SETTING = re.compile(r"\s*([A-Za-z_][\w.]*)\s*(?:=|\s)\s*('(?:[^']|'')*'|[^#\s]*)")
# haproxy 2.6, "ssl-default-bind-options": TLS 1.2 is the oldest when nothing is said.
_DOOR_DEFAULT = "TLSv1.2"
_DOOR_FORCED = {f"force-tlsv1{n}": f"TLSv1.{n}" for n in range(1, 4)} | {"force-tlsv10": "TLSv1"}
_CLEAR_TYPES = ("host", "hostnossl", "hostgssenc", "hostnogssenc")


class _Secret:
    """Stands for what a role reads from the secret manager while it runs."""

    def __getitem__(self, key: str) -> _Secret:
        return self

    def __str__(self) -> str:
        return "a secret"


_AT_RUN_TIME = {"pgbackrest_secrets": _Secret()}


@cache
def _digest(role: str, roles: Path) -> str:
    return role_digest(role, roles)


@cache
def _templates(role: str, roles: Path) -> jinja2.Environment:
    """Jinja as Ansible sets it up; a variable that nobody gives is an error."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(roles / role / "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  (configuration files, not pages)
    )


def variables(resource: Resource) -> dict[str, Any]:
    """Return what a role's tasks see: its defaults, and the resource's variables over them.

    Raises PlanError when the role's files are not those of the plan.
    """
    roles = roles_directory()
    if _digest(resource.role, roles) != resource.properties["digest"]:
        raise PlanError(f"the files of role {resource.role!r} changed since the plan was made")
    file = roles / resource.role / "defaults" / "main.yml"
    defaults = yaml.safe_load(file.read_text()) or {} if file.is_file() else {}
    known = {**defaults, **resource.variables}
    for name in defaults:
        if isinstance(known[name], str) and "{{" in known[name]:
            known[name] = jinja2.Template(known[name]).render(known)
    return known


def rendered(resource: Resource, template: str) -> str:
    """Return a file that the role would write. Raises PlanError, NotKnownYet."""
    try:
        found = _templates(resource.role, roles_directory()).get_template(template)
        return found.render({**variables(resource), **_AT_RUN_TIME})
    except jinja2.TemplateError as error:
        what = f"{type(error).__name__}: {error}"
        raise PlanError(f"template {template} of role {resource.role!r}: {what}") from error


def server_settings(resource: Resource) -> dict[str, str]:
    """Return the settings that a database server would start with, switches as on and off."""
    found = dict(_SERVER_DEFAULTS)
    for line in rendered(resource, "postgresql.conf.j2").splitlines():
        if setting := _SETTING.match(line):
            value = setting[2].strip("'").replace("''", "'")
            found[setting[1].lower()] = value
    return found


def client_rules(resource: Resource) -> list[tuple[str, str, str]]:
    """Return the rules of pg_hba.conf as (text, type, method); method is empty if unreadable."""
    rules = []
    for number, line in enumerate(rendered(resource, "pg_hba.conf.j2").splitlines(), start=1):
        words = shlex.split(line, comments=True)
        if not words:
            continue
        kind = words[0]
        at = 3 if kind == "local" else 4
        if len(words) > at and re.fullmatch(r"[\d.]+|[\da-f]*:[\da-f:]+", words[at]):
            at += 1  # address and mask in two columns
        known = kind in {"local", "hostssl", *_CLEAR_TYPES} and len(words) > at
        rules.append((f"line {number}: {' '.join(words)}", kind, words[at] if known else ""))
    return rules


def is_clear(kind: str) -> bool:
    """Whether a rule of this type takes TCP without TLS."""
    return kind in _CLEAR_TYPES


def repository_ciphers(resource: Resource) -> dict[int, str]:
    """Return the cipher of each repository that pgBackRest would write to (default: none)."""
    options: dict[str, str] = {}
    for line in rendered(resource, "pgbackrest.conf.j2").splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            options[name.strip()] = value.strip()
    return {
        int(one["id"]): options.get(f"repo{one['id']}-cipher-type", "none")
        for one in variables(resource)["repositories"]
    }


def door_versions(resource: Resource) -> list[str | None]:
    """Return the oldest TLS version of each address the front door would bind, None for plaintext.

    Options of an address go before those of `global`.
    """
    common: list[str] = []
    binds: list[list[str]] = []
    for line in rendered(resource, "haproxy.cfg.j2").splitlines():
        words = line.split()
        if words[:1] == ["ssl-default-bind-options"]:
            common = words[1:]
        elif words[:1] == ["bind"]:
            binds.append(words[1:])
    return [_oldest(bind, common) if "ssl" in bind else None for bind in binds]


def _oldest(bind: list[str], common: list[str]) -> str:
    for options in (bind, common):
        for word, following in zip_longest(options, options[1:], fillvalue=""):
            if word in _DOOR_FORCED:
                return _DOOR_FORCED[word]
            if word == "ssl-min-ver":
                return "TLSv1" if following == "TLSv1.0" else following
    return _DOOR_DEFAULT


def switches(settings: Mapping[str, str], names: tuple[str, ...]) -> dict[str, bool]:
    """Return these settings as booleans."""
    return {name: settings[name].lower() in {"on", "true", "yes", "1"} for name in names}


def listed(text: str) -> list[str]:
    """Return the items of a comma-separated setting."""
    return [item.strip() for item in text.split(",") if item.strip()]
