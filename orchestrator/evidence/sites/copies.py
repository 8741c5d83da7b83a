"""The copies of an object that sites hold, and the first of them that is what it must be.

A bucket keeps every version. What its owner's keys may still do is put a newer one on top, so the
newest counts for nothing by itself: content is taken when it fits a hash or a signature.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from orchestrator.evidence.bundle import Limits
from orchestrator.model.canonical import sha256
from orchestrator.model.errors import InfrastructureError

_Result = TypeVar("_Result")
_MOST_BYTES = Limits().archive_bytes


@dataclass(frozen=True)
class Copy:
    """One version of one object at one site."""

    site: str
    key: str
    version: str
    size_bytes: int


@dataclass(frozen=True)
class PassedOver:
    """A copy that was not taken, and why."""

    copy: Copy
    why: str

    def to_json(self) -> dict[str, str]:
        """Return the JSON form."""
        one = self.copy
        return {"site": one.site, "key": one.key, "version": one.version, "why": self.why}


@dataclass
class Copies:
    """What the sites hold: key → its copies, of each site the newest first; `fetch` reads one.

    `passed_over` grows with what is found to be wrong.
    """

    there: Mapping[str, tuple[Copy, ...]]
    fetch: Callable[[Copy], bytes]
    passed_over: list[PassedOver] = field(default_factory=list)

    @classmethod
    def of(cls, every: Iterable[Copy], fetch: Callable[[Copy], bytes]) -> Copies:
        """Return the copies of a list that is in that order."""
        there: dict[str, list[Copy]] = {}
        for one in every:
            there.setdefault(one.key, []).append(one)
        return cls({key: tuple(copies) for key, copies in there.items()}, fetch)

    def contents(self, key: str) -> Iterator[tuple[Copy, bytes]]:
        """Yield the copies of a key that can be read; of the same content one alone."""
        known: set[str] = set()
        for one in self.there.get(key, ()):
            if one.size_bytes > _MOST_BYTES:
                self.pass_over(one, f"has {one.size_bytes} bytes: more than evidence may have")
                continue
            try:
                content = self.fetch(one)
            except InfrastructureError as error:
                self.pass_over(one, error.what)
                continue
            if (digest := sha256(content)) not in known:
                known.add(digest)
                yield one, content

    def first(self, key: str, *accept: Callable[[bytes], _Result]) -> _Result | None:
        """Return what `accept` makes of the first copy that it takes; None when it takes none.

        It raises ValueError for one that it does not take. Of several `accept` the second is asked
        when the first took no copy at all.
        """
        whys: dict[Copy, str] = {}
        for one in accept:
            for copy, content in self.contents(key):
                try:
                    taken = one(content)
                except ValueError as error:
                    whys[copy] = str(error)
                    continue
                whys.pop(copy, None)
                self._pass(whys)
                return taken
        self._pass(whys)
        return None

    def pass_over(self, one: Copy, why: str) -> None:
        """Note a copy that is not what it must be, once."""
        if all(known.copy != one for known in self.passed_over):
            self.passed_over.append(PassedOver(one, why))

    def _pass(self, whys: Mapping[Copy, str]) -> None:
        for one, why in whys.items():
            self.pass_over(one, why)
