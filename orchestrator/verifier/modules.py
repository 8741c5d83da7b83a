"""Which modules of this package a module needs: itself, what it imports, and so on."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path


def needed(root: Path, first: str) -> dict[str, Path]:
    """Return name → file of every module below `root` (a package's folder) that `first` needs.

    Imports inside of functions count, those for type checkers do not. With a module come the
    packages that it is in, as Python imports them.
    """
    found: dict[str, Path] = {}
    waiting = [first]
    while waiting:
        name = waiting.pop()
        file = _file(root, name)
        if name in found or file is None:
            continue
        found[name] = file
        waiting.append(name.rpartition(".")[0])
        waiting += _imported(ast.parse(file.read_text(encoding="utf-8")))
    return dict(sorted(found.items()))


def _file(root: Path, name: str) -> Path | None:
    """The file of a module of the package; None for a name that is no module of it."""
    package, *parts = name.split(".")
    if package != root.name:
        return None
    base = root.joinpath(*parts)
    candidates = (base / "__init__.py", base.with_suffix(".py"))
    return next((file for file in candidates if file.is_file()), None)


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for other in node.orelse:
                yield from _imported(other)
        elif isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{one.name}" for one in node.names)
        else:
            yield from _imported(node)
