"""Failovers at random moments of random faults, under writers: what was acknowledged is there.

ANLAN_SEED (default 1) draws fault, moment and writers of each; ANLAN_FAILOVERS says how many
(default 10; with ANLAN_FAULTS=all 200). Each history is kept below ANLAN_HISTORIES, if that names
a folder, and judged by a checker that shares no code with the orchestrator.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.drivers.host import Machine
from orchestrator.drivers.lease import LeaseFile
from orchestrator.drivers.postgresql import PostgreSQL
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment, load_environment
from orchestrator.probes import ledger
from tests.commands import await_entry, run_drill, state_for
from tests.faults.check_history import judge
from tests.faults.few import few_policies
from tests.faults.history import Recorder

SEED = int(os.environ.get("ANLAN_SEED", "1"))
COUNT = int(
    os.environ.get("ANLAN_FAILOVERS", "200" if os.environ.get("ANLAN_FAULTS") == "all" else "10")
)
_SYNCHRONOUS = ("site", "database-killed", "database-frozen", "disk-full", "partition")
_ASYNCHRONOUS = ("site", "database-killed")
_LAG_SECONDS = (0.4, 1.4)


@dataclass(frozen=True)
class Case:
    """What was drawn: the number of a failover in its seed, its mode and fault, and how many
    writers write for how long before it; `lag_seconds` of that are lag (asynchronous)."""

    number: int
    mode: str
    fault: str
    writers: int
    baseline_seconds: float
    lag_seconds: float

    def __str__(self) -> str:
        return f"{self.number}-{self.mode}-{self.fault}"


def draw(seed: int, count: int) -> list[Case]:
    """The cases of a seed: the same ones each time, and a longer list begins with a shorter."""
    chance = random.Random(seed)
    cases = []
    for number in range(count):
        # Each third is asynchronous; all else is left to chance.
        mode = "asynchronous" if number % 3 == 1 else "synchronous"
        fault = chance.choice(_ASYNCHRONOUS if mode == "asynchronous" else _SYNCHRONOUS)
        baseline = round(chance.uniform(1.5, 3.0), 2)
        lag = round(chance.uniform(*_LAG_SECONDS), 2)
        cases.append(Case(number, mode, fault, chance.randint(1, 8), baseline, lag))
    return cases


@contextmanager
def standard_tier(environment: Environment, folder: Path) -> Iterator[Environment]:
    """The environment as one of tier standard: commits wait for the primary's disk alone."""
    descriptor = json.loads((environment.root / "environment.json").read_text())
    descriptor["tier"] = "standard"
    for site in descriptor["sites"].values():
        site["database"]["synchronous"] = False
    folder.mkdir()
    (folder / "environment.json").write_text(json.dumps(descriptor))
    primary = PostgreSQL(environment, environment.starting_primary)
    away = environment.peer(environment.starting_primary.name)
    primary.set_synchronous([])
    try:
        yield load_environment(folder / "environment.json")
    finally:
        primary.set_synchronous([away.database.application_name])


@contextmanager
def lag(environment: Environment, state: Path, case: Case) -> Iterator[None]:
    """Freeze the line between the sites before the fault, and lose what is in it with the fault."""
    line = Machine(environment.line.machine, LeaseFile(environment.lease_file))
    program = environment.line.program
    failed: list[BaseException] = []

    def work() -> None:
        try:
            await_entry(state, "begin", "observe-baseline")
            time.sleep(case.baseline_seconds - case.lag_seconds)
            token = LeaseFile(environment.lease_file).current().token
            line.freeze_program(program, token)
            await_entry(state, "mark", "fault_done")
            line.kill_program(program, token)
        except BaseException as error:  # noqa: BLE001  (told by the test's own thread)
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        line.thaw_program(program)
    assert not failed, failed


@pytest.mark.parametrize("case", draw(SEED, COUNT), ids=str)
def test_what_was_acknowledged_is_there_and_nobody_else_was_writable(
    environment: Environment, tmp_path: Path, case: Case
) -> None:
    asynchronous = case.mode == "asynchronous"
    login = Secrets(environment).database_login()
    run = f"history-{SEED}-{case.number}"
    home = PostgreSQL(environment, environment.starting_primary)
    database = environment.starting_primary.database.name
    with home.connect(login) as connection:
        ledger.prepare(connection)
    tier = standard_tier(environment, tmp_path / "standard") if asynchronous else None
    with tier or nullcontext(environment) as told:
        state = tmp_path / "state"
        if asynchronous:
            (state / "env").mkdir(parents=True)
            (state / "env" / told.name).symlink_to(tmp_path / "standard")
        else:
            state_for(environment, state)
        recorder = Recorder(environment, login, run, writers=case.writers)
        recorder.start()
        name, chosen = "failover", ["-p", f"fault={case.fault}"]
        if case.fault == "partition":
            name, chosen = "partition", ["-p", "alone_seconds=1"]
        try:
            with lag(environment, state, case) if asynchronous else nullcontext():
                baseline = f"baseline_seconds={case.baseline_seconds}"
                _, result = run_drill(
                    state, environment, name, *chosen, "-p", baseline, *few_policies()
                )
        finally:
            recorder.stop()
    with home.connect_local(database) as connection:
        keys = ledger.recovered_keys(connection, run)
        ledger.cleanup(connection, run)
    derived = result["derived"]
    assert [one for one in derived["steps"] if one["status"] != "done"] == [], derived["reasons"]
    assert [one for one in derived["undo"] if one["status"] != "done"] == []
    directory = state / "runs" / result["run_id"]
    recorder.add_drill(directory)
    keys += json.loads((directory / "raw" / "recovered.json").read_text())["keys"]
    header = {
        "seed": SEED,
        "number": case.number,
        "mode": case.mode,
        "fault": case.fault,
        "writers": case.writers,
        "sites": sorted(environment.sites),
        "run": result["run_id"],
    }
    folder = Path(os.environ.get("ANLAN_HISTORIES") or tmp_path)
    path = folder / f"seed{SEED}-{case}.jsonl"
    recorder.save(path, header, keys, derived["ledger"]["lost_keys"])

    found = judge(path.read_text().splitlines())
    assert found.problems == ()
    assert (found.lost > 0) == asynchronous, "lag must cost something, or it was none"
