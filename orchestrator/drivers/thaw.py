"""Lets a frozen program go on: `python -m … MACHINE_DIRECTORY PROGRAM AT`.

AT is in seconds of this boot's monotonic clock.

A process of its own, so that nothing stays frozen when the orchestrator dies.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from orchestrator.drivers.host import Machine
from orchestrator.drivers.lease import LeaseFile
from orchestrator.model.environment import MachineSettings


def main() -> None:
    """Wait, then continue every process of the program."""
    directory, name, at = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    settings = MachineSettings("supervisord", directory, address="", service_user="")
    time.sleep(max(0.0, at - time.monotonic()))
    Machine(settings, LeaseFile(directory)).thaw_program(name)


if __name__ == "__main__":
    main()
