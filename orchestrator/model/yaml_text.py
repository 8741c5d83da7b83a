"""YAML as people write it: safe, without duplicate keys, and errors that name the line.

Bounded, since the policies of a bundle are YAML that others wrote: its length, its depth, and how
many values it has when an alias is counted as what it stands for.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from orchestrator.model.errors import InputError

_MOST_CHARACTERS = 4 * 2**20
_MOST_LEVELS = 50
_MOST_VALUES = 500_000
_MERGE = "tag:yaml.org,2002:merge"


class _Strict:
    """Safe YAML without duplicate keys (the last one would win silently) and without merge keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)  # type: ignore[attr-defined]
            wrong = ""
            if key_node.tag == _MERGE:  # a few nested ones fill any memory
                wrong = "a merge key"
            elif isinstance(key, (list, dict)):
                wrong = "a key that is no text"
            elif key in seen:
                wrong = f"duplicate key {key!r}"
            if wrong:
                raise yaml.constructor.ConstructorError(
                    "while reading a mapping", node.start_mark, wrong, key_node.start_mark
                )
            seen.add(key)
        made: dict[Any, Any] = super().construct_mapping(node, deep)  # type: ignore[misc]
        return made


class _Loader(_Strict, yaml.SafeLoader):
    pass


class _FastLoader(_Strict, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """By libyaml where PyYAML has it: the catalogues of controls take a tenth of the time."""


def load_yaml(text: str, *, file: str = "") -> Any:
    """Parse safe YAML without duplicate keys. Raises InputError with file, line and column."""
    if len(text) > _MOST_CHARACTERS:
        raise InputError(f"{len(text)} characters of YAML: over the limit", file=file)
    try:
        try:
            data = yaml.load(text, _FastLoader)  # noqa: S506  (a SafeLoader)
        except yaml.YAMLError:
            # In the words of PyYAML itself: they are the same on every machine.
            data = yaml.load(text, _Loader)  # noqa: S506  (a SafeLoader)
        _size(data, {}, 0)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        path = f"line {mark.line + 1} column {mark.column + 1}" if mark else ""
        raise InputError(f"not YAML: {error.problem}", file=file, path=path) from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise InputError(f"not YAML: {error}", file=file) from error
    except RecursionError as error:
        raise InputError("not YAML: nested too deep", file=file) from error
    return data


def _size(value: Any, known: dict[int, int], level: int) -> int:
    """How many values there are, each alias counted as what it stands for. Raises ValueError."""
    if not isinstance(value, (dict, list)):
        return 1
    if level > _MOST_LEVELS:
        raise ValueError(f"nested deeper than {_MOST_LEVELS} levels")
    if id(value) not in known:
        parts = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_size(part, known, level + 1) for part in parts)
    if known[id(value)] > _MOST_VALUES:
        raise ValueError(f"its aliases stand for more than {_MOST_VALUES} values")
    return known[id(value)]


def located(text: str, path: str, *, file: str) -> str:
    """Return `FILE:LINE` of a path like `$.policies[0].must[1].field` in a YAML text.

    The line is that of the deepest part that is there, so a missing key is told where it should
    stand. An alias stands where its anchor is.
    """
    node = yaml.compose(text, yaml.SafeLoader)
    line = node.start_mark.line + 1 if node else 1
    for name, position in re.findall(r"\.?([^.\[\]$]+)|\[(\d+)\]", path):
        if isinstance(node, yaml.MappingNode) and not position:
            found = [(key, value) for key, value in node.value if key.value == name]
        elif isinstance(node, yaml.SequenceNode) and position and int(position) < len(node.value):
            found = [(node.value[int(position)], node.value[int(position)])]
        else:
            break
        if not found:
            break
        line, node = found[0][0].start_mark.line + 1, found[0][1]
    return f"{file}:{line}"
