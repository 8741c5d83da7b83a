"""The files of a bundle: each parsed, checked and digested once."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from orchestrator.evidence.contents import Contents
from orchestrator.model.canonical import StrictJsonError
from orchestrator.model.errors import InputError
from orchestrator.model.fact import Fact, facts_document

FACT = Fact(
    kind="clock_offset",
    subject="a/clock",
    collected_at=datetime(2026, 11, 25, tzinfo=UTC),
    source="a",
    query="",
    row_count=None,
    duration_ms=1.5,
    status="observed",
    data={"offset_ms": 1},
)


def contents(document: object) -> Contents:
    return Contents({"raw/facts.json": json.dumps(document).encode()})


def test_the_facts_of_a_file_are_those_that_were_written_and_the_same_for_all_who_ask() -> None:
    files = contents(facts_document([FACT]))
    found = files.facts("raw/facts.json", "facts")
    assert [one.digest for one in found] == [FACT.digest]
    assert files.facts("raw/facts.json", "facts") is found


def test_facts_that_do_not_fit_their_schema_are_refused_however_often_they_are_asked() -> None:
    document = facts_document([FACT])
    document["facts"][0]["status"] = "fine"
    files = contents(document)
    for _ in range(2):
        with pytest.raises(InputError, match="fine"):
            files.facts("raw/facts.json", "facts")


def test_facts_that_two_readers_would_read_differently_are_refused() -> None:
    files = Contents({"raw/facts.json": b'{"facts": [], "facts": [1]}'})
    with pytest.raises(StrictJsonError, match="duplicate key"):
        files.facts("raw/facts.json", "facts")
