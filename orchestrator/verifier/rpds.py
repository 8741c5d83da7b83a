"""A stand-in for `rpds` (Rust) in the standalone verifier: what `referencing` and `jsonschema` use.

Persistent containers: each change returns a new one. Here each is a copy, which is slower for
large ones and the same otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any, Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class HashTrieMap(Mapping[K, V], Generic[K, V]):
    """A persistent mapping."""

    def __init__(self, values: Mapping[K, V] | Iterable[tuple[K, V]] = (), **named: Any) -> None:
        self._values: dict[Any, Any] = dict(values, **named)

    @classmethod
    def convert(cls, values: Any) -> HashTrieMap[Any, Any]:
        """Return the mapping itself, or one of these values."""
        return values if isinstance(values, cls) else cls(values)

    def __getitem__(self, key: K) -> V:
        found: V = self._values[key]
        return found

    def __iter__(self) -> Iterator[K]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(frozenset(self._values.items()))

    def insert(self, key: K, value: V) -> HashTrieMap[K, V]:
        """Return the mapping with one more."""
        return HashTrieMap({**self._values, key: value})

    def remove(self, key: K) -> HashTrieMap[K, V]:
        """Return the mapping without a key. Raises KeyError."""
        rest = dict(self._values)
        del rest[key]
        return HashTrieMap(rest)

    def discard(self, key: K) -> HashTrieMap[K, V]:
        """Return the mapping without a key, which need not be there."""
        return self.remove(key) if key in self._values else self

    def update(self, values: Any = (), **named: Any) -> HashTrieMap[K, V]:
        """Return the mapping with these values too."""
        return HashTrieMap({**self._values, **dict(values, **named)})


class HashTrieSet(Set[K], Generic[K]):
    """A persistent set."""

    def __init__(self, values: Iterable[K] = ()) -> None:
        self._values = dict.fromkeys(values)

    def __contains__(self, value: object) -> bool:
        return value in self._values

    def __iter__(self) -> Iterator[K]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(frozenset(self._values))

    def insert(self, value: K) -> HashTrieSet[K]:
        """Return the set with one more."""
        return HashTrieSet([*self._values, value])

    def remove(self, value: K) -> HashTrieSet[K]:
        """Return the set without a value. Raises KeyError."""
        rest = dict(self._values)
        del rest[value]
        return HashTrieSet(rest)

    def update(self, *others: Iterable[K]) -> HashTrieSet[K]:
        """Return the set with these values too."""
        return HashTrieSet([*self._values, *(value for other in others for value in other)])


class List(Generic[K]):
    """A persistent list; it grows at its front."""

    def __init__(self, *values: Any) -> None:
        self._values: tuple[K, ...] = tuple(values[0]) if len(values) == 1 else values

    def __iter__(self) -> Iterator[K]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, List) and self._values == other._values

    def __hash__(self) -> int:
        return hash(self._values)

    @property
    def first(self) -> K:
        """The value at the front. Raises IndexError."""
        return self._values[0]

    @property
    def rest(self) -> List[K]:
        """The list without the value at the front."""
        return List(self._values[1:])

    def push_front(self, value: K) -> List[K]:
        """Return the list with one more at its front."""
        return List((value, *self._values))

    def drop_first(self) -> List[K]:
        """Return the list without the value at the front. Raises IndexError."""
        if not self._values:
            raise IndexError("empty list")
        return self.rest
