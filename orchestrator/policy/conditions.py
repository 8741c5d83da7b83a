"""What a condition's schema finds in a fact's data: JSON Schema with the keywords of our own."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from functools import lru_cache, partial
from typing import Any

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

from orchestrator.model.conditions import TLS_VERSIONS, resolve
from orchestrator.model.errors import InputError
from orchestrator.model.fact import parse_timestamp
from orchestrator.model.fits import UNDECIDED, Fits, Maker, compiled_schema
from orchestrator.model.patterns import check_pattern
from orchestrator.model.policy import Condition

MISSING = object()
_LONGEST_SEARCHED = 4_000
_TIMED = ("minimumHoursLeft", "maximumAgeHours", "minimumAgeDays")
_NEVER = datetime.min.replace(tzinfo=UTC)
Validator = Any
"""A jsonschema validator class, which that library has no type for."""
_Schema = tuple[str, tuple[str, ...], str]
"""The JSON of a schema, the names of its parameters, and the JSON of the list of their values."""


class Undecidable(ValueError):
    """A value that the condition cannot be asked about: the answer is unknown."""


@dataclass(frozen=True)
class Violation:
    """What was found instead; `offending` is the part of `actual` that breaks the condition."""

    actual: Any
    expected: Any
    offending: tuple[Any, ...]


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise Undecidable(f"{value!r} is not a list")
    return value


def _moment(value: Any) -> datetime:
    if not isinstance(value, str):
        raise Undecidable(f"{value!r} is not a time")
    try:
        return parse_timestamp(value)
    except ValueError as error:
        raise Undecidable(str(error)) from error


def _rank(version: Any) -> int:
    if version not in TLS_VERSIONS:
        raise Undecidable(f"{version!r} is not a TLS version")
    return TLS_VERSIONS.index(version)


def _only_matching(patterns: list[str], value: Any) -> list[Any]:
    return [
        item
        for item in _list(value)
        if item not in patterns and not any(fnmatchcase(str(item), one) for one in patterns)
    ]


def _includes(wanted: list[Any], value: Any) -> list[Any]:
    have = _list(value)
    return [f"{item} is missing" for item in wanted if item not in have]


def _pattern(pattern: str, value: Any) -> list[Any]:
    if not isinstance(value, str):
        return []
    if len(value) > _LONGEST_SEARCHED:
        raise Undecidable(f"a text of {len(value)} characters is not searched")
    check_pattern(pattern)  # that of a parameter is known here first
    return [] if re.search(pattern, value) else [value]


def _minimum_version(version: str, value: Any) -> list[Any]:
    return [value] if _rank(value) < _rank(version) else []


Judge = Callable[[Any, Any], list[Any]]
"""(what is demanded, the value) → what offends, nothing when it holds. Raises Undecidable."""


def _keyword(judge: Judge) -> Callable[..., Iterator[ValidationError]]:
    def check(_: Validator, demanded: Any, value: Any, __: Any) -> Iterator[ValidationError]:
        for offending in judge(demanded, value):
            yield ValidationError("", instance=offending)

    return check


@dataclass(frozen=True)
class Rule:
    """What a condition demands of a field at a time, the values of parameters in their places.

    `fits` is a quick yes; of a no, or an error, `validator` alone knows whether it is one, and why.
    """

    field: str
    message: str
    fits: Fits
    validator: Callable[[], Validator]


def rule_of(condition: Condition, parameters: Mapping[str, Any], now: datetime) -> Rule:
    """Return a condition with the values of its parameters, at this time.

    Evaluations share nearly all of their rules, and making one takes longer than using it.
    """
    named = condition.named
    values = json.dumps([parameters[name] for name in named]) if named else "[]"
    schema = (condition.text, named, values)
    if _is_timed(condition.text):
        return _rule(condition.field, condition.message, schema, now)
    return _timeless(condition.field, condition.message, schema)


@lru_cache(maxsize=4096)
def _is_timed(schema: str) -> bool:
    return any(keyword in schema for keyword in _TIMED)


@lru_cache(maxsize=4096)
def _timeless(field: str, message: str, schema: _Schema) -> Rule:
    return _rule(field, message, schema, _NEVER)


def _rule(field: str, message: str, schema: _Schema, now: datetime) -> Rule:
    return Rule(field, message, _fits(_resolved(*schema), now), partial(_validator, schema, now))


def _fits(schema: Any, now: datetime) -> Fits:
    """What is true of values that hold, or of none where jsonschema must be asked."""
    keywords = {name: _maker(judge) for name, judge in _judges(now).items()}
    try:
        return compiled_schema(schema, {**keywords, "pattern": _searched})
    except (InputError, ValueError, TypeError, LookupError, AttributeError):
        return lambda _: False  # a parameter that cannot stand there: said by jsonschema


def _maker(judge: Judge) -> Maker:
    return lambda demanded: lambda value: not judge(demanded, value)


def _searched(pattern: str) -> Fits:
    """`_pattern` of a text that is short enough, the pattern looked at once."""
    check_pattern(pattern)
    search = re.compile(pattern).search
    return lambda value: (
        not isinstance(value, str)
        or (len(value) <= _LONGEST_SEARCHED and search(value) is not None)
    )


def _resolved(schema: str, named: tuple[str, ...], values: str) -> Any:
    return resolve(json.loads(schema), dict(zip(named, json.loads(values), strict=True)))


@lru_cache(maxsize=4096)
def _validator(schema: _Schema, now: datetime) -> Validator:
    return _dialect(now)(_resolved(*schema))


@lru_cache(maxsize=8)
def _dialect(now: datetime) -> Validator:
    """The validator class of conditions, for an evaluation at this time."""
    return extend(  # type: ignore[no-untyped-call]
        Draft202012Validator, {name: _keyword(judge) for name, judge in _judges(now).items()}
    )


@lru_cache(maxsize=8)
def _judges(now: datetime) -> dict[str, Judge]:
    """How each keyword that is ours, or stricter than JSON Schema's, is judged at this time."""

    def when(holds: Callable[[datetime, timedelta], bool], unit: str) -> Judge:
        return lambda demanded, value: (
            [] if holds(_moment(value), timedelta(**{unit: demanded})) else [value]
        )

    return {
        "pattern": _pattern,
        "onlyMatching": _only_matching,
        "includes": _includes,
        "minimumVersion": _minimum_version,
        "minimumHoursLeft": when(lambda moment, span: moment - now >= span, "hours"),
        "maximumAgeHours": when(lambda moment, span: now - moment <= span, "hours"),
        "minimumAgeDays": when(lambda moment, span: now - moment >= span, "days"),
    }


