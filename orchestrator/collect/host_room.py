"""Kind `host_room`: how much room a machine has where it writes.

Data: `places` (each with `name`: data, log or run; `free_mib`, `free_percent`), `least_free_mib`,
`least_free_percent`, `least_free_files_percent` (100 where the file system has no such limit).
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.collect.machines import machines
from orchestrator.collect.observe import Collector, Observation
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment, MachineSettings

KIND = "host_room"
_PLACES = ("data", "log", "run")


def collectors(environment: Environment, secrets: Secrets) -> list[Collector]:
    """One collector for each machine: `a/room`, `b/room`, `common/room`."""
    return [
        Collector(
            kind=KIND,
            subject=f"{name}/room",
            source=f"the file systems of machine {name}, {machine.directory}",
            query=f"statvfs of {', '.join(_PLACES)}",
            look=partial(look, machine),
        )
        for name, machine in machines(environment).items()
    ]


def look(machine: MachineSettings) -> Observation:
    """Ask the file systems. Raises OSError."""
    places = [{"name": name, **_room(machine.directory / name)} for name in _PLACES]
    data: dict[str, Any] = {
        "places": [
            {key: one[key] for key in ("name", "free_mib", "free_percent")} for one in places
        ],
        "least_free_mib": min(one["free_mib"] for one in places),
        "least_free_percent": min(one["free_percent"] for one in places),
        "least_free_files_percent": min(one["free_files_percent"] for one in places),
    }
    return Observation(data, len(places))


def _room(folder: Path) -> dict[str, Any]:
    found = os.statvfs(folder)
    files = 100.0 * found.f_favail / found.f_files if found.f_files else 100.0
    return {
        "free_mib": found.f_bavail * found.f_frsize // 2**20,
        "free_percent": round(100.0 * found.f_bavail / found.f_blocks, 1),
        "free_files_percent": round(files, 1),
    }
