"""A catalogue of controls: what a law or standard asks for, and what is evidence for it here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.model.errors import InputError
from orchestrator.model.schema import check
from orchestrator.model.yaml_text import load_yaml, located


@dataclass(frozen=True)
class CatalogueControl:
    """One control: its testable condition in our words, what evidences it, and what does not.

    `threshold` is the number that the text itself gives, empty where it gives none and the
    organisation sets it. `policies` and `drills` are names; without any nothing is proven.
    """

    id: str
    title: Mapping[str, str]
    condition: Mapping[str, str]
    threshold: str
    policies: tuple[str, ...]
    drills: tuple[str, ...]
    unproven: Mapping[str, str]


@dataclass(frozen=True)
class Catalogue:
    """The controls of one edition of a text; `name` is how it is cited."""

    id: str
    name: str
    title: Mapping[str, str]
    edition: str
    source: str
    controls: tuple[CatalogueControl, ...]


def parse_catalogue(text: str, *, file: str = "") -> Catalogue:
    """Return the catalogue of a YAML file. Raises InputError with file, line and reason."""
    data = load_yaml(text, file=file)
    check(data, "catalogue", file=file, text=text)
    seen: set[str] = set()
    for number, control in enumerate(data["controls"]):
        if control["id"] in seen:
            path = f"$.controls[{number}].id"
            raise InputError(
                f"control {control['id']!r} is there twice",
                file=located(text, path, file=file),
                path=path,
            )
        seen.add(control["id"])
    return Catalogue(
        id=data["id"],
        name=data["name"],
        title=data["title"],
        edition=data["edition"],
        source=data["source"],
        controls=tuple(
            CatalogueControl(
                id=control["id"],
                title=control["title"],
                condition=control["condition"],
                threshold=control.get("threshold", ""),
                policies=tuple(control.get("policies", ())),
                drills=tuple(control.get("drills", ())),
                unproven=control["unproven"],
            )
            for control in data["controls"]
        ),
    )
