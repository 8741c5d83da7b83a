"""Who may do what: the rights of a system, and how they differ from those that were reviewed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.model.canonical import digest

SYSTEMS = {
    "common/postgresql": "PostgreSQL",
    "common/secrets": "Secret manager",
    "{site}/object_store": "S3 store {site}",
    "common/erp": "ERP",
}
"""Subject of a fact `access_rights` to the name of its system; {site} is every site."""


@dataclass(frozen=True, order=True)
class Right:
    """What one principal may do with one resource, and by what (`via`: a policy, a group, …)."""

    principal: str
    kind: str
    resource: str
    via: str
    may: tuple[str, ...]

    @property
    def place(self) -> tuple[str, str, str]:
        """What makes it the same right when what it allows has changed."""
        return self.principal, self.resource, self.via

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form (in schema `facts/access_rights`)."""
        return {
            "principal": self.principal,
            "kind": self.kind,
            "resource": self.resource,
            "via": self.via,
            "may": list(self.may),
        }

    def __str__(self) -> str:
        by = f" by {self.via}" if self.via else ""
        return f"{self.principal} on {self.resource}{by}: {', '.join(self.may)}"


def right_from_json(data: Mapping[str, Any]) -> Right:
    """Return the right of a checked JSON form."""
    return Right(data["principal"], data["kind"], data["resource"], data["via"], tuple(data["may"]))


def rights_of(found: Iterable[tuple[str, str, str, str, str]]) -> list[Right]:
    """Return the rights of rows (principal, kind, resource, via, one thing it may), in order.

    Rows of the same principal, resource and via are one right.
    """
    places: dict[tuple[str, str, str, str], set[str]] = {}
    for principal, kind, resource, via, may in found:
        places.setdefault((principal, kind, resource, via), set()).add(may)
    return sorted(Right(*place, tuple(sorted(may))) for place, may in places.items())


def rights_digest(rights: Iterable[Right]) -> str:
    """Return the sha256 of the canonical form of rights, 64 hex digits."""
    return digest([right.to_json() for right in sorted(rights)])


@dataclass(frozen=True)
class Difference:
    """How rights differ from the reviewed ones, as texts for a reader."""

    new: tuple[str, ...] = field(default=())
    gone: tuple[str, ...] = field(default=())
    changed: tuple[str, ...] = field(default=())
    to_remove: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, list[str]]:
        """Return the JSON form (in schema `facts/access_rights`)."""
        return {name: list(texts) for name, texts in vars(self).items()}


def compare(kept: Iterable[Right], removed: Iterable[Right], now: Iterable[Right]) -> Difference:
    """Return how the rights `now` differ from those that a reviewer kept, and let be removed.

    `to_remove`: a right that was to be removed and is still there, whatever else it allows now.
    """
    wanted = {right.place: right for right in kept}
    unwanted = {right.place for right in removed}
    found = {right.place: right for right in now}
    return Difference(
        new=tuple(
            str(right)
            for place, right in sorted(found.items())
            if place not in wanted and place not in unwanted
        ),
        gone=tuple(str(right) for place, right in sorted(wanted.items()) if place not in found),
        changed=tuple(
            f"{right}, reviewed as {', '.join(wanted[place].may)}"
            for place, right in sorted(found.items())
            if place in wanted and wanted[place] != right
        ),
        to_remove=tuple(str(found[place]) for place in sorted(unwanted & found.keys())),
    )
