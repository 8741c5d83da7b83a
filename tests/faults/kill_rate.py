"""Runs every mutation of a drill's environment and prints the kill rate, by drill:
`python -m tests.faults.kill_rate [PYTEST-ARGUMENTS…]`. It takes some ten minutes.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

KILLED: dict[tuple[str, str], bool] = {}
"""Whether a drill was red for the right reason, by drill and mutation (test_mutations.py)."""

if __name__ == "__main__":
    os.environ["ANLAN_FAULTS"] = "all"
    module = Path(__file__).with_name("test_mutations.py")
    sys.exit(pytest.main([str(module), "-q", *sys.argv[1:]]))
