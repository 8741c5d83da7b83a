"""The machines of an environment by name: its sites', and the common one."""

from __future__ import annotations

from orchestrator.model.environment import Environment, MachineSettings


def machines(environment: Environment) -> dict[str, MachineSettings]:
    """Name → machine: `a`, `b`, `common`."""
    found = {name: site.machine for name, site in environment.sites.items()}
    return {**found, "common": environment.secrets.machine}
