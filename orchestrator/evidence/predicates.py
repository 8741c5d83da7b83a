"""The types of predicates that are signed, and the schema that is published for each.

What does not fit its schema is neither signed nor believed, so that another implementation may
rely on the published shape (docs/reference/predicates.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.model.errors import InputError
from orchestrator.model.schema import check, nearest

_BASE = "https://anlan.dev/predicates/"
PLAN = f"{_BASE}plan/v1"
SCHEDULE = f"{_BASE}schedule/v1"
APPROVAL = f"{_BASE}approval/v1"
WAIVER = f"{_BASE}waiver/v1"
DR_DRILL = f"{_BASE}dr-drill/v1"
CONTROL_RESULT = f"{_BASE}control-result/v1"
ACCESS_REVIEW = f"{_BASE}access-review/v1"
WAIVER_WITHDRAWAL = f"{_BASE}waiver-withdrawal/v1"
LEGAL_HOLD = f"{_BASE}legal-hold/v1"
TOMBSTONE = f"{_BASE}tombstone/v1"

SCHEMAS: Mapping[str, str] = {
    kind: f"predicates/{kind.removeprefix(_BASE).removesuffix('/v1')}"
    for kind in (
        *(PLAN, SCHEDULE, APPROVAL, WAIVER, WAIVER_WITHDRAWAL, DR_DRILL, CONTROL_RESULT),
        *(ACCESS_REVIEW, LEGAL_HOLD, TOMBSTONE),
    )
}
"""Predicate type → name of its schema."""


def check_predicate(predicate_type: str, predicate: Any, *, file: str = "") -> None:
    """Return if a predicate fits the schema of its type; raises InputError, also for no type."""
    if predicate_type not in SCHEMAS:
        raise InputError(
            f"{predicate_type!r} is no predicate type of ours",
            nearest(predicate_type, SCHEMAS) or "see docs/reference/predicates.md",
            file=file,
        )
    check(predicate, SCHEMAS[predicate_type], file=file)


def check_statement(data: Any, *, file: str = "") -> None:
    """Return if data are a statement whose predicate fits its type. Raises InputError."""
    check(data, "statement", file=file)
    check_predicate(data["predicateType"], data["predicate"], file=file)
