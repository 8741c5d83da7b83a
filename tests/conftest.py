"""One real environment for all contract, e2e and fault tests of a session: provisioned once, by
the command that users have, and destroyed at the end, when nothing of it may be left.

`make test` runs two sessions side by side (pytest-xdist): each has an environment of its own, and
the tests of a file stay together. With ANLAN_TEST_ENVIRONMENT naming a descriptor, that environment
is used and left as it was found (in one session: `-n 0`).

After a test that failed the environment is brought back, so that the next one says what it has to.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from orchestrator.drivers.lease import LeaseFile
from orchestrator.model.environment import Environment, load_environment
from stacks.automation import PROJECT
from stacks.components.ground import processes
from tests.commands import anlan
from tests.faults.kill_rate import KILLED

# A busy machine is no failure.
settings.register_profile("anlan", deadline=None)
settings.load_profile("anlan")

NAME = "test"
SESSION = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_ADDRESSES = {
    name: f"127.0.14.{10 * SESSION + n}" for n, name in enumerate(("a", "b", "common"), 1)
}
_FAILED = pytest.StashKey[bool]()
_PORTS_BASE = 24000 + 1000 * SESSION


@dataclass(frozen=True)
class Place:
    """Where the tests' environment is: the state directory and the name in it."""

    state: Path
    name: str

    @property
    def link(self) -> Path:
        """Where commands find the environment."""
        return self.state / "env" / self.name


@pytest.fixture(scope="session")
def place() -> Iterator[Place]:
    """The environment of the session, up; see the module."""
    named = os.environ.get("ANLAN_TEST_ENVIRONMENT")
    if named:
        root = Path(named).absolute().parent
        state = root.parent.parent
        if root.parent.name == "env":
            yield Place(state, root.name)
            return
        with tempfile.TemporaryDirectory(prefix="anlan-test-") as folder:
            (Path(folder) / "env").mkdir()
            (Path(folder) / "env" / NAME).symlink_to(root)
            yield Place(Path(folder), NAME)
        return
    # Not pytest's directory: the servers' user must reach it, and sockets need short paths.
    base = Path(tempfile.mkdtemp(prefix="anlan-", dir="/tmp"))
    base.chmod(0o755)
    place = Place(base, NAME)
    settings = {"portsBase": str(_PORTS_BASE)}
    settings |= {f"addresses.{name}": address for name, address in _ADDRESSES.items()}
    options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
    try:
        done = anlan(base, "up", NAME, *options, timeout_seconds=1200)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
        yield place
    finally:
        done = anlan(base, "down", NAME, "--yes", "--force", timeout_seconds=600)
        left = processes(base)
        for process in left:
            process.kill()
        remains = sorted(place.link.rglob("*")) if place.link.exists() else []
        ours = list((base / "pulumi" / "local").glob(f"Pulumi.{NAME}.yaml"))
        shutil.rmtree(base)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        assert not left, f"`anlan down` left processes: {left}"
        assert not remains, f"`anlan down` left files: {remains}"
        assert not ours, f"`anlan down` left the stack's configuration: {ours}"


@pytest.fixture(scope="session")
def stack(place: Place) -> Path:
    """The file of the stack's state; without one (an environment made elsewhere) nothing runs."""
    file = place.state / "pulumi" / ".pulumi" / "stacks" / PROJECT / f"{place.name}.json"
    if not file.exists():
        pytest.skip("the environment's stack is not in its state directory")
    return file


@pytest.fixture(scope="session")
def environment(place: Place) -> Environment:
    """An environment whose site a is primary and b streams."""
    return load_environment(place.link / "environment.json")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember that a test failed."""
    report = yield
    if report.failed:
        item.stash[_FAILED] = True
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, None, None]:
    """Bring the environment back after a test that failed, once its own fixtures were."""
    try:
        yield
    except BaseException:
        item.stash[_FAILED] = True
        raise
    finally:
        arguments = getattr(item, "funcargs", {})
        if nextitem and item.stash.get(_FAILED, False) and "environment" in arguments:
            _bring_back(arguments["environment"], arguments["place"], item.nodeid)


def _bring_back(environment: Environment, place: Place, after: str) -> None:
    holder = LeaseFile(environment.lease_file).current()
    take_over = ["--take-over", holder.run_id] if holder.is_held else []
    done = anlan(place.state, "env", "restore", place.name, *take_over)
    said = f"after {after}: {done.stdout}{done.stderr}"
    warnings.warn(said, stacklevel=1)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand the kill rate over, from a session that runs beside others."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["killed"] = [[*key, killed] for key, killed in KILLED.items()]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take it."""
    for drill, mutation, killed in getattr(node, "workeroutput", {}).get("killed", ()):
        KILLED[drill, mutation] = killed


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
