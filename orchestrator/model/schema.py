"""Check data against the JSON Schemas of this package, with errors that name file and path."""

from __future__ import annotations

import json
from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from orchestrator.model.errors import InputError
from orchestrator.model.fits import Fits, UnknownKeyword, compiled
from orchestrator.model.yaml_text import located

_LONGEST_MESSAGE = 1_000


@cache
def load_schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema `schemas/NAME.schema.json`."""
    file = resources.files("orchestrator.model").joinpath(f"schemas/{name}.schema.json")
    schema: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return schema


@cache
def validator(name: str) -> Any:
    """Return a jsonschema validator of the schema NAME."""
    from jsonschema import Draft202012Validator  # noqa: PLC0415  (slow import, not needed at start)
    from referencing import Registry, Resource  # noqa: PLC0415

    def ours(uri: str) -> Resource[Any]:
        return Resource.from_contents(load_schema(Path(uri).name.removesuffix(".schema.json")))

    registry: Registry[Any] = Registry(retrieve=ours)  # type: ignore[call-arg]
    return Draft202012Validator(load_schema(name), registry=registry)


@cache
def _fits(name: str) -> Fits:
    try:
        return compiled(name, load_schema)
    except UnknownKeyword:
        return lambda _: False


def check(data: Any, schema_name: str, *, file: str = "", text: str = "") -> None:
    """Raise InputError for the first violation of the schema, else return.

    The deepest error is reported: for a choice of shapes that is the one nearest to what was
    meant. `text` is the YAML that the data are from, for the line.
    """
    if _fits(schema_name)(data):
        return
    from jsonschema.exceptions import best_match  # noqa: PLC0415

    error = best_match(validator(schema_name).iter_errors(data))
    if error is None:
        return
    path, hint = error.json_path, ""
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        wrong = next(str(key) for key in error.instance if key not in known)
        path, hint = f"{path}.{wrong}", nearest(wrong, known)
    elif error.validator == "enum":
        hint = nearest(str(error.instance), map(str, error.validator_value))
    message = error.message
    if error.validator == "type" and error.json_path == "$":
        # Another file than was meant: what it holds is not shown, it may be a private key.
        message = f"it is no {error.validator_value}"
    raise InputError(
        message if len(message) <= _LONGEST_MESSAGE else f"{message[:_LONGEST_MESSAGE]} …",
        hint or f"compare with the schema {schema_name} (docs/reference/schemas.md)",
        file=located(text, path, file=file) if text else file,
        path=path,
    )


def nearest(wrong: str, names: Iterable[str]) -> str:
    """Return `did you mean NAME?` for the name most like a wrong one, or nothing."""
    found = get_close_matches(wrong, list(names), n=1)
    return f"did you mean {found[0]}?" if found else ""
