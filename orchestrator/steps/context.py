"""What a step works with: the environment, the run's plan and journal, and the drivers."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from orchestrator.drivers.credentials import Credentials
from orchestrator.drivers.erp import Erp
from orchestrator.drivers.host import Machine
from orchestrator.drivers.lease import LeaseFile
from orchestrator.drivers.postgresql import PostgreSQL, Role
from orchestrator.drivers.proxy import FrontDoor
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment, MachineSettings, Site
from orchestrator.model.errors import AnlanError, InfrastructureError
from orchestrator.steps.journal import StepJournal


class StepFailed(AnlanError):
    """The step did its work and the world is not as it must be: a finding, not a fault of ours."""


@dataclass
class Context:
    """One run; `token` is its fencing token, `directory` its run directory.

    `step` and `options` are those of the step that runs now, `deadline` (monotonic seconds) is
    when its time is over.
    """

    environment: Environment
    plan: Mapping[str, Any]
    directory: Path
    journal: StepJournal
    token: int
    step: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    deadline: float = float("inf")

    def for_step(self, step: Mapping[str, Any]) -> Context:
        """Return a context for one step of the plan, whose time begins now.

        Steps may run side by side; what is cached so far is shared.
        """
        mine = copy.copy(self)
        mine.step, mine.options = str(step["id"]), step["with"]
        mine.deadline = time.monotonic() + float(step["timeout_seconds"])
        return mine

    @property
    def run_id(self) -> str:
        """The run's id."""
        return str(self.plan["run_id"])

    @property
    def raw(self) -> Path:
        """Where raw evidence goes."""
        return self.directory / "raw"

    def probe_directory(self, name: str) -> Path:
        """Where a probe of this run has its journal."""
        return self.directory / "probes" / name

    @cached_property
    def secrets(self) -> Secrets:
        """The secret manager."""
        return Secrets(self.environment)

    @property
    def provisioner(self) -> Secrets:
        """The secret manager as the provisioner, who may issue certificates."""
        return Secrets(self.environment, self.environment.secrets.provisioner_file)

    @cached_property
    def database_login(self) -> Credentials:
        """The orchestrator's login to the database."""
        return self.secrets.database_login()

    @cached_property
    def erp_login(self) -> Credentials:
        """The ERP's drill user."""
        return self.secrets.login_of("erp-probe")

    @cached_property
    def servers(self) -> dict[str, PostgreSQL]:
        """The database server of each site."""
        sites = self.environment.sites.items()
        return {name: PostgreSQL(self.environment, site) for name, site in sites}

    @property
    def front_door(self) -> FrontDoor:
        """The proxy."""
        return FrontDoor(self.environment)

    @property
    def front_door_machine(self) -> Machine:
        """The machine of the proxy."""
        return self._machine(self.environment.front_door.machine)

    @property
    def line(self) -> Machine:
        """The machine of the line between the sites."""
        return self._machine(self.environment.line.machine)

    def _machine(self, settings: MachineSettings) -> Machine:
        return Machine(settings, LeaseFile(self.environment.lease_file))

    @property
    def home(self) -> Site:
        """The site that is primary when the environment is fresh."""
        return self.environment.starting_primary

    @property
    def away(self) -> Site:
        """The site that takes over."""
        return self.environment.peer(self.home.name)

    @property
    def primary(self) -> PostgreSQL:
        """The server that is primary now. Raises InfrastructureError when it is not just one."""
        found = [server for server in self.servers.values() if server.role() is Role.PRIMARY]
        if len(found) != 1:
            raise InfrastructureError(
                f"{len(found)} databases accept writes, one must",
                "see `anlan env check`; a run that was interrupted: `anlan drill resume RUN`",
            )
        return found[0]

    def erp(self) -> Erp:
        """A logged-in client of the ERP through the front door. Raises InfrastructureError."""
        door = self.environment.front_door
        database = self.home.erp.database
        client = Erp(door.url, database, self.environment.tls.ca_file)
        client.login(self.erp_login)
        return client

    def mark(self, name: str, t_ns: int | None = None) -> int:
        """Set a named moment of the run once; returns it in monotonic nanoseconds."""
        return self.journal.mark(name, t_ns)

    def marked(self, name: str) -> int | None:
        """A named moment, or None when it did not come."""
        found = self.journal.find("mark", name)
        return int(found["t"]) if found else None

    def note(self, name: str, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Keep named data once; returns what is kept (an earlier attempt's, if there was one)."""
        return self.journal.note(name, data)

    def noted(self, name: str) -> Mapping[str, Any] | None:
        """Named data, or None."""
        found = self.journal.find("note", name)
        return found["data"] if found else None

    def check(self, name: str, ok: bool | None, detail: str) -> None:
        """Record a check: True, False, or None when it could not be observed."""
        self.journal.write("check", step=self.step, name=name, ok=ok, detail=detail)

    def require(self, name: str, ok: bool, detail: str) -> None:
        """Record a check that the later steps rely on. Raises StepFailed when it does not hold."""
        self.check(name, ok, detail)
        if not ok:
            raise StepFailed(f"{name.replace('_', ' ')}: {detail}")

    def await_until(
        self, what: str, holds: Callable[[], bool], *, interval_seconds: float = 0.05
    ) -> None:
        """Wait until `holds()`. Raises StepFailed when the step's time is over."""
        while not holds():
            if time.monotonic() > self.deadline:
                raise StepFailed(f"{what} did not come within the step's time")
            time.sleep(interval_seconds)

    @property
    def seconds_left(self) -> float:
        """How much of the step's time is left; at least a second, for a time limit."""
        return max(1.0, min(self.deadline - time.monotonic(), 86_400.0))
