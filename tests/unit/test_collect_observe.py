"""Whatever happens to a collector, there is a fact; and how far a log must reach back."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from botocore.exceptions import ClientError
from hvac.exceptions import Forbidden
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.collect.log_coverage import Coverage, gaps
from orchestrator.collect.observe import Collector, Observation, observe
from orchestrator.model.errors import InfrastructureError
from orchestrator.model.fact import facts_document
from orchestrator.model.schema import check

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


def collector(look: Any) -> Collector:
    return Collector("object_lock", "a/object_store/backup", "a store", "what", look)


def raising(error: Exception) -> Collector:
    def look() -> Observation:
        raise error

    return collector(look)


def caused(cause: Exception) -> InfrastructureError:
    error = InfrastructureError("the system said no", "do something")
    error.__cause__ = cause
    return error


def test_what_was_seen_becomes_an_observed_fact() -> None:
    data = {"bucket": "backup", "enabled": True, "mode": "COMPLIANCE", "days": 1}
    fact = observe(collector(lambda: Observation(data, 3)))
    assert (fact.status, fact.error, fact.row_count, fact.data) == ("observed", "", 3, data)
    check(facts_document([fact]), "facts")


def test_what_does_not_have_the_shape_of_its_kind_is_no_observation() -> None:
    fact = observe(collector(lambda: Observation({"days": "one"}, 3)))
    assert (fact.status, fact.data) == ("unreachable", {})
    assert "does not have the shape of a fact of kind object_lock" in fact.error


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InfrastructureError("it is down"), "unreachable"),
        (ConnectionRefusedError("refused"), "unreachable"),
        (TimeoutError(), "unreachable"),
        (KeyError("a fault of the collector itself"), "unreachable"),
        (caused(Forbidden("policy")), "denied"),
        (PermissionError("audit.log"), "denied"),
        (psycopg.errors.InsufficientPrivilege("permission denied for table"), "denied"),
        (caused(psycopg.OperationalError("password authentication failed for user")), "denied"),
        (caused(ClientError({"Error": {"Code": "AccessDenied"}}, "Get")), "denied"),
        (caused(ClientError({"Error": {"Code": "NoSuchBucket"}}, "Get")), "unreachable"),
    ],
)
def test_an_error_becomes_a_fact_that_tells_no_from_nothing(error: Exception, status: str) -> None:
    fact = observe(raising(error))
    assert fact.status == status
    assert fact.error
    assert (fact.data, fact.row_count) == ({}, None)
    check(facts_document([fact]), "facts")


def covered(created_days: float, oldest_days: float | None, retention: int = 184) -> Any:
    oldest = None if oldest_days is None else NOW - timedelta(days=oldest_days)
    coverage = Coverage(NOW - timedelta(days=created_days), oldest, retention)
    return coverage.to_data(NOW)["uncovered_hours"]


def test_a_young_log_must_reach_back_to_the_creation_alone() -> None:
    assert covered(created_days=1, oldest_days=1) == 0
    assert covered(created_days=3, oldest_days=1) == 48


def test_an_old_log_must_reach_back_over_its_retention_alone() -> None:
    assert covered(created_days=400, oldest_days=184) == 0
    assert covered(created_days=400, oldest_days=180) == 96


def test_a_log_without_a_readable_entry_leaves_it_open() -> None:
    assert covered(created_days=1, oldest_days=None) is None


@given(created=st.floats(0, 1000), oldest=st.floats(0, 1000), retention=st.integers(1, 400))
def test_a_log_is_whole_exactly_when_it_is_old_enough(
    created: float, oldest: float, retention: int
) -> None:
    missing_days = min(created, retention) - oldest
    assert covered(created, oldest, retention) == pytest.approx(
        max(0.0, missing_days * 24), abs=0.01
    )


def test_days_without_a_file_are_found_between_their_neighbours() -> None:
    days = [date(2026, 11, day) for day in (20, 25, 21, 23)]
    assert gaps(days) == [
        (date(2026, 11, 21), date(2026, 11, 23)),
        (date(2026, 11, 23), date(2026, 11, 25)),
    ]
    assert gaps([date(2026, 2, 28), date(2026, 3, 1)]) == []
    assert gaps([]) == []
