"""Backups that are restored into a twin which cannot reach production."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.drivers.pgbackrest import PgBackRest
from orchestrator.drivers.postgresql import PostgreSQL
from orchestrator.drivers.postgresql_integrity import amcheck, checksums
from orchestrator.drivers.processes import send
from orchestrator.drivers.secrets import Secrets
from orchestrator.drivers.twin import Twin, namespace_of, reap, twins_directory
from orchestrator.drivers.twin_database import TwinDatabase
from orchestrator.drivers.twin_egress import egress, is_reached, production_endpoints
from orchestrator.drivers.twin_erp import TwinErp
from orchestrator.model.environment import Environment
from orchestrator.model.errors import InfrastructureError, InputError, Refused
from orchestrator.probes.invariants import check_invariants, row_counts
from orchestrator.probes.twin_client import transact


@pytest.fixture(scope="module")
def target(environment: Environment, servers: dict[str, PostgreSQL]) -> Iterator[str]:
    """A full backup in both repositories, then a point in time, then damage after it."""
    backups = PgBackRest(environment, environment.sites["a"])
    for repository in (1, 2):
        assert not backups.backup("full", repository=repository).error
    with servers["a"].connect_local("erp") as connection:
        # As the schema's owner: a table of another is what a policy refuses, in later restores too.
        with connection.transaction():
            connection.execute("SET LOCAL ROLE orchestrator")
            connection.execute("DROP TABLE IF EXISTS anlan.twin_test")
            connection.execute(
                "CREATE TABLE anlan.twin_test AS SELECT generate_series(1, 1000) AS n"
            )
        time.sleep(0.2)
        moment = datetime.now(UTC)
        time.sleep(0.2)
        connection.execute("DELETE FROM anlan.twin_test")
    servers["a"].switch_wal()
    backups.check()
    yield f"{moment:%Y-%m-%d %H:%M:%S.%f}+00"
    with servers["a"].connect_local("erp") as connection:
        connection.execute("DROP TABLE anlan.twin_test")


@pytest.fixture
def twin(environment: Environment, request: pytest.FixtureRequest) -> Iterator[Twin]:
    site = environment.sites["b"]
    made = Twin(environment, request.node.name, site.machine.service_user)
    made.create(ttl_seconds=600)
    yield made
    made.remove()
    assert made.residue().is_zero


def test_a_twin_is_restored_to_a_time_and_its_erp_works_without_reaching_production(
    environment: Environment, secrets: Secrets, twin: Twin, target: str
) -> None:
    site = environment.sites["b"]
    database = TwinDatabase(environment, twin, site, 2)
    database.restore(type_="time", target=target)
    database.start()
    with database.connect_local("erp") as connection:
        assert connection.execute("SELECT count(*) FROM anlan.twin_test").fetchone() == (1000,)
        assert not any(result.violations for result in check_invariants(connection))
        assert row_counts(connection).counts["account_invoice"] > 0
        for setting, wanted in (
            ("archive_mode", "off"),
            ("primary_conninfo", ""),
            ("synchronous_standby_names", ""),
        ):
            assert connection.execute(f"SHOW {setting}".encode()).fetchone() == (wanted,)
    assert amcheck(
        database.bin_directory, twin.run_directory, database.port, "erp", twin.service_user
    ).is_sound

    erp = TwinErp(twin, site, database.port)
    assert erp.start().pid == erp.start().pid
    assert transact(erp, secrets.login_of("erp-probe"), "test").is_complete

    report = egress(twin, [database.repository_endpoint()])
    assert report.is_isolated
    assert all(endpoint.outside for endpoint in report.endpoints)
    assert len(report.endpoints) == len(production_endpoints(environment)) - 1
    namespaces = {
        entry.command: namespace_of(entry.pid)
        for entry in twin.processes()
        if entry.command != "socat"
    }
    assert {"postgres", "trytond"} <= namespaces.keys()
    assert set(namespaces.values()) == {report.twin_namespace}
    assert report.twin_namespace != report.host_namespace

    database.stop()
    assert checksums(database.bin_directory, twin.data_directory, twin.service_user).is_sound
    page = next(
        path
        for path in sorted((twin.data_directory / "base").glob("*/*"))
        if path.stat().st_size >= 16384 and path.name.isdigit()
    )
    with page.open("r+b") as stream:
        stream.seek(8192 + 4000)
        stream.write(b"\xde\xad\xbe\xef")
    bad = checksums(database.bin_directory, twin.data_directory, twin.service_user)
    assert bad.bad_blocks == 1
    assert not bad.is_sound
    assert page.name in bad.problems[0]


def test_the_gateway_is_the_only_way_out(environment: Environment, twin: Twin) -> None:
    """Opening a gateway to production is what the egress probe exists to notice."""
    assert egress(twin).is_isolated
    door = production_endpoints(environment)["front_door"]
    assert is_reached(*door)
    twin.open_gateway(*door)
    report = egress(twin)
    assert [endpoint.name for endpoint in report.endpoints if endpoint.inside] == ["front_door"]
    assert not report.is_isolated


def test_production_is_not_restored_over_without_the_lease(environment: Environment) -> None:
    backups = PgBackRest(environment, environment.sites["a"])
    place = environment.sites["a"].database.data_directory
    with pytest.raises(Refused, match="needs the lease"):
        backups.restore(place, repository=1)
    with pytest.raises(Refused, match="not valid"):
        backups.restore(place, repository=1, token=-1)


def test_a_target_that_the_backup_cannot_reach_is_an_error(
    environment: Environment, twin: Twin, target: str
) -> None:
    assert target
    database = TwinDatabase(environment, twin, environment.sites["a"], 1)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    database.restore(type_="time", target=f"{tomorrow:%Y-%m-%d %H:%M:%S}+00")
    with pytest.raises(InfrastructureError, match=r"did not open: .*before configured recovery"):
        database.start()


def test_a_repository_that_does_not_exist_is_an_input_error(
    environment: Environment, twin: Twin
) -> None:
    with pytest.raises(InputError, match="no repository 7"):
        TwinDatabase(environment, twin, environment.sites["a"], 7).repository_endpoint()


def test_verify_finds_a_damaged_backup(environment: Environment, target: str) -> None:
    assert target
    backups = PgBackRest(environment, environment.sites["a"])
    assert backups.verify(2).is_sound
    store = environment.sites["b"].machine.directory / "data" / "objectstore"
    label = backups.latest(2).label
    bundle = next(path for path in sorted(store.rglob(f"*{label}/bundle/*")) if path.is_file())
    whole = bundle.read_bytes()
    try:
        with bundle.open("r+b") as stream:
            stream.seek(len(whole) // 2)
            stream.write(b"\0" * 8)
        result = backups.verify(2)
        assert not result.is_sound
        assert any(label in problem for problem in result.problems)
    finally:
        with bundle.open("r+b") as stream:
            stream.write(whole)
    assert backups.verify(2).is_sound


def test_a_twin_ends_when_its_time_is_over_though_nobody_removes_it(
    environment: Environment,
) -> None:
    twin = Twin(environment, "short-lived", environment.sites["a"].machine.service_user)
    twin.create(ttl_seconds=1.0)
    expires = twin.expires
    twin.create(ttl_seconds=600.0)
    assert twin.expires == expires
    twin.spawn("sleeper", ["sleep", "600"])
    assert len(twin.processes()) == 2
    deadline = time.monotonic() + 15
    while not twin.residue().is_zero:
        assert time.monotonic() < deadline, twin.residue()
        time.sleep(0.1)


def test_the_reaper_removes_expired_and_half_made_twins_and_no_others(
    environment: Environment, twin: Twin
) -> None:
    parent: Path = twins_directory(environment)
    half_made = parent / "halfmade"
    (half_made / "run").mkdir(parents=True, exist_ok=True)
    expired = Twin(environment, "expired", twin.service_user)
    expired.create(ttl_seconds=1.0)
    orphan = expired.spawn("sleeper", ["sleep", "600"])
    # Its holder dies first, so that nobody but the reaper can remove it.
    for entry in expired.processes():
        if entry.pid != orphan.pid:
            send(entry.pid, signal.SIGKILL)
    time.sleep(1.1)
    assert set(reap(environment)) == {half_made, expired.directory}
    assert expired.residue().is_zero
    assert not orphan.is_alive()
    assert not half_made.exists()
    assert len(twin.processes()) == 1
