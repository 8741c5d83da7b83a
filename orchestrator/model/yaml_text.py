"""YAML as people write it: safe, without duplicate keys, and errors that name the line."""

from __future__ import annotations

import re
from typing import Any

import yaml

from orchestrator.model.errors import InputError

# By libyaml where PyYAML has it: the catalogues of controls take a tenth of the time.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _StrictLoader(_Loader):  # type: ignore[misc, valid-type]
    """Safe YAML without duplicate keys (the last one would win silently)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for position, key in enumerate(keys):
            if key in keys[:position]:
                mark = node.value[position][0].start_mark
                raise yaml.constructor.ConstructorError(
                    "while reading a mapping", node.start_mark, f"duplicate key {key!r}", mark
                )
        made: dict[Any, Any] = super().construct_mapping(node, deep)
        return made


def load_yaml(text: str, *, file: str = "") -> Any:
    """Parse safe YAML without duplicate keys. Raises InputError with file, line and column."""
    try:
        return yaml.load(text, _StrictLoader)  # noqa: S506  (a SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        path = f"line {mark.line + 1} column {mark.column + 1}" if mark else ""
        raise InputError(f"not YAML: {error.problem}", file=file, path=path) from error
    except yaml.YAMLError as error:
        raise InputError(f"not YAML: {error}", file=file) from error


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
