"""What a condition may say: keywords of JSON Schema 2020-12, and our own for what it lacks.

Ours: `onlyMatching: [GLOB, …]` (each item of a list matches one), `includes: [VALUE, …]` (a list
has them all), `minimumVersion: TLSv1.2`, and of a time against the evaluation's:
`minimumHoursLeft`, `maximumAgeHours`, `minimumAgeDays`. A keyword that JSON Schema ignores for
values of another type needs that type beside it: `{minimum: 3}` alone would hold for any text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from typing import Any

from orchestrator.model.errors import InputError
from orchestrator.model.patterns import check_pattern
from orchestrator.model.schema import nearest

TLS_VERSIONS = ("SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
OURS = {
    "onlyMatching": "array",
    "includes": "array",
    "minimumVersion": "string",
    "minimumHoursLeft": "string",
    "maximumAgeHours": "string",
    "minimumAgeDays": "string",
}
"""Our keywords, and the type of the values that each can be asked about."""
_FREE = ("type", "const", "enum", "not", "anyOf", "allOf")
_TYPED = {
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), "number"),
    **dict.fromkeys(("minLength", "maxLength", "pattern"), "string"),
    **dict.fromkeys(("minItems", "maxItems", "uniqueItems", "items", "contains"), "array"),
    **dict.fromkeys(("properties", "required"), "object"),
}
_BOUNDS = (("minimum", "maximum"), ("minLength", "maxLength"), ("minItems", "maxItems"))
_PYTHON = {"boolean": bool, "string": str, "array": list, "object": dict, "null": type(None)}


def check_condition(
    schema: Mapping[str, Any], field: Mapping[str, Any], parameters: Mapping[str, Any]
) -> None:
    """Raise InputError (`path` within the schema) for what can never hold, or always would.

    `field` is the schema of the values that the condition is about, `parameters` those of the
    policy: a literal one is looked at too.
    """
    for path, part in _parts(schema, ""):
        known = {key: resolve(value, parameters) for key, value in part.items()}
        _check_keywords(part, path)
        _check_types(known, path)
        _check_values(known, path)
    _check_field({key: resolve(value, parameters) for key, value in schema.items()}, field)


def is_reference(value: Any) -> bool:
    """Whether a value in a schema stands for a parameter: `{parameter: NAME}`."""
    return isinstance(value, Mapping) and set(value) == {"parameter"}


def resolve(value: Any, parameters: Mapping[str, Any]) -> Any:
    """Return a part of a schema with the values of parameters in their places, at any depth."""
    if is_reference(value):
        return parameters[value["parameter"]]
    if isinstance(value, Mapping):
        return {key: resolve(item, parameters) for key, item in value.items()}
    if isinstance(value, list):
        return [resolve(item, parameters) for item in value]
    return value


def references(schema: Any) -> set[str]:
    """Names of the parameters that a schema refers to, at any depth."""
    if is_reference(schema):
        return {str(schema["parameter"])}
    inner = schema.values() if isinstance(schema, Mapping) else schema
    if isinstance(inner, str) or not hasattr(inner, "__iter__"):
        return set()
    return {name for value in inner for name in references(value)}


def _parts(schema: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """A schema and every schema in it, with their paths."""
    if not isinstance(schema, Mapping):
        raise InputError(f"{schema!r} is no schema", "write {keyword: value}", path=path)
    yield path, schema
    for key in ("not", "items", "contains"):
        if key in schema:
            yield from _parts(schema[key], f"{path}.{key}")
    for key in ("anyOf", "allOf"):
        for number, part in enumerate(schema.get(key, ())):
            yield from _parts(part, f"{path}.{key}[{number}]")
    for name, part in schema.get("properties", {}).items():
        yield from _parts(part, f"{path}.properties.{name}")


def _check_keywords(part: Mapping[str, Any], path: str) -> None:
    known = (*_FREE, *_TYPED, *OURS)
    for key in part:
        if key not in known:
            todo = nearest(key, known) or f"the keywords are {', '.join(known)}"
            raise InputError(f"there is no keyword {key!r}", todo, path=f"{path}.{key}")
    if not part:
        raise InputError("an empty schema holds for everything", path=path)


def _types(part: Mapping[str, Any]) -> set[str]:
    """The types that a schema names, an integer as a number."""
    named = part.get("type", [])
    names = {named} if isinstance(named, str) else set(named)
    return {"number" if name == "integer" else name for name in names}


def _check_types(part: Mapping[str, Any], path: str) -> None:
    for key in part:
        wanted = _TYPED.get(key)
        if wanted and _types(part) != {wanted}:
            raise InputError(
                f"{key} says nothing about a value that is no {wanted}",
                f"write type: {wanted} beside it, and no other",
                path=f"{path}.{key}",
            )


def _check_values(part: Mapping[str, Any], path: str) -> None:
    """By the meta-schema and by ours; values that are not known yet are left out."""
    literal = {key: value for key, value in part.items() if not isinstance(value, Mapping)}
    try:
        sound = _is_schema(json.dumps(literal))
    except TypeError:  # YAML has values that JSON has not
        sound = False
    if not sound:
        from jsonschema.exceptions import best_match  # noqa: PLC0415  (slow import)

        error = best_match(_meta_validator().iter_errors(literal))
        if error is not None:
            raise InputError(error.message, path=f"{path}{error.json_path.removeprefix('$')}")
    if "pattern" in literal:
        check_pattern(literal["pattern"], path=f"{path}.pattern")
    for key in OURS:
        value = literal.get(key)
        if value is None:
            continue
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        right = {
            "onlyMatching": isinstance(value, list),
            "includes": isinstance(value, list),
            "minimumVersion": value in TLS_VERSIONS,
        }.get(key, number)
        if not right:
            raise InputError(f"{key} cannot be {value!r}", path=f"{path}.{key}")
    for low, high in _BOUNDS:
        if low in literal and high in literal and literal[low] > literal[high]:
            raise InputError(f"nothing is at least {low} and at most {high}", path=path)


@cache
def _meta_validator() -> Any:
    from jsonschema import Draft202012Validator  # noqa: PLC0415  (slow import)

    return Draft202012Validator(Draft202012Validator.META_SCHEMA)


@lru_cache(maxsize=1024)  # most conditions are one of few: `{type: boolean, const: true}`
def _is_schema(text: str) -> bool:
    return bool(_meta_validator().is_valid(json.loads(text)))


def _check_field(schema: Mapping[str, Any], field: Mapping[str, Any]) -> None:
    """What is asked for must be something that the field can be."""
    can_be = _types(field)
    if not can_be:
        return
    wanted = _types(schema) | {OURS[key] for key in schema if key in OURS}
    if wanted and not wanted & can_be:
        raise InputError(
            f"it asks for type {', '.join(sorted(wanted))}, and the field is of type "
            f"{', '.join(sorted(can_be))}"
        )
    values = [schema["const"]] if "const" in schema else schema.get("enum", ())
    if isinstance(values, (list, tuple)) and values:
        if not any(_is(value, name) for value in values for name in can_be):
            raise InputError(
                f"it asks for {', '.join(map(repr, values))}, and the field is of type "
                f"{', '.join(sorted(can_be))}"
            )
        allowed = field.get("enum")
        if allowed and not set(map(str, values)) & set(map(str, allowed)):
            raise InputError(f"the field is one of {', '.join(map(str, allowed))}")


def _is(value: Any, name: str) -> bool:
    if isinstance(value, Mapping):  # a parameter whose value is not known yet
        return True
    if name == "number":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, _PYTHON[name])
