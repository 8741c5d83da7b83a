"""The policies and catalogues that a run was judged by, as far as a report shows them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from orchestrator.evidence import layout
from orchestrator.model.catalogue import Catalogue, parse_catalogue
from orchestrator.model.errors import InputError
from orchestrator.model.policy import Policy, parse_policies
from orchestrator.report.view import Value

_LONGEST = 400
_text = json.JSONEncoder(ensure_ascii=False, sort_keys=True).encode
_CATALOGUES = "catalogues/"


@dataclass(frozen=True)
class Rules:
    """The policies by id, and the catalogues in order of file."""

    policies: Mapping[str, Policy]
    catalogues: tuple[Catalogue, ...]


def read_rules(contents: Mapping[str, bytes]) -> Rules:
    """Return the rules in a bundle's files. Raises InputError for one that is none."""
    return _parsed(tuple(sorted(layout.rules_of(contents).items())))


@lru_cache(maxsize=4)  # the runs of an environment are judged by the same rules
def _parsed(files: tuple[tuple[str, bytes], ...]) -> Rules:
    policies: dict[str, Policy] = {}
    catalogues: list[Catalogue] = []
    for name, content in files:
        file = f"policies/{name}"
        if not name.endswith((".yaml", ".yml")):
            continue
        try:
            text = content.decode()
        except UnicodeDecodeError as error:
            raise InputError(f"not UTF-8: {error.reason}", file=file) from error
        if name.startswith(_CATALOGUES):
            catalogues.append(parse_catalogue(text, file=file))
        elif "/" not in name:
            policies |= {policy.id: policy for policy in parse_policies(text, file=file)}
    return Rules(policies, tuple(catalogues))


def observed_values(policy: Policy, data: Mapping[str, Any]) -> tuple[Value, ...]:
    """Return what a fact has at each field that the policy asks about, each field once."""
    return tuple(
        Value(field, _shown(found))
        for field in policy.fields
        for found in [_at(data, field)]
        if found is not None
    )


def _at(data: Any, path: str) -> Any:
    """What is at a dotted path, a list under `name[]`; None when nothing is."""
    if isinstance(data, Mapping) and path in data:
        return data[path]
    name, _, rest = path.partition(".")
    inner = data.get(name.removesuffix("[]")) if isinstance(data, Mapping) else None
    if not rest:
        return inner
    if name.endswith("[]") and isinstance(inner, list):
        found = [_at(one, rest) for one in inner]
        return [one for one in found if one is not None]
    return _at(inner, rest)


def _shown(value: Any) -> str:
    text = _text(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text)} characters)"
