"""A failover and a failback with the drivers alone, observed by the probes from outside."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.drivers.erp import Erp
from orchestrator.drivers.fencing import FencingProof, fence_database, fence_machine
from orchestrator.drivers.lease import LeaseFile
from orchestrator.drivers.postgresql import PostgreSQL, Reach, Role
from orchestrator.drivers.postgresql import primaries as primaries_now
from orchestrator.drivers.postgresql_connection import connect_read_write
from orchestrator.drivers.postgresql_standby import basebackup, configure_standby, rewind
from orchestrator.drivers.proxy import FrontDoor
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment
from orchestrator.model.errors import InfrastructureError, InputError, Refused
from orchestrator.probes import availability, ledger, primaries
from orchestrator.verdict.availability import first_ok_after
from orchestrator.verdict.journal import read_journal
from orchestrator.verdict.ledger import first_acknowledged_after, reconcile
from orchestrator.verdict.primaries import judge

Servers = dict[str, PostgreSQL]
RUN = "contract-failover"


def proof_of(site: str) -> FencingProof:
    """A proof that nobody made: what a careless caller might hand over."""
    return FencingProof(site, datetime.now(UTC), "machine", {})


@pytest.fixture
def stale(token: int) -> int:
    return token - 1


def test_a_living_machine_is_not_fenced(environment: Environment, servers: Servers) -> None:
    with pytest.raises(Refused, match="site a is not fenced") as caught:
        fence_machine(environment.sites["a"], servers["a"].machine)
    assert "postgres" in str(caught.value)
    with pytest.raises(Refused, match="database of site a is not fenced"):
        fence_database(environment.sites["a"], servers["a"].machine)


def test_promotion_is_refused_without_a_proof_about_the_old_primary(
    servers: Servers, token: int
) -> None:
    with pytest.raises(Refused, match="the old primary is a"):
        servers["b"].promote(token, proof_of("b"))
    with pytest.raises(Refused, match="holds 0 checks"):
        servers["b"].promote(token, proof_of("a"))
    old = replace(
        proof_of("a"), at=datetime.now(UTC) - timedelta(minutes=2), checks={"port_refused": True}
    )
    with pytest.raises(Refused, match="120 s old"):
        servers["b"].promote(token, old)
    assert servers["b"].role() is Role.STANDBY


def test_destructive_verbs_refuse_a_stale_token(
    environment: Environment, servers: Servers, stale: int
) -> None:
    a, b = servers["a"], servers["b"]
    for verb in (
        lambda: a.machine.kill(stale),
        lambda: b.promote(stale, proof_of("a")),
        lambda: rewind(b, stale, a.site),
        lambda: basebackup(b, stale, a.site),
        lambda: FrontDoor(environment).route("b", stale),
        lambda: FrontDoor(environment).drain(stale, timeout_seconds=0),
    ):
        with pytest.raises(Refused, match="not valid"):
            verb()
    assert a.role() is Role.PRIMARY
    assert FrontDoor(environment).active() == "a"


def test_the_data_directory_of_a_running_server_is_not_touched(
    servers: Servers, token: int
) -> None:
    a, b = servers["a"], servers["b"]
    for verb in (
        lambda: rewind(b, token, a.site),
        lambda: basebackup(b, token, a.site),
        lambda: configure_standby(b, a.site),
    ):
        with pytest.raises(Refused, match="runs"):
            verb()


def test_status_of_a_healthy_pair(environment: Environment, servers: Servers) -> None:
    a, b = servers["a"], servers["b"]
    assert primaries_now([a, b]) == ("a",)
    (standby,) = a.replicas()
    assert (standby.application_name, standby.state) == ("site_b", "streaming")
    assert standby.sync_state == ("sync" if environment.tier == "VIP" else "async")
    assert b.receiver().streaming
    assert a.slots() == {"site_b": True}
    with pytest.raises(Refused, match="in use"):
        a.drop_slot("site_b")
    assert a.reach() is Reach.ANSWERS
    assert b.timeline() == a.timeline()


def test_a_replication_slot_is_made_once_and_dropped_once(servers: Servers) -> None:
    a = servers["a"]
    for _ in range(2):
        a.create_slot("test_slot")
    assert a.slots()["test_slot"] is False
    for _ in range(2):
        a.drop_slot("test_slot")
    assert "test_slot" not in a.slots()


def test_the_front_door_knows_its_sites_only(environment: Environment, token: int) -> None:
    with pytest.raises(InputError, match="no site 'c'"):
        FrontDoor(environment).route("c", token)
    gone = replace(environment.front_door, runtime_socket=environment.root / "nowhere.sock")
    with pytest.raises(InfrastructureError, match="does not answer"):
        FrontDoor(replace(environment, front_door=gone)).active()


def test_a_frozen_database_is_silent_and_goes_on_though_nobody_thaws_it(
    servers: Servers, token: int, stale: int
) -> None:
    a = servers["a"]
    with pytest.raises(Refused, match="not valid"):
        a.machine.freeze_program(a.settings.program, stale, 1.0)
    frozen = a.machine.freeze_program(a.settings.program, token, 1.0)
    assert frozen.processes > 5
    assert a.reach(0.3) is Reach.SILENT
    assert a.reach(3.0) is Reach.ANSWERS
    assert (time.monotonic_ns() - frozen.ended_ns) / 1e9 < 2.0
    assert a.role() is Role.PRIMARY

    a.machine.freeze_program(a.settings.program, token)
    assert a.reach(0.3) is Reach.SILENT
    a.machine.thaw_program(a.settings.program)
    assert a.reach(3.0) is Reach.ANSWERS


@pytest.mark.usefixtures("at_home")
def test_a_killed_program_leaves_its_machine_alive(servers: Servers, token: int) -> None:
    a = servers["a"]
    assert a.machine.kill_program(a.settings.program, token).processes > 5
    assert (a.reach(), a.machine.is_running()) == (Reach.REFUSED, True)
    assert a.machine.program_processes(a.settings.program) == []
    # A stale postmaster.pid is no proof of a clean stop.
    with pytest.raises(Refused, match="postmaster_pid_absent false"):
        fence_database(a.site, a.machine)
    assert a.start() is Role.PRIMARY
    # The ERPs' connections are dead.
    for server in servers.values():
        server.machine.program_restart(server.site.erp.program)


def test_a_drained_door_lets_the_request_at_work_end_and_takes_no_other(
    environment: Environment, servers: Servers, secrets: Secrets, token: int
) -> None:
    door = FrontDoor(environment)
    client = Erp(environment.front_door.url, "erp", environment.tls.ca_file)
    client.login(secrets.login_of("erp-probe"))
    with ThreadPoolExecutor() as pool, servers["a"].connect_local("erp") as connection:
        with connection.transaction():
            # The ERP's write waits for this lock.
            connection.execute("LOCK TABLE party_party IN SHARE ROW EXCLUSIVE MODE")
            at_work = pool.submit(client.create, "party.party", [{"name": "contract-drain"}])
            time.sleep(0.5)
            try:
                assert door.drain(token, timeout_seconds=0.3) == 1
                assert door.active() is None
                with pytest.raises(InfrastructureError):
                    Erp(client.url, "erp", environment.tls.ca_file).version()
                ended = pool.submit(door.drain, token, timeout_seconds=10)
                time.sleep(0.3)
                assert not ended.done()
            except BaseException:
                door.route("a", token)
                raise
        ids = at_work.result(timeout=10)
        assert ended.result(timeout=10) == 0
    door.route("a", token)
    client.delete("party.party", ids)
    assert door.active() == "a"


@pytest.fixture
def probes(environment: Environment, secrets: Secrets, tmp_path: Path) -> Iterator[Path]:
    """The three probes run in the background during the test; their rows are removed after it."""
    database, erp = secrets.database_login(), secrets.login_of("erp-probe")
    with connect_read_write(environment, database) as connection:
        ledger.prepare(connection)
    running = [
        ledger.start(tmp_path / "ledger", environment, database, RUN),
        availability.start(tmp_path / "availability", environment, erp, RUN),
        primaries.start(tmp_path / "primaries", environment, database, RUN),
    ]
    time.sleep(2.0)
    yield tmp_path
    for probe in running:
        probe.stop()
        assert not probe.is_running()
    with connect_read_write(environment, database) as connection:
        assert ledger.cleanup(connection, RUN) > 0
        assert ledger.cleanup(connection, RUN) == 0
    client = Erp(environment.front_door.url, "erp", environment.tls.ca_file)
    client.login(erp)
    assert availability.cleanup(client, RUN) > 0
    assert availability.cleanup(client, RUN) == 0


@pytest.mark.usefixtures("at_home")
def test_failover_loses_nothing_and_failback_rejoins_the_old_primary(
    environment: Environment, servers: Servers, secrets: Secrets, token: int, probes: Path
) -> None:
    a, b = servers["a"], servers["b"]

    fault = a.machine.kill(token)
    proof = fence_machine(environment.sites["a"], a.machine)
    assert proof.checks == {
        "machine_processes": 0,
        "supervisor_down": True,
        "port_refused": True,
    }
    assert a.role() is Role.DOWN
    assert a.reach() is Reach.REFUSED
    promotion = b.promote(token, proof)
    b.machine.program_restart(environment.sites["b"].erp.program)
    FrontDoor(environment).route("b", token)
    assert FrontDoor(environment).active() == "b"
    assert b.promote(token, proof).already
    assert b.synchronous_names() == ""

    deadline = time.monotonic() + 30
    while first_ok_after(read_journal(probes / "availability"), fault.ended_ns) is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(0.5)

    a.machine.start()
    a.machine.start()
    # A dead primary does not come back by itself.
    assert not a.machine.program_status("postgresql").is_up
    b.create_slot("site_a")
    assert rewind(a, token, b.site).method == "rewind"
    assert a.start() is Role.STANDBY
    b.await_streaming("site_a")
    for slot in a.slots():
        a.drop_slot(slot)
    b.set_synchronous(["site_a"])
    time.sleep(1.5)
    assert b.replicas()[0].sync_state == "sync"
    assert a.timeline() == b.timeline() == promotion.timeline

    # Judged in the system that survived.
    journal = read_journal(probes / "ledger")
    with connect_read_write(environment, secrets.database_login()) as connection:
        result = reconcile(journal, ledger.recovered_keys(connection, RUN), fault.began_ns)
    assert result.acknowledged == result.recovered > 100
    assert (result.lost, result.rpo_transactions, result.rpo_seconds) == ((), 0, 0.0)
    first_write = first_acknowledged_after(journal, fault.ended_ns)
    assert first_write is not None
    assert (first_write - fault.began_ns) / 1e9 < environment.targets.rto_seconds
    first_erp = first_ok_after(read_journal(probes / "availability"), fault.ended_ns)
    assert first_erp is not None
    assert (first_erp - fault.began_ns) / 1e9 < environment.targets.rto_seconds
    print(
        f"promote {promotion.seconds:.3f} s, kill to first write "
        f"{(first_write - fault.began_ns) / 1e9:.3f} s, to first ERP write "
        f"{(first_erp - fault.began_ns) / 1e9:.3f} s"
    )
    verdict = judge(read_journal(probes / "primaries"))
    assert verdict.dual == ()
    assert {span.site for span in verdict.spans} == {"a", "b"}
    assert all(verdict.answers.values())


def test_the_ledger_lists_by_key_what_was_acknowledged_and_is_gone(
    environment: Environment, secrets: Secrets, tmp_path: Path
) -> None:
    """Rows are deleted behind the ledger's back: it must say which, and how old the oldest is."""
    login = secrets.database_login()
    with connect_read_write(environment, login) as connection:
        ledger.prepare(connection)
        probe = ledger.start(tmp_path / "ledger", environment, login, "contract-lost", writers=2)
        time.sleep(1.0)
        probe.stop()
        journal = read_journal(probe.directory)
        acknowledged = [e for e in journal.entries if e["kind"] == "acknowledged"]
        doomed = acknowledged[-5:]
        connection.execute(
            "DELETE FROM anlan.ledger WHERE run = 'contract-lost' AND key = ANY(%s)",
            ([entry["key"] for entry in doomed],),
        )
        fault = int(doomed[0]["t"]) + 250_000_000
        result = reconcile(journal, ledger.recovered_keys(connection, "contract-lost"), fault)
        assert set(result.lost) == {entry["key"] for entry in doomed}
        assert result.rpo_transactions == 5
        assert result.rpo_seconds == pytest.approx(0.25)
        assert result.recovered == result.acknowledged - 5
        ledger.cleanup(connection, "contract-lost")


def test_the_old_standby_is_rebuilt_by_a_copy(servers: Servers, token: int) -> None:
    a, b = servers["a"], servers["b"]
    b.stop()
    (b.settings.data_directory / "left-over").touch()
    assert basebackup(b, token, a.site).method == "basebackup"
    assert not (b.settings.data_directory / "left-over").exists()
    assert b.start() is Role.STANDBY
    a.await_streaming("site_b")


def test_the_lease_of_the_environment_is_where_the_descriptor_says(
    environment: Environment, token: int
) -> None:
    assert LeaseFile(environment.lease_file).current().token == token
