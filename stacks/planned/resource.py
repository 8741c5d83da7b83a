"""A planned resource: its type, name and properties, some of which a preview does not know."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pulumi_policy.proxy import UnknownValueError

ROLE = "pulumi-python:dynamic/anlan:AnsibleRole"
DESCRIPTOR_FILE = "pulumi-python:dynamic/anlan:DescriptorFile"
ENVIRONMENT = "anlan:index:ErpEnvironment"


class PlanError(Exception):
    """What is planned cannot be read, so nothing can be said of it."""


class NotKnownYet(Exception):
    """A value that a preview does not know was needed."""


class UnknownText(str):
    """A value that a preview does not know: part of a text perhaps, and never asked about."""

    def __new__(cls) -> UnknownText:
        """Return a text that no property holds."""
        return super().__new__(cls, "\0unknown\0")

    def __iter__(self) -> Any:
        """Refuse."""
        raise NotKnownYet

    def __getitem__(self, key: Any) -> Any:
        """Refuse."""
        raise NotKnownYet

    def __getattr__(self, name: str) -> Any:
        """Refuse."""
        raise NotKnownYet

    def __bool__(self) -> bool:
        """Refuse."""
        raise NotKnownYet

    def __eq__(self, other: object) -> bool:
        """Refuse."""
        raise NotKnownYet

    def __hash__(self) -> int:
        """Two unknown values in one set are compared, which is refused."""
        return 0


UNKNOWN = UnknownText()


@dataclass(frozen=True)
class Resource:
    """One planned resource."""

    type: str
    name: str
    properties: Mapping[str, Any]

    @property
    def role(self) -> str:
        """The Ansible role that it applies, or nothing."""
        return str(self.properties["role"]) if self.type == ROLE else ""

    @property
    def variables(self) -> Mapping[str, Any]:
        """The variables of its role."""
        return dict(self.properties["variables"])

    @property
    def descriptor(self) -> Mapping[str, Any] | None:
        """The environment descriptor, if it is the resource that has it. Raises NotKnownYet."""
        if self.type == ENVIRONMENT:
            return dict(self.properties["descriptor"])
        if self.type == DESCRIPTOR_FILE:
            content = self.properties["content"]
            if is_unknown(content):
                raise NotKnownYet
            return dict(json.loads(content))
        return None


def plain(value: Any) -> Any:
    """Return properties as plain values: unknown ones as UNKNOWN, whole numbers as integers.

    Pulumi's proxies raise for an unknown value, and it hands every number over as a float.
    """
    if isinstance(value, Mapping):
        return {key: _item(value, key) for key in value if not key.startswith("__")}
    if isinstance(value, str | bool) or value is None:
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if hasattr(value, "__len__"):
        return [_item(value, number) for number in range(len(value))]
    return value


def _item(values: Any, key: Any) -> Any:
    try:
        return plain(values[key])
    except UnknownValueError:
        return UNKNOWN


def is_unknown(value: Any) -> bool:
    """Whether a value, or something in it, is not known in a preview."""
    if isinstance(value, str):
        return str.__contains__(value, str.__str__(UNKNOWN))
    if isinstance(value, Mapping):
        return any(map(is_unknown, value.values()))
    return isinstance(value, list) and any(map(is_unknown, value))
