"""The lease of an environment and its fencing tokens."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from orchestrator.drivers.lease import LeaseFile
from orchestrator.model.errors import InfrastructureError, Refused


@pytest.fixture
def lease(tmp_path: Path) -> LeaseFile:
    return LeaseFile(tmp_path / "lease.json")


def test_tokens_only_grow_from_run_to_run(lease: LeaseFile) -> None:
    tokens = []
    for run in ("one", "two", "three"):
        tokens.append(lease.acquire(run))
        assert lease.release(run)
    assert tokens == [1, 2, 3]


def test_a_process_that_holds_it_gets_its_own_token_again(lease: LeaseFile) -> None:
    token = lease.acquire("run")
    since = lease.current().since
    assert lease.acquire("run", {"operator": "somebody"}) == token
    assert lease.current().since == since
    assert lease.current().holder["operator"] == "somebody"


def test_who_resumes_a_run_gets_the_next_token_and_what_was_left_is_refused(
    lease: LeaseFile,
) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        old = pool.apply(lease.acquire, ("run",))
    since = lease.current().since
    new = lease.acquire("run")
    assert new == old + 1
    assert lease.current().since == since
    lease.check(new)
    with pytest.raises(Refused):
        lease.check(old)


def test_a_held_lease_is_refused_saying_who_since_when_and_what_to_do(lease: LeaseFile) -> None:
    lease.acquire("first", {"user": "operator-1"})
    with pytest.raises(Refused) as caught:
        lease.acquire("second")
    text = str(caught.value)
    assert caught.value.exit_code == 3
    assert "run first since 20" in text
    assert "operator-1" in text
    assert "resume first" in text
    assert "abort first" in text


def test_a_lease_whose_time_ran_out_can_be_taken_and_its_token_is_void(lease: LeaseFile) -> None:
    old = lease.acquire("slow", ttl_seconds=0.05)
    time.sleep(0.1)
    with pytest.raises(Refused):
        lease.check(old)
    new = lease.acquire("next")
    assert new > old
    lease.check(new)


@pytest.mark.parametrize("wrong", [-1, 0, 2])
def test_a_token_that_is_not_the_holders_is_refused(lease: LeaseFile, wrong: int) -> None:
    assert lease.acquire("run") == 1
    with pytest.raises(Refused, match="not valid"):
        lease.check(wrong)


def test_no_token_is_valid_while_nobody_holds_the_lease(lease: LeaseFile) -> None:
    with pytest.raises(Refused):
        lease.check(0)
    token = lease.acquire("run")
    lease.release("run")
    with pytest.raises(Refused, match="no run holds it"):
        lease.check(token)


def test_another_run_cannot_release_it(lease: LeaseFile) -> None:
    token = lease.acquire("run")
    assert not lease.release("other")
    lease.check(token)


def test_a_damaged_lease_is_an_error_and_not_free(lease: LeaseFile) -> None:
    lease.path.write_text('{"token": 3, "run')
    with pytest.raises(InfrastructureError):
        lease.acquire("run")


def _take(path: Path, name: str, got: multiprocessing.Queue) -> None:  # type: ignore[type-arg]
    try:
        got.put(("token", LeaseFile(path).acquire(name)))
    except Refused:
        got.put(("refused", 0))


def test_of_many_that_ask_at_once_one_gets_it(lease: LeaseFile) -> None:
    got: multiprocessing.Queue = multiprocessing.Queue()  # type: ignore[type-arg]
    people = [
        multiprocessing.Process(target=_take, args=(lease.path, f"run-{n}", got)) for n in range(8)
    ]
    for person in people:
        person.start()
    answers = [got.get(timeout=20) for _ in people]
    for person in people:
        person.join()
    assert sorted(answers) == [("refused", 0)] * 7 + [("token", 1)]


def _churn(path: Path) -> None:
    file = LeaseFile(path)
    while True:
        file.acquire("churn")
        file.release("churn")


def test_kill_9_at_any_moment_leaves_a_whole_lease(lease: LeaseFile) -> None:
    last = 0
    for _ in range(15):
        worker = multiprocessing.Process(target=_churn, args=(lease.path,))
        worker.start()
        time.sleep(0.03)
        assert worker.pid
        os.kill(worker.pid, signal.SIGKILL)
        worker.join()
        now = lease.current()
        assert now.token >= last
        last = now.token
        # The kernel's lock ended with the process: the next one is not blocked.
        lease.release("churn")
    assert last > 0
    assert json.loads(lease.path.read_text())["token"] == last
