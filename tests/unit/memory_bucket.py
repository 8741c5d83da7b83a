"""A versioned bucket in memory: what `orchestrator.engine.mirror.Bucket` says, and it can die."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from orchestrator.drivers.objectstore import ObjectVersion

_BEGIN = datetime(2026, 11, 25, tzinfo=UTC)


class Died(BaseException):
    """The process was killed: nothing catches it."""


@dataclass
class MemoryBucket:
    """`requests` counts what was asked; the process dies before put number `dies_at`."""

    content: list[tuple[str, bytes]] = field(default_factory=list)
    requests: int = 0
    puts: int = 0
    dies_at: int | None = None

    def newest(self, key: str, most_bytes: int | None = None) -> bytes | None:
        self.requests += 1
        found = (content for name, content in reversed(self.content) if name == key)
        return next((content[:most_bytes] for content in found), None)

    def versions(self, prefix: str = "", delimiter: str = "") -> tuple[ObjectVersion, ...]:
        self.requests += 1
        found = []
        newest: set[str] = set()
        for number, (key, content) in reversed(list(enumerate(self.content))):
            rest = key.removeprefix(prefix)
            if key.startswith(prefix) and not (delimiter and delimiter in rest):
                modified = _BEGIN + timedelta(seconds=number)
                version = ObjectVersion(
                    key, str(number), len(content), modified, is_latest=key not in newest
                )
                found.append(version)
                newest.add(key)
        return tuple(sorted(found, key=lambda one: one.key))

    def get(self, key: str, version: str) -> bytes:
        self.requests += 1
        name, content = self.content[int(version)]
        assert name == key
        return content

    def put(self, key: str, content: bytes) -> None:
        if self.puts == self.dies_at:
            raise Died
        self.requests += 1
        self.puts += 1
        self.content.append((key, content))

    def put_once(self, key: str, content: bytes) -> bool:
        there = next((old for name, old in reversed(self.content) if name == key), None)
        if there == content:
            self.requests += 2
            return False
        self.put(key, content)
        return True
