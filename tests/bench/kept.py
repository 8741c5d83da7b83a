"""A restore onto the kept twin against one from nothing, after a hundredth of the data changed.

The data are a hundred tables of one size, one of which is changed: pgBackRest fetches a changed
file whole, so a change that is strewn over all files saves nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.drivers.pgbackrest import PgBackRest
from orchestrator.drivers.postgresql import PostgreSQL
from orchestrator.drivers.twin import Twin
from orchestrator.drivers.twin_database import TwinDatabase
from tests.bench.figures import Parts
from tests.bench.place import Place

_REPOSITORY = 2  # as the drill's default
_TABLES = 100
# A row's 32 digits, its number and PostgreSQL's own part of it.
_ROW_BYTES = 73


@contextmanager
def filled(place: Place, size_bytes: int) -> Iterator[None]:
    """Tables of that size, and a backup of them; they are dropped afterwards."""
    rows = size_bytes // _ROW_BYTES // _TABLES
    _everywhere(
        place,
        "CREATE TABLE IF NOT EXISTS anlan.bench_kept_{n} AS SELECT g AS n, "
        f"md5(random()::text) AS v FROM generate_series(1, {rows}) g",
    )
    # Else autovacuum would change the other tables between the backups.
    _everywhere(place, "VACUUM (FREEZE, ANALYZE) anlan.bench_kept_{n}")
    try:
        _backup(place, "full")
        yield
    finally:
        _everywhere(place, "DROP TABLE IF EXISTS anlan.bench_kept_{n}")


def change(place: Place, number: int) -> None:
    """Change every row of one table, and take an incremental backup."""
    table = f"anlan.bench_kept_{number % _TABLES}"
    with PostgreSQL(place.environment, place.environment.starting_primary).connect_local(
        place.environment.starting_primary.database.name
    ) as connection:
        connection.execute(f"UPDATE {table} SET v = md5(v)".encode())
        connection.execute(b"CHECKPOINT")
    _backup(place, "incr")


def restore(place: Place, *, kept: bool) -> Parts:
    """Restore the newest backup, kept or new, until it takes writes; the parts in seconds."""
    environment = place.environment
    site = list(environment.sites.values())[_REPOSITORY - 1]
    latest = PgBackRest(environment, environment.starting_primary).latest(_REPOSITORY)
    twin = Twin(environment, f"bench kept={kept}", site.machine.service_user, kept=kept)
    try:
        twin.create(ttl_seconds=3600)
        database = TwinDatabase(environment, twin, site, _REPOSITORY)
        done = database.restore(type_="immediate", backup_label=latest.label)
        opened = database.start()
        database.stop()
    finally:
        twin.remove()
    return {
        "open": done.seconds + opened,
        "fetch": done.seconds,
        "fetched_bytes": float(done.fetched_bytes),
        "present_bytes": float(done.present_bytes),
    }


def _backup(place: Place, type_: str) -> None:
    environment = place.environment
    PgBackRest(environment, environment.starting_primary).backup(type_, repository=_REPOSITORY)


def _everywhere(place: Place, statement: str) -> None:
    site = place.environment.starting_primary
    with PostgreSQL(place.environment, site).connect_local(site.database.name) as connection:
        for number in range(_TABLES):
            connection.execute(statement.format(n=number).encode())
