"""A fact: what was observed of one subject, when, from which source, by which query.

A fact that could not be observed is kept too (`unreachable`, `denied`): it is never a pass.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Literal

from orchestrator.model.canonical import digest
from orchestrator.model.schema import check

FactStatus = Literal["observed", "unreachable", "denied"]
SCHEMA = "anlan.fact/v1"
DOCUMENT_SCHEMA = "anlan.facts/v1"


def timestamp(moment: datetime) -> str:
    """Return an aware time as UTC text with milliseconds: `2026-11-24T20:00:00.000Z`."""
    if moment.tzinfo is None:
        raise ValueError(f"a time without zone is not accepted: {moment.isoformat()}")
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_timestamp(text: str) -> datetime:
    """Return the aware UTC time that ISO 8601 text with a zone names. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"a time without zone is not accepted: {text}")
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"a time that UTC does not have: {text}") from error


@dataclass(frozen=True)
class Fact:
    """One observation; `subject` is like `a/postgresql`, `data` has the shape of its kind."""

    kind: str
    subject: str
    collected_at: datetime
    source: str
    query: str
    row_count: int | None
    duration_ms: float
    status: FactStatus
    error: str = ""
    data: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form (schema `fact`)."""
        return {
            "schema": SCHEMA,
            "kind": self.kind,
            "subject": self.subject,
            "collected_at": timestamp(self.collected_at),
            "source": self.source,
            "query": self.query,
            "row_count": self.row_count,
            "duration_ms": round(self.duration_ms, 3),
            "status": self.status,
            "error": self.error,
            "data": self.data,
        }

    @cached_property
    def digest(self) -> str:
        """sha256 of the canonical JSON form, 64 hex digits."""
        return digest(self.to_json())


def fact_from_json(data: dict[str, Any]) -> Fact:
    """Return the fact of a checked JSON form."""
    values = {key: value for key, value in data.items() if key != "schema"}
    return Fact(**{**values, "collected_at": parse_timestamp(data["collected_at"])})


def facts_document(facts: Iterable[Fact]) -> dict[str, Any]:
    """Return what `raw/facts.json` holds: every fact, in order of kind and subject."""
    ordered = sorted(facts, key=lambda fact: (fact.kind, fact.subject, fact.collected_at))
    return {"schema": DOCUMENT_SCHEMA, "facts": [fact.to_json() for fact in ordered]}


def parse_facts(document: Any, *, file: str = "") -> list[Fact]:
    """Return the facts of a `raw/facts.json`. Raises InputError with file and path."""
    check(document, "facts", file=file)
    return [fact_from_json(fact) for fact in document["facts"]]