def lookup(data: Any, path: str) -> list[Any]:
    """Return the values at a dotted path; `name[]` stands for every element of a list.

    A missing field gives `[MISSING]`; an empty list under `[]` gives `[]`.
    """
    if isinstance(data, dict) and path in data:
        return [data[path]]  # as most paths are: one name
    values: list[Any] = [data]
    for part in path.split("."):
        name, every = part.removesuffix("[]"), part.endswith("[]")
        found: list[Any] = []
        for value in values:
            inner = value.get(name, MISSING) if isinstance(value, dict) else MISSING
            if every and isinstance(inner, list):
                found.extend(inner)
            else:
                found.append(inner)
        values = found
    return values


def violations(rule: Rule, data: Mapping[str, Any]) -> list[Violation]:
    """Return how `data` breaks a condition on its field (empty: it holds).

    Raises Undecidable when the field is missing, is null, or is of another type than the condition
    asks about. A list with no element to look at breaks a condition on its elements: nothing was
    proven.
    """
    values = lookup(data, rule.field)
    if not values:
        return [Violation("nothing", "something", ("nothing",))]
    broken: list[Violation] = []
    for actual in values:
        if actual is MISSING or actual is None:
            raise Undecidable(f"the fact has no {rule.field}")
        if _holds(rule, actual):
            continue
        for keyword, errors in _by_keyword(rule.validator(), actual).items():
            if keyword == "type":
                raise Undecidable(
                    f"{rule.field} is {actual!r}, of another type than is asked about"
                )
            offending = tuple(part for error in errors for part in _parts(error))
            broken.append(Violation(actual, errors[0].validator_value, offending))
    return broken


def _holds(rule: Rule, actual: Any) -> bool:
    try:
        return rule.fits(actual)
    except (*UNDECIDED, Undecidable, OverflowError):
        return False


def _by_keyword(validator: Validator, actual: Any) -> dict[str, list[ValidationError]]:
    found: dict[str, list[ValidationError]] = {}
    for error in validator.iter_errors(actual):
        found.setdefault(error.schema_path[0], []).append(error)
    return found


def _parts(error: ValidationError) -> list[Any]:
    """What of the value offends: of a list that must be short, each element."""
    if error.validator == "maxItems" and isinstance(error.instance, list):
        return list(error.instance)
    return [error.instance]
