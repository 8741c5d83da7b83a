"""Facts about what a run recovered: the survivor of a failover, or a twin."""

from __future__ import annotations

from collections.abc import Callable, Iterable
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
from orchestrator.model.recovered import TWIN, TWIN_KINDS


def collect_twin(
    environment: Environment, database: TwinDatabase, kinds: Iterable[str]
) -> list[Fact]:
    """Return the facts of these kinds that a twin has, asked as superuser by its socket."""
    name, days = database.site.database.name, environment.retention.audit_days
    accounts = {"root", database.site.machine.service_user}
    log = PurePosixPath(database.twin.log_directory / "postgresql.log")

    def of_server(read: Callable[[Connection], Observation], place: str) -> Observation:
        with database.connect_local(place) as connection:
            return read(connection)

    of_postgres, of_erp = partial(of_server, place="postgres"), partial(of_server, place=name)
    looks: dict[str, tuple[str, Callable[[], Observation]]] = {
        "audit_log": (
            f"{TWIN}/postgresql",
            lambda: of_postgres(lambda one: audit_log_database.read(one, days, only=log)),
        ),
        "database_access": (
            f"{TWIN}/postgresql",
            lambda: database_access.read(database.connect_local),
        ),
        "database_roles": (f"{TWIN}/postgresql", lambda: of_postgres(database_roles.read)),
        "database_settings": (
            f"{TWIN}/postgresql",
            lambda: of_postgres(lambda one: database_settings.read(one, accounts)),
        ),
        "erp_access": ("common/erp", lambda: of_erp(erp_access.read)),
        "erp_accounts": ("common/erp", lambda: of_erp(erp_accounts.read)),
    }
    source = f"twin {database.twin.run_id}, as postgres by the local socket"
    return collected(
        Collector(kind, looks[kind][0], source, f"as of kind {kind} in production", looks[kind][1])
        for kind in sorted(TWIN_KINDS & set(kinds))
    )
