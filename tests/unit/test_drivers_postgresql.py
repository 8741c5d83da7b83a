"""Starting a server: what its supervisord says meanwhile, and when it counts as failed."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.drivers.postgresql import PostgreSQL, Role
from orchestrator.drivers.supervisor import ProgramStatus
from orchestrator.model.errors import InfrastructureError


def server(monkeypatch: pytest.MonkeyPatch, *states: str) -> PostgreSQL:
    """A server whose program is in these states, one after the other; it answers in RUNNING."""
    told: Iterator[str] = iter(states)
    now = SimpleNamespace(state="")

    def status(name: str) -> ProgramStatus:
        now.state = next(told)
        return ProgramStatus(name, now.state, 0, 0)

    made: Any = object.__new__(PostgreSQL)
    made.machine = SimpleNamespace(program_start=lambda _: None, program_status=status)
    made.site = SimpleNamespace(name="a")
    made.settings = SimpleNamespace(program="postgresql", logs="log/*.log")
    role = lambda _: Role.PRIMARY if now.state == "RUNNING" else Role.DOWN  # noqa: E731
    monkeypatch.setattr(PostgreSQL, "role", role)
    return made  # type: ignore[no-any-return]


def test_a_server_that_is_tried_again_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Right after a power cut the memory of the killed processes may still be in use."""
    started = server(monkeypatch, "BACKOFF", "BACKOFF", "STARTING", "RUNNING")
    assert started.start() is Role.PRIMARY


@pytest.mark.parametrize("end", ["FATAL", "EXITED", "STOPPED"])
def test_a_server_that_was_given_up_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    with pytest.raises(InfrastructureError, match=f"its program is {end}"):
        server(monkeypatch, "BACKOFF", end, "RUNNING").start()
