"""The environment that is measured, and the commands that users have for it."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.model.environment import Environment, load_environment
from orchestrator.model.errors import InfrastructureError
from stacks import places
from tests.commands import CHECKOUT, anlan

NAME = "local"
_DRILL_SECONDS = 900.0


@dataclass(frozen=True)
class Place:
    """A state directory and the name of an environment in it."""

    state: Path
    name: str

    @property
    def descriptor(self) -> Path:
        """The environment's descriptor."""
        return self.state / "env" / self.name / "environment.json"

    @property
    def environment(self) -> Environment:
        """The environment."""
        return load_environment(self.descriptor)

    def drill(self, name: str, *parameters: str) -> dict[str, Any]:
        """Run a drill by the command and return its run.json; parameters are NAME=VALUE.

        Raises InfrastructureError.
        """
        options = [part for one in parameters for part in ("-p", one)]
        command = ["drill", "run", name, self.name, "--json", *options]
        done = anlan(self.state, *command, timeout_seconds=_DRILL_SECONDS)
        result = json.loads(done.stdout) if done.stdout.startswith("{") else None
        # A policy that fails (exit 1) does not make the drill's times worse; a failed drill does.
        if result is None or result["verdict"] != "pass":
            reasons = result["derived"]["reasons"] if result else [done.stderr.strip()]
            raise InfrastructureError(
                f"the drill {name} did not pass: {'; '.join(reasons)}",
                f"see `anlan env check {self.name}`, then measure again",
            )
        return dict(result)

    def command(self, *arguments: str) -> None:
        """Run another command to its good end. Raises InfrastructureError."""
        done = anlan(self.state, *arguments, self.name, timeout_seconds=_DRILL_SECONDS)
        if done.returncode:
            raise InfrastructureError(
                f"`anlan {' '.join(arguments)} {self.name}` ended with {done.returncode}: "
                f"{done.stdout.strip()} {done.stderr.strip()}",
                "do what it says, then measure again",
            )


@contextmanager
def find_place(descriptor: Path | None) -> Iterator[Place]:
    """The place of a descriptor; without one, of the environment `local`, provisioned if absent."""
    if descriptor is None:
        place = Place(places.state_directory(), NAME)
        if not place.descriptor.exists():
            up = [sys.executable, "-m", "orchestrator", "up", NAME]
            subprocess.run(up, cwd=CHECKOUT, stdout=sys.stderr, check=True)
        yield place
        return
    root = descriptor.absolute().parent
    if root.parent.name == "env":
        yield Place(root.parent.parent, root.name)
        return
    with throwaway_state(root, load_environment(descriptor).name) as place:
        yield place


@contextmanager
def throwaway_state(root: Path, name: str) -> Iterator[Place]:
    """A state directory that knows the environment at `root` and is deleted afterwards."""
    with tempfile.TemporaryDirectory(prefix="anlan-bench-") as folder:
        (Path(folder) / "env").mkdir()
        (Path(folder) / "env" / name).symlink_to(root)
        yield Place(Path(folder), name)
