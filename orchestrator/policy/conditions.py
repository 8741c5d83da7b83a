"""The relations that a condition may demand, each a small pure function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

from orchestrator.model.fact import parse_timestamp
from orchestrator.model.policy import Condition

_VERSIONS = {"SSLv3": 0, "TLSv1": 1, "TLSv1.1": 2, "TLSv1.2": 3, "TLSv1.3": 4}
MISSING = object()


class Undecidable(ValueError):
    """A value that the relation cannot be asked about: the answer is unknown."""


@dataclass(frozen=True)
class Violation:
    """What was found instead; `offending` is the part of `actual` that breaks the condition."""

    actual: Any
    expected: Any
    offending: Any


def _rank(value: Any) -> float:
    if isinstance(value, str) and value in _VERSIONS:
        return _VERSIONS[value]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Undecidable(f"{value!r} is neither a number nor a TLS version")
    return float(value)


def _items(value: Any) -> list[Any]:
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


def _matches(name: Any, patterns: list[Any]) -> bool:
    return any(fnmatchcase(str(name), str(pattern)) for pattern in patterns)


Relation = Callable[[Any, Any, datetime], Any]
"""(actual, expected, now) → None when it holds, else the offending part."""

_HOLDS = None


def _only(actual: Any, expected: Any, now: datetime) -> Any:
    patterns = _items(expected)
    return [item for item in _items(actual) if not _matches(item, patterns)] or _HOLDS


def _includes(actual: Any, expected: Any, now: datetime) -> Any:
    wanted = expected if isinstance(expected, list) else [expected]
    have = _items(actual)
    return [f"{item} is missing" for item in wanted if item not in have] or _HOLDS


def _when(holds: Callable[[Any, Any, datetime], bool]) -> Relation:
    return lambda actual, expected, now: _HOLDS if holds(actual, expected, now) else [actual]


def _same(actual: Any, expected: Any) -> bool:
    return type(actual) is type(expected) and bool(actual == expected)


RELATIONS: dict[str, Relation] = {
    "equals": _when(lambda a, e, _: _same(a, e)),
    "not_equals": _when(lambda a, e, _: not _same(a, e)),
    "at_least": _when(lambda a, e, _: _rank(a) >= _rank(e)),
    "at_most": _when(lambda a, e, _: _rank(a) <= _rank(e)),
    "one_of": _when(lambda a, e, _: a in _items(e)),
    "none_of": _when(lambda a, e, _: a not in _items(e)),
    "only": _only,
    "includes": _includes,
    "empty": lambda a, _, __: list(a) or _HOLDS if isinstance(a, (list, str)) else [a],
    "not_empty": _when(lambda a, _, __: isinstance(a, (list, str, dict)) and len(a) > 0),
    "hours_left_at_least": _when(lambda a, e, now: _moment(a) - now >= timedelta(hours=_rank(e))),
    "age_hours_at_most": _when(lambda a, e, now: now - _moment(a) <= timedelta(hours=_rank(e))),
    "age_days_at_least": _when(lambda a, e, now: now - _moment(a) >= timedelta(days=_rank(e))),
}


def lookup(data: Any, path: str) -> list[Any]:
    """Return the values at a dotted path; `name[]` stands for every element of a list.

    A missing field gives `[MISSING]`; an empty list under `[]` gives `[]`.
    """
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


def violations(
    condition: Condition, data: dict[str, Any], expected: Any, now: datetime
) -> list[Violation]:
    """Return how `data` breaks the condition (empty: it holds).

    Raises Undecidable when the field is missing or has no value the relation can be asked about.
    A list with no element to look at breaks a condition on its elements: nothing was proven.
    """
    values = lookup(data, condition.field)
    if not values:
        return [Violation("nothing", expected, "nothing")]
    broken: list[Violation] = []
    for actual in values:
        if actual is MISSING or actual is None:
            raise Undecidable(f"the fact has no {condition.field}")
        offending = RELATIONS[condition.op](actual, expected, now)
        if offending is not _HOLDS:
            broken.append(Violation(actual, expected, offending))
    return broken
