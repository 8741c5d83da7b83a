"""Kind `host_programs`: what a machine's supervisor runs, and as whom.

Data: `programs` (names), `root_programs` (those with a process whose effective user is root),
`down` (that do not run and do not start).
"""

from __future__ import annotations

import re
from contextlib import suppress
from functools import partial
from pathlib import Path

from orchestrator.collect.machines import machines
from orchestrator.collect.observe import Collector, Observation
from orchestrator.drivers.secrets import Secrets
from orchestrator.drivers.supervisor import Supervisor
from orchestrator.model.environment import Environment, MachineSettings

KIND = "host_programs"
_EFFECTIVE_USER = re.compile(r"^Uid:\s+\d+\s+(\d+)", re.MULTILINE)


def collectors(environment: Environment, secrets: Secrets) -> list[Collector]:
    """One collector for each machine: `a/programs`, `b/programs`, `common/programs`."""
    return [
        Collector(
            kind=KIND,
            subject=f"{name}/programs",
            source=f"the supervisor of machine {name}, {machine.directory}; /proc",
            query="getAllProcessInfo; Uid of /proc/PID/status",
            look=partial(look, machine),
        )
        for name, machine in machines(environment).items()
    ]


def look(machine: MachineSettings) -> Observation:
    """Ask a machine's supervisor. Raises InfrastructureError."""
    found = Supervisor(machine.directory / "run" / "supervisor.sock").programs()
    data = {
        "programs": sorted(one.name for one in found),
        "root_programs": sorted(one.name for one in found if _is_root(one.pid)),
        "down": sorted(one.name for one in found if not one.is_up),
    }
    return Observation(data, len(found))


def _is_root(pid: int) -> bool:
    with suppress(OSError):
        user = _EFFECTIVE_USER.search(Path(f"/proc/{pid}/status").read_text()) if pid else None
        return user is not None and user[1] == "0"
    return False
