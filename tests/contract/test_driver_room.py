"""A database without room, and the question whether it commits, on real servers."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from orchestrator.drivers.credentials import Credentials
from orchestrator.drivers.postgresql import PostgreSQL, Reach, Role
from orchestrator.drivers.postgresql_commit import ask_commit
from orchestrator.drivers.postgresql_room import (
    fill_disk,
    give_room,
    log_time,
    out_of_room,
    room_bytes,
)
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.errors import Refused

Servers = dict[str, PostgreSQL]


@pytest.mark.usefixtures("at_home")
def test_a_full_disk_stops_the_primary_and_its_restart_until_there_is_room(
    servers: Servers, secrets: Secrets, token: int
) -> None:
    a, login = servers["a"], secrets.database_login()
    assert ask_commit(a, login, 2.0) is Reach.ANSWERS
    with pytest.raises(Refused, match="not valid"):
        fill_disk(a, token - 1)
    before = log_time(datetime.now(UTC))
    assert out_of_room(a, before).failed_writes == ()
    filled = fill_disk(a, token)
    try:
        assert filled.processes > 5
        assert a.role() is Role.DOWN
        reaches = [ask_commit(a, login, 2.0)]  # it tries to recover, and cannot
        deadline = time.monotonic() + 60  # an answer takes no time, a recovery may
        while reaches[-1] is not Reach.REFUSED:
            assert time.monotonic() < deadline, reaches[-1]
            time.sleep(0.02)
            reaches.append(ask_commit(a, login, 2.0))
        assert Reach.ANSWERS not in reaches
        said = out_of_room(a, before)
        assert "could not write" in said.failed_writes[0]
        assert said.restart_failed
        while a.machine.program_processes(a.settings.program):
            time.sleep(0.05)  # it refuses a moment before its last process is gone
        assert fill_disk(a, token).processes == 0
    finally:
        a.stop()
        a.start()
        a.machine.program_restart(a.site.erp.program)
    assert room_bytes(a) > 0
    assert ask_commit(a, login, 2.0) is Reach.ANSWERS
    a.await_streaming("site_b")


def test_room_is_given_back_to_processes_that_live(servers: Servers, token: int) -> None:
    b = servers["b"]
    pid = b.machine.program_processes(b.settings.program)[0].pid
    b.machine.run(
        ["prlimit", f"--pid={pid}", "--fsize=1073741824:"],
        as_user=b.site.machine.service_user,
        timeout_seconds=10,
    )
    assert room_bytes(b) == 0
    for _ in range(2):
        give_room(b)
        assert room_bytes(b) > 2**20


def test_a_server_that_answers_and_commits_nothing_is_unable(
    servers: Servers, secrets: Secrets, token: int
) -> None:
    a, b, login = servers["a"], servers["b"], secrets.database_login()
    assert b.reach() is Reach.ANSWERS
    assert ask_commit(b, login, 2.0) is Reach.UNABLE
    a.machine.freeze_program(a.settings.program, token)
    assert ask_commit(a, login, 0.3) is Reach.SILENT
    a.machine.thaw_program(a.settings.program)
    # A login that is refused says nothing about the database.
    assert ask_commit(a, Credentials(login.username, "not it"), 2.0) is Reach.ANSWERS


def test_a_commit_does_not_wait_for_a_standby_that_is_gone(
    servers: Servers, secrets: Secrets, token: int
) -> None:
    a, b = servers["a"], servers["b"]
    b.machine.freeze_program(b.settings.program, token)
    try:
        assert ask_commit(a, secrets.database_login(), 2.0) is Reach.ANSWERS
    finally:
        b.machine.thaw_program(b.settings.program)
    a.await_streaming("site_b")
