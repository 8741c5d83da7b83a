"""The files of a bundle or a run directory, each parsed and checked once however often it is asked.

What is returned is shared: nobody may change it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.evidence import layout
from orchestrator.model.canonical import StrictJsonError, sha256, strict_lines, strict_loads
from orchestrator.model.fact import Fact, fact_from_json
from orchestrator.model.schema import check


class Contents(dict[str, bytes]):
    """Path → content; it must not be changed once it was asked."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        super().__init__(files)
        self._parsed: dict[str, Any] = {}
        self._fit: set[tuple[str, str]] = set()
        self._digests: dict[str, str] = {}
        self._facts: dict[str, tuple[Fact, ...]] = {}
        self._raw: dict[str, Any] | None = None

    def json(self, path: str) -> Any:
        """Return the parsed strict JSON of a file. Raises KeyError, StrictJsonError."""
        if path not in self._parsed:
            self._parsed[path] = strict_loads(self[path])
        return self._parsed[path]

    def json_or_none(self, path: str) -> Any:
        """Return the parsed strict JSON of a file, None for one that is missing or no JSON."""
        try:
            return self.json(path) if path in self else None
        except StrictJsonError:
            return None

    def document(self, path: str, schema: str, *, file: str = "") -> Any:
        """Return the parsed JSON of a file that fits its schema.

        Raises KeyError, StrictJsonError; InputError that names `file`.
        """
        data = self.json(path)
        if (path, schema) not in self._fit:
            check(data, schema, file=file)
            self._fit.add((path, schema))
        return data

    def facts(self, path: str, schema: str) -> tuple[Fact, ...]:
        """Return the facts of a file that fits its schema; each is digested once for all who ask.

        Raises KeyError, StrictJsonError; InputError that names the file.
        """
        if path not in self._facts:
            document = self.document(path, schema, file=path)
            self._facts[path] = tuple(map(fact_from_json, document["facts"]))
        return self._facts[path]

    def take_to_fit(self, path: str, schema: str) -> None:
        """Know that a file fits its schema: it was found the same as a document that does."""
        self._fit.add((path, schema))

    def digest(self, path: str) -> str:
        """Return the sha256 of a file. Raises KeyError."""
        if path not in self._digests:
            self._digests[path] = sha256(self[path])
        return self._digests[path]

    def raw(self) -> dict[str, Any]:
        """Return file stem → parsed content of raw/*.json and *.jsonl. Raises StrictJsonError.

        A line of a *.jsonl that is no JSON is left out: a kill tore it while it was written.
        """
        if self._raw is None:
            self._raw = self._read_raw()
        return self._raw

    def _read_raw(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for path, content in self.items():
            if not path.startswith(layout.RAW):
                continue
            name = path.removeprefix(layout.RAW)
            if name.endswith(".json"):
                found[name.removesuffix(".json")] = self.json(path)
            elif name.endswith(".jsonl"):
                found[name.removesuffix(".jsonl")] = strict_lines(content)
        return found


def contents_of(files: Mapping[str, bytes]) -> Contents:
    """Return the files as Contents: themselves if they are."""
    return files if isinstance(files, Contents) else Contents(files)


def raw_of(files: Mapping[str, bytes]) -> dict[str, Any]:
    """Return `Contents.raw` of files."""
    return contents_of(files).raw()
