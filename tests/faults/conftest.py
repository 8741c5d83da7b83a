"""A state directory for each test, so that its one run is easily found."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.model.environment import Environment


@pytest.fixture
def state(environment: Environment, tmp_path: Path) -> Path:
    """A state directory that knows the environment."""
    folder = tmp_path / "state"
    (folder / "env").mkdir(parents=True)
    (folder / "env" / environment.name).symlink_to(environment.root)
    return folder
