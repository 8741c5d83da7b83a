"""Check data against the JSON Schemas of this package, with errors that name file and path."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from orchestrator.model.errors import InputError


@cache
def load_schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema `schemas/NAME.schema.json`."""
    text = resources.files("orchestrator.model").joinpath(f"schemas/{name}.schema.json").read_text()
    schema: dict[str, Any] = json.loads(text)
    return schema


def check(data: Any, schema_name: str, *, file: str = "") -> None:
    """Raise InputError for the first violation of the schema, else return.

    The deepest error is reported: for a choice of shapes that is the one nearest to what was meant.
    """
    from jsonschema import Draft202012Validator  # noqa: PLC0415  (slow import, not needed at start)
    from jsonschema.exceptions import best_match  # noqa: PLC0415
    from referencing import Registry, Resource  # noqa: PLC0415

    def ours(uri: str) -> Resource[Any]:
        return Resource.from_contents(load_schema(Path(uri).name.removesuffix(".schema.json")))

    registry: Registry[Any] = Registry(retrieve=ours)  # type: ignore[call-arg]
    validator = Draft202012Validator(load_schema(schema_name), registry=registry)
    error = best_match(validator.iter_errors(data))
    if error is None:
        return
    raise InputError(
        error.message,
        f"compare with the schema {schema_name} (docs/reference/schemas.md)",
        file=file,
        path=error.json_path,
    )
