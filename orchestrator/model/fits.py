"""Whether data fit a schema of this package: the yes of JSON Schema, in a tenth of its time.

A schema is turned into closures once. Only what our schemas use is known (JSON Schema 2020-12); a
schema with any other keyword is left to `jsonschema`, and so is every no, for its words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

Fits = Callable[[Any], bool]
Load = Callable[[str], Mapping[str, Any]]
"""Name of a schema → the schema."""
_SILENT = {
    *("$schema", "$id", "$defs", "title", "description", "default"),
    *("format", "contentEncoding"),  # annotations, unless a validator is told to assert them
}


Maker = Callable[[Any], Fits]
"""What a keyword demands → what is true of the values that it holds for."""


class UnknownKeyword(ValueError):
    """A keyword that is not known here."""


class _Undecided(Exception):
    """A value that only `jsonschema` decides about."""


UNDECIDED = (_Undecided, TypeError)  # a list or an object is in no set


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _integer(value: Any) -> bool:
    if isinstance(value, float):
        return value.is_integer()
    return isinstance(value, int) and not isinstance(value, bool)


_EXACT: Mapping[str, frozenset[type]] = {
    "object": frozenset({dict}),
    "array": frozenset({list}),
    "string": frozenset({str}),
    "boolean": frozenset({bool}),
    "null": frozenset({type(None)}),
    "number": frozenset({int, float}),
    "integer": frozenset({int}),
}
"""Of each type of JSON Schema the Python types whose every value is of it."""
_OF_OBJECTS = frozenset({"properties", "required", "additionalProperties"})
_OF_TEXTS = frozenset({"type", "minLength", "pattern"})
_TYPES: Mapping[str, Fits] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": _number,
    "integer": _integer,
}


def compiled(name: str, load: Load) -> Fits:
    """Return what is true only of data that fit the schema NAME. Raises UnknownKeyword."""
    predicate = _Compiler(load).of(name, load(name))

    def fits(data: Any) -> bool:
        try:
            return predicate(data)
        except UNDECIDED:
            return False

    return fits


def compiled_schema(schema: Mapping[str, Any], keywords: Mapping[str, Maker]) -> Fits:
    """Return the same of a schema without references, in which further KEYWORDS may stand.

    It raises one of UNDECIDED, or what the keywords do, for a value that it has no answer for: so
    they are known only where they must hold, and not within `not`, `contains`, a choice or a
    condition, where jsonschema may have asked more of them, or less. Raises UnknownKeyword.
    """
    return _Compiler(_no_schema, keywords).of("", schema)


def _no_schema(_name: str) -> Mapping[str, Any]:
    raise UnknownKeyword("$ref")


def _not_here(keyword: str) -> Maker:
    def make(_demanded: Any) -> Fits:
        raise UnknownKeyword(keyword)

    return make


def _of_any_value(schema: Any) -> frozenset[type]:
    """The Python types whose every value fits: those of a schema that names types alone."""
    if not isinstance(schema, dict) or set(schema) - _SILENT != {"type"}:
        return frozenset()
    named = schema["type"]
    kinds = [named] if isinstance(named, str) else named
    return frozenset().union(*(_EXACT[one] for one in kinds))


def _text(schema: Mapping[str, Any]) -> Fits:
    """What is true of a text as long as is asked for, that the pattern is found in."""
    least = schema.get("minLength", 0)
    if "pattern" not in schema:
        return lambda value: isinstance(value, str) and len(value) >= least
    search = re.compile(schema["pattern"]).search
    return lambda value: (
        isinstance(value, str) and search(value) is not None and len(value) >= least
    )


def _each(parts: list[Fits]) -> Fits:
    """True of what every part is true of, in their order."""
    if not parts:
        return lambda _: True
    if len(parts) == 1:
        return parts[0]
    first, rest = parts[0], _each(parts[1:])
    return lambda value: first(value) and rest(value)


def _either(parts: list[Fits]) -> Fits:
    """True of what one part at least is true of."""
    if len(parts) == 1:
        return parts[0]
    first, rest = parts[0], _either(parts[1:])
    return lambda value: first(value) or rest(value)


class _Compiler:
    def __init__(self, load: Load, keywords: Mapping[str, Maker] | None = None) -> None:
        self._load = load
        self._keywords = keywords or {}

    def _parts(self, root: str, schemas: Iterable[Any]) -> list[Fits]:
        """Of schemas that need not hold."""
        apart = _Compiler(self._load, {name: _not_here(name) for name in self._keywords})
        return [apart.of(root, one) for one in schemas]

    def of(self, root: str, schema: Any) -> Fits:
        """`root` is the name of the schema that a reference starts from."""
        if isinstance(schema, bool):
            return lambda _: schema
        parts: list[Fits] = []
        done = {"then", "else", *_OF_OBJECTS}
        if not _OF_OBJECTS.isdisjoint(schema):
            parts.append(self._object(root, schema))
            done |= {"type"} if schema.get("type") == "object" else set()
        elif schema.get("type") == "string" and "pattern" not in self._keywords:
            parts.append(_text(schema))
            done |= _OF_TEXTS
        elif schema.get("type") == "array" and "items" in schema:
            parts.append(self._array(root, schema))
            done |= {"type", "items"}
        for key in schema:
            if key in _SILENT or key in done:
                continue
            maker = getattr(self, "_" + key.replace("$", ""), None)
            if key in self._keywords:
                parts.append(self._keywords[key](schema[key]))
            elif maker is not None:
                parts.append(maker(root, schema[key], schema))
            else:
                raise UnknownKeyword(key)
        return _each(parts)

    def _object(self, root: str, schema: Mapping[str, Any]) -> Fits:
        properties, extra = schema.get("properties", {}), schema.get("additionalProperties", True)
        known = {
            key: (_of_any_value(part), self.of(root, part)) for key, part in properties.items()
        }
        required = frozenset(schema.get("required", ()))
        other = (_of_any_value(extra), self.of(root, extra))
        no_object, many, field = schema.get("type") != "object", len(known), known.get

        # So many, and each of them known, are all that are required: no set is compared.
        all_known = extra is False and required == known.keys()

        def fits(value: Any) -> bool:
            if not isinstance(value, dict):
                return no_object
            if len(value) != many if all_known else not required <= value.keys():
                return False
            for key, inner in value.items():  # all() of a generator takes twice as long
                types, fits_field = field(key, other)
                if type(inner) not in types and not fits_field(inner):
                    return False
            return True

        return fits

    def _array(self, root: str, schema: Mapping[str, Any]) -> Fits:
        each = self.of(root, schema["items"])
        return lambda value: isinstance(value, list) and all(map(each, value))

    def _ref(self, root: str, where: str, _: Any) -> Fits:
        file, _hash, pointer = where.partition("#")
        # A file that is referred to lies in the folder of all schemas, wherever the reference is.
        name = PurePosixPath(file).name.removesuffix(".schema.json") if file else root
        found: Any = self._load(name)
        for part in pointer.split("/")[1:]:
            found = found[part]
        return self.of(name, found)

    def _type(self, _root: str, named: Any, _: Any) -> Fits:
        if isinstance(named, str):
            return _TYPES[named]
        return _either([_TYPES[one] for one in named])

    def _enum(self, _root: str, values: list[Any], _: Any) -> Fits:
        if any(isinstance(one, (dict, list)) for one in values):
            raise UnknownKeyword("a constant with parts")
        texts = frozenset(one for one in values if isinstance(one, str))
        others = [(isinstance(one, bool), one) for one in values if not isinstance(one, str)]
        if not others:
            return texts.__contains__

        def fits(value: Any) -> bool:
            if isinstance(value, str):
                return value in texts
            return (isinstance(value, bool), value) in others  # true is no 1, 1.0 is one

        return fits

    def _const(self, root: str, value: Any, schema: Any) -> Fits:
        return self._enum(root, [value], schema)

    def _pattern(self, _root: str, pattern: str, _: Any) -> Fits:
        search = re.compile(pattern).search
        return lambda value: not isinstance(value, str) or search(value) is not None

    def _minLength(self, _root: str, least: int, _: Any) -> Fits:  # noqa: N802  (the keyword)
        return lambda value: not isinstance(value, str) or len(value) >= least

    def _maxLength(self, _root: str, most: int, _: Any) -> Fits:  # noqa: N802
        return lambda value: not isinstance(value, str) or len(value) <= most

    def _minItems(self, _root: str, least: int, _: Any) -> Fits:  # noqa: N802
        return lambda value: not isinstance(value, list) or len(value) >= least

    def _maxItems(self, _root: str, most: int, _: Any) -> Fits:  # noqa: N802
        return lambda value: not isinstance(value, list) or len(value) <= most

    def _minProperties(self, _root: str, least: int, _: Any) -> Fits:  # noqa: N802
        return lambda value: not isinstance(value, dict) or len(value) >= least

    def _maxProperties(self, _root: str, most: int, _: Any) -> Fits:  # noqa: N802
        return lambda value: not isinstance(value, dict) or len(value) <= most

    def _minimum(self, _root: str, least: float, _: Any) -> Fits:
        return lambda value: not (_number(value) and value < least)

    def _maximum(self, _root: str, most: float, _: Any) -> Fits:
        return lambda value: not (_number(value) and value > most)

    def _exclusiveMinimum(self, _root: str, least: float, _: Any) -> Fits:  # noqa: N802
        return lambda value: not (_number(value) and value <= least)

    def _exclusiveMaximum(self, _root: str, most: float, _: Any) -> Fits:  # noqa: N802
        return lambda value: not (_number(value) and value >= most)

    def _uniqueItems(self, _root: str, wanted: bool, _: Any) -> Fits:  # noqa: N802
        def fits(value: Any) -> bool:
            if not wanted or not isinstance(value, list) or len(value) < 2:
                return True
            if not all(isinstance(one, str) for one in value):
                raise _Undecided  # 1 and true are two values, 1 and 1.0 are one
            return len(set(value)) == len(value)

        return fits

    def _items(self, root: str, schema: Any, _: Any) -> Fits:
        each = self.of(root, schema)
        return lambda value: not isinstance(value, list) or all(map(each, value))

    def _contains(self, root: str, schema: Any, whole: Mapping[str, Any]) -> Fits:
        if not {"minContains", "maxContains"}.isdisjoint(whole):
            raise UnknownKeyword("minContains")
        (one,) = self._parts(root, [schema])
        return lambda value: not isinstance(value, list) or any(map(one, value))

    def _not(self, root: str, schema: Any, _: Any) -> Fits:
        (refused,) = self._parts(root, [schema])
        return lambda value: not refused(value)

    def _propertyNames(self, root: str, schema: Any, _: Any) -> Fits:  # noqa: N802
        each = self.of(root, schema)
        return lambda value: not isinstance(value, dict) or all(map(each, value))

    def _dependentRequired(self, _root: str, wanted: Mapping[str, list[str]], _: Any) -> Fits:  # noqa: N802
        return lambda value: (
            not isinstance(value, dict)
            or all(value.keys() >= set(others) for key, others in wanted.items() if key in value)
        )

    def _allOf(self, root: str, schemas: list[Any], _: Any) -> Fits:  # noqa: N802
        return _each([self.of(root, one) for one in schemas])

    def _anyOf(self, root: str, schemas: list[Any], _: Any) -> Fits:  # noqa: N802
        return _either(self._parts(root, schemas))

    def _oneOf(self, root: str, schemas: list[Any], _: Any) -> Fits:  # noqa: N802
        parts = self._parts(root, schemas)
        named = [one.get("type") for one in schemas if isinstance(one, dict)]
        if sorted(map(str, named)) == ["null", "string"]:  # nothing is both
            return _either(parts)
        return lambda value: sum(part(value) for part in parts) == 1

    def _if(self, root: str, condition: Any, schema: Mapping[str, Any]) -> Fits:
        cases = (condition, schema.get("then", True), schema.get("else", True))
        asked, yes, no = self._parts(root, cases)
        return lambda value: yes(value) if asked(value) else no(value)
