"""Facts about what a run recovered: the survivor of a failover, or a twin."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from pathlib import PurePosixPath

from orchestrator.collect import (
    audit_log_database,
    database_access,
    database_roles,
    database_settings,
    erp_access,
    erp_accounts,
)
from orchestrator.collect.kinds import collected
from orchestrator.collect.observe import Collector, Observation
from orchestrator.drivers.postgresql_connection import Connection
from orchestrator.drivers.twin_database import TwinDatabase
from orchestrator.model.environment import Environment
from orchestrator.model.fact import Fact
from orchestrator.model.recovered import TWIN


def collect_twin(
    environment: Environment, database: TwinDatabase, wanted: Collection[tuple[str, str]]
) -> list[Fact]:
    """Return the facts of these kinds and subjects, asked as superuser by the twin's socket."""
    name, days = database.site.database.name, environment.retention.audit_days
    accounts = {"root", database.site.machine.service_user}
    log = PurePosixPath(database.twin.log_directory / "postgresql.log")
    source = f"twin {database.twin.run_id}, as postgres by the local socket"

    def one(
        kind: str, subject: str, place: str, read: Callable[[Connection], Observation]
    ) -> Collector:
        def look() -> Observation:
            with database.connect_local(place) as connection:
                return read(connection)

        return Collector(kind, subject, source, f"as of kind {kind} in production", look)

    server, erp = (f"{TWIN}/postgresql", "postgres"), ("common/erp", name)
    collectors = [
        one("audit_log", *server, partial(audit_log_database.read, retention_days=days, only=log)),
        one("database_roles", *server, database_roles.read),
        one("database_settings", *server, partial(database_settings.read, accounts=accounts)),
        one("erp_access", *erp, erp_access.read),
        one("erp_accounts", *erp, erp_accounts.read),
        # It asks in each database.
        Collector(
            "database_access",
            server[0],
            source,
            "as of kind database_access in production",
            partial(database_access.read, database.connect_local),
        ),
    ]
    return collected(one for one in collectors if (one.kind, one.subject) in wanted)
