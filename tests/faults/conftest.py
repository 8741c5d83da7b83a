"""A state directory for each test, so that its one run is easily found; and the kill rate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.model.environment import Environment
from tests.commands import state_for
from tests.faults.kill_rate import KILLED
from tests.faults.residue import Census, assert_nothing_is_left, census


@pytest.fixture
def state(environment: Environment, tmp_path: Path) -> Path:
    """A state directory that knows the environment."""
    return state_for(environment, tmp_path / "state")


@pytest.fixture(scope="session")
def as_it_was(environment: Environment) -> Census:
    """Everything that there is of the environment before the first fault."""
    return census(environment)


@pytest.fixture(autouse=True)
def nothing_is_left(environment: Environment, as_it_was: Census) -> Iterator[None]:
    """After each test there is what there was: no program, file, slot, role or object more."""
    yield
    assert_nothing_is_left(environment, as_it_was)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the kill rate, by drill."""
    if not KILLED:
        return
    terminalreporter.section("mutations killed")
    for drill in sorted({drill for drill, _ in KILLED}):
        those = {name: killed for (of, name), killed in KILLED.items() if of == drill}
        alive = ", ".join(name for name, killed in those.items() if not killed)
        line = f"{drill}: {sum(those.values())} of {len(those)}"
        terminalreporter.write_line(line + f"; alive: {alive}" * bool(alive))
    share = sum(KILLED.values()) / len(KILLED)
    terminalreporter.write_line(f"all: {sum(KILLED.values())} of {len(KILLED)} ({share:.0%})")
