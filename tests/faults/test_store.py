"""PostgreSQL as the engine's store: workers that are killed, and a store that is away."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from orchestrator.drivers.lease import LeaseFile
from orchestrator.drivers.process import drop_to
from orchestrator.evidence import layout
from orchestrator.model.environment import Environment
from tests.commands import anlan, only_run, run_of
from tests.faults.death import die_at, resumed
from tests.faults.test_stalled import TAKEN_OVER_SECONDS, until, worker

PORT = 24999


@dataclass
class Store:
    """A PostgreSQL server of the test's own, on a unix socket."""

    folder: Path
    programs: Path
    user: str

    @property
    def url(self) -> str:
        return f"postgresql://postgres:hush-hush@/engine?host={self.folder}&port={PORT}"

    def run(self, *arguments: str) -> None:
        command = [*drop_to(self.user), str(self.programs / arguments[0]), *arguments[1:]]
        subprocess.run(command, check=True, cwd="/", stdout=subprocess.DEVNULL)

    def start(self) -> None:
        options = f"-c listen_addresses= -c port={PORT} -c unix_socket_directories={self.folder}"
        log = str(self.folder / "log")
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-w", "-l", log, "-o", options, "start")

    def stop(self) -> None:
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-w", "-m", "immediate", "stop")


@pytest.fixture
def store(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    site = environment.starting_primary
    folder = Path(tempfile.mkdtemp(prefix="anlan-store-", dir="/tmp"))
    shutil.chown(folder, site.machine.service_user)
    made = Store(folder, site.database.bin_directory, site.machine.service_user)
    made.run("initdb", "-D", str(folder / "data"), "-U", "postgres", "-A", "trust", "-N")
    made.start()
    monkeypatch.setenv("ANLAN_STORE", made.url)
    try:
        yield made
    finally:
        if (folder / "data" / "postmaster.pid").exists():
            made.stop()
        shutil.rmtree(folder)


def headers(state: Path) -> list[int]:
    return [int(entry["t"]) for entry in run_of(state) if entry["kind"] == "header"]


def test_a_run_of_a_killed_worker_is_taken_over_by_one_of_two_within_half_a_minute(
    environment: Environment, state: Path, store: Store
) -> None:
    die_at(state, "end:write-marker:before", "run", "backup", environment.name, "-p", "type=incr")
    assert not (state / "engine.sqlite").exists()
    run = only_run(state)
    died = time.monotonic_ns()
    with worker(state) as first, worker(state) as second:
        until("the takeover", lambda: len(headers(state)) == 2, 2 * TAKEN_OVER_SECONDS)
        assert (headers(state)[1] - died) / 1e9 < TAKEN_OVER_SECONDS
        # Who took it over dies too, with its worker; the other one goes on.
        holder = int((state / "runs" / run / ".lock").read_text().split('"pid": ')[1].split(",")[0])
        parent = int(Path(f"/proc/{holder}/stat").read_text().rsplit(")", 1)[1].split()[1])
        taker, other = (first, second) if parent == first.pid else (second, first)
        assert parent == taker.pid
        for pid in (taker.pid, holder):
            os.kill(pid, signal.SIGKILL)
        until("its end", (state / "runs" / run / layout.PROOFS["run"]).exists, 180)
        assert other.poll() is None
    assert len(headers(state)) == 3
    with psycopg.connect(store.url) as connection:
        rows = connection.execute("SELECT workflow_uuid, status FROM dbos.workflow_status")
        assert rows.fetchall() == [(run, "SUCCESS")]


def test_without_its_store_nothing_is_begun_and_a_dead_run_goes_on_when_it_is_back(
    environment: Environment, state: Path, store: Store
) -> None:
    die_at(state, "end:write-marker:before", "run", "backup", environment.name, "-p", "type=incr")
    run = only_run(state)
    store.stop()
    before = run_of(state)
    refused = anlan(state, "drill", "resume", run)
    assert refused.returncode == 4
    assert "the engine's database engine at" in refused.stderr
    assert "hush-hush" not in refused.stdout + refused.stderr
    assert run_of(state) == before
    store.start()
    assert resumed(environment, state, run)["verdict"] == "pass"
    for path in (state / "runs" / run).rglob("*"):
        assert not path.is_file() or b"hush-hush" not in path.read_bytes(), path


@pytest.mark.parametrize("url", ["mysql://x/y", "postgresql://h/x?no=such", "SITE"])
def test_a_store_that_is_none_or_is_drilled_is_refused(
    environment: Environment, state: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    database = environment.starting_primary.database
    site = f"postgresql://u@{database.address}:{database.port}/engine"
    monkeypatch.setenv("ANLAN_STORE", url.replace("SITE", site))
    refused = anlan(state, "drill", "run", "readiness", environment.name)
    assert refused.returncode == 2, refused.stderr
    assert "ANLAN_STORE" in refused.stderr
    assert not (state / "runs").exists()
    assert not LeaseFile(environment.lease_file).current().is_held
