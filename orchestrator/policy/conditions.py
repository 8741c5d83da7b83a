"""What a condition's schema finds in a fact's data: JSON Schema with the keywords of our own."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

from orchestrator.model.conditions import TLS_VERSIONS, resolve
from orchestrator.model.fact import parse_timestamp
from orchestrator.model.patterns import check_pattern
from orchestrator.model.policy import Condition

MISSING = object()
_LONGEST_SEARCHED = 4_000
_TIMED = ("minimumHoursLeft", "maximumAgeHours", "minimumAgeDays")
_NEVER = datetime.min.replace(tzinfo=UTC)
Validator = Any
"""A jsonschema validator class, which that library has no type for."""


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


def validator_of(condition: Condition, parameters: Mapping[str, Any], now: datetime) -> Validator:
    """Return the validator of a condition, the values of parameters in their places, at this time.

    Environments of one evaluation share most of them, and making one takes longer than using it.
    """
    values = json.dumps([parameters[name] for name in condition.named]) if condition.named else "[]"
    timed = any(keyword in condition.text for keyword in _TIMED)
    return _validator(condition.text, condition.named, values, now if timed else None)


@lru_cache(maxsize=4096)
def _validator(schema: str, named: tuple[str, ...], values: str, now: datetime | None) -> Validator:
    parameters = dict(zip(named, json.loads(values), strict=True))
    return _dialect(now or _NEVER)(resolve(json.loads(schema), parameters))


@lru_cache(maxsize=8)
def _dialect(now: datetime) -> Validator:
    """The validator class of conditions, for an evaluation at this time."""

    def when(holds: Callable[[datetime, timedelta], bool], unit: str) -> Judge:
        return lambda demanded, value: (
            [] if holds(_moment(value), timedelta(**{unit: demanded})) else [value]
        )

    judges: dict[str, Judge] = {
        "pattern": _pattern,
        "onlyMatching": _only_matching,
        "includes": _includes,
        "minimumVersion": _minimum_version,
        "minimumHoursLeft": when(lambda moment, span: moment - now >= span, "hours"),
        "maximumAgeHours": when(lambda moment, span: now - moment <= span, "hours"),
        "minimumAgeDays": when(lambda moment, span: now - moment >= span, "days"),
    }
    return extend(  # type: ignore[no-untyped-call]
        Draft202012Validator, {name: _keyword(judge) for name, judge in judges.items()}
    )


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


def violations(field: str, validator: Validator, data: Mapping[str, Any]) -> list[Violation]:
    """Return how `data` breaks a condition on a field (empty: it holds).

    Raises Undecidable when the field is missing, is null, or is of another type than the condition
    asks about. A list with no element to look at breaks a condition on its elements: nothing was
    proven.
    """
    values = lookup(data, field)
    if not values:
        return [Violation("nothing", "something", ("nothing",))]
    broken: list[Violation] = []
    for actual in values:
        if actual is MISSING or actual is None:
            raise Undecidable(f"the fact has no {field}")
        for keyword, errors in _by_keyword(validator, actual).items():
            if keyword == "type":
                raise Undecidable(f"{field} is {actual!r}, of another type than is asked about")
            offending = tuple(part for error in errors for part in _parts(error))
            broken.append(Violation(actual, errors[0].validator_value, offending))
    return broken


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
