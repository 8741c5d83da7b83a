"""The kinds of facts and the fields of each, as their schemas (`schemas/facts/KIND`) say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from orchestrator.model.errors import InputError
from orchestrator.model.schema import load_schema, nearest, validator

_FOLDER = "facts"
RECORD_KINDS = frozenset({"drill_history", "drill_schedule", "evidence_log", "stack_state"})
"""Kinds about the orchestrator's own records, not about the systems of an environment.

A run does not judge them: it is a part of what they tell.
"""
NOT_OF_RUNS = RECORD_KINDS | {"bucket_objects"}
"""Kinds that a run does not judge: its own records, and objects that drills lock briefly."""


@cache
def fact_kinds() -> tuple[str, ...]:
    """Names of the kinds, in order."""
    folder = resources.files("orchestrator.model").joinpath(f"schemas/{_FOLDER}")
    suffix = ".schema.json"
    return tuple(
        sorted(one.name.removesuffix(suffix) for one in folder.iterdir() if suffix in one.name)
    )


def wrong_data(kind: str, data: Mapping[str, Any], *, whole: bool = True) -> str:
    """Return what is wrong with the data of an observed fact of a kind; nothing if it is right.

    Data that are not `whole` may leave fields out.
    """
    for error in validator(f"{_FOLDER}/{kind}").iter_errors(data):
        if whole or error.validator != "required":
            return f"{error.json_path}: {error.message}"
    return ""


def field_schema(kind: str, path: str) -> dict[str, Any]:
    """Return the schema of the values at a path like `attempts[].version` in a kind's data.

    Raises InputError with the nearest name for a field that does not exist.
    """
    found = load_schema(f"{_FOLDER}/{kind}")
    for part in path.split("."):
        name, every = re.fullmatch(r"(.*?)((?:\[\])?)", part).groups()  # type: ignore[union-attr]
        fields = found.get("properties", {})
        if name not in fields:
            raise InputError(
                f"a fact of kind {kind} has no field {path!r}",
                nearest(name, fields) or f"its fields are {', '.join(fields)}",
            )
        found = fields[name]
        if every:
            if "items" not in found:
                raise InputError(f"{path!r} of a fact of kind {kind} is no list", "leave out []")
            found = found["items"]
    return found
