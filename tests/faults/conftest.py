"""A state directory for each test, so that its one run is easily found."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.model.environment import Environment
from tests.commands import state_for


@pytest.fixture
def state(environment: Environment, tmp_path: Path) -> Path:
    """A state directory that knows the environment."""
    return state_for(environment, tmp_path / "state")
