"""Kind `clock_offset`: how far each site's clock is from that of the host that asks.

Data: `offset_seconds` (positive: the site's clock is ahead), `uncertainty_seconds` (half of the
quickest round trip: the site may have read its clock at any moment of it) and `deviation_seconds`
(the most that the offset can be, its sign dropped). Two sites differ by the difference of theirs.

The way of asking is that of RFC 5905 (NTP), section 8, with one stamp at the far side.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from functools import partial

from orchestrator.collect.observe import Collector, Observation, database_login
from orchestrator.drivers.postgresql import PostgreSQL
from orchestrator.drivers.postgresql_connection import value
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment, Site

KIND = "clock_offset"
_SAMPLES = 5
_NOW = "SELECT clock_timestamp()"


def collectors(environment: Environment, secrets: Secrets) -> list[Collector]:
    """One collector for each site, whose clock its database server reads."""
    return [
        Collector(
            kind=KIND,
            subject=f"{name}/postgresql",
            source=f"{name}/postgresql, database {site.database.name}, as orchestrator by TLS",
            query=f"{_NOW}, {_SAMPLES} times; the quickest answer counts",
            look=partial(look, environment, secrets, site),
        )
        for name, site in environment.sites.items()
    ]


def look(environment: Environment, secrets: Secrets, site: Site) -> Observation:
    """Ask one server. Raises InfrastructureError, psycopg.Error."""
    with PostgreSQL(environment, site).connect(database_login(secrets)) as connection:
        samples = [sample(partial(value, connection, _NOW)) for _ in range(_SAMPLES)]
    offset, uncertainty = min(samples, key=lambda found: found[1])
    data = {
        "offset_seconds": round(offset, 6),
        "uncertainty_seconds": round(uncertainty, 6),
        "deviation_seconds": round(abs(offset) + uncertainty, 6),
    }
    return Observation(data, len(samples))


def sample(ask: Callable[[], datetime]) -> tuple[float, float]:
    """(offset, uncertainty) in seconds of a clock that `ask` reads.

    The round trip is measured on the monotonic clock: a step of the wall clock cannot shorten it.
    """
    wall, began = time.time(), time.monotonic()
    there = ask()
    half = (time.monotonic() - began) / 2
    return there.timestamp() - (wall + half), half
