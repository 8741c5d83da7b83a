"""A machine of driver `supervisord`: a directory, a loopback address and a supervisord.

Killing the machine is what a power cut does: every process of it gets SIGKILL, the supervisord
first, so that nothing is started again.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.drivers.lease import LeaseFile
from orchestrator.drivers.process import Finished, run, spawn
from orchestrator.drivers.processes import (
    ProcessEntry,
    ancestry,
    belongs,
    end,
    process_table,
    processes_of,
    send,
)
from orchestrator.drivers.supervisor import ProgramStatus, Supervisor
from orchestrator.model.environment import Environment, MachineSettings
from orchestrator.model.errors import InfrastructureError

MARKER = "ANLAN_MACHINE"
_START_TIMEOUT_SECONDS = 15.0
_KILL_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True)
class Kill:
    """A killed or frozen machine or program: how many processes, and when (monotonic ns) it began
    and was complete.

    RTO counts from `began_ns`; only what was begun after `ended_ns` surely met no old server.
    """

    processes: int
    began_ns: int
    ended_ns: int


class Machine:
    """The machine that `settings` describe; `lease` guards the destructive verb."""

    def __init__(self, settings: MachineSettings, lease: LeaseFile) -> None:
        self.settings = settings
        self.directory = settings.directory
        self.supervisor = Supervisor(settings.directory / "run" / "supervisor.sock")
        self._lease = lease

    @staticmethod
    def of_site(environment: Environment, site: str) -> Machine:
        """The machine of one site of an environment."""
        return Machine(environment.sites[site].machine, LeaseFile(environment.lease_file))

    def check(self, token: int) -> None:
        """Return if `token` is the lease's. Raises Refused."""
        self._lease.check(token)

    def processes(self) -> tuple[ProcessEntry, ...]:
        """The live processes of the machine, without this process and its ancestors.

        A process belongs by ANLAN_MACHINE in its environment, by a working directory inside the
        machine's directory, or by descent from a process that belongs.
        """
        return processes_of(self.directory, MARKER)

    def is_running(self) -> bool:
        """Whether its supervisord answers."""
        return self.supervisor.answers()

    def kill(self, token: int) -> Kill:
        """SIGKILL every process of the machine until none is left.

        Raises Refused for a stale fencing token, InfrastructureError if one survives 10 s.
        """
        self._lease.check(token)
        began = time.monotonic_ns()
        killed = set()
        supervisor = self._supervisor_pid()
        if supervisor:
            send(supervisor, signal.SIGKILL)
            killed.add(supervisor)
        deadline = time.monotonic() + _KILL_TIMEOUT_SECONDS
        while left := self.processes():
            if time.monotonic() > deadline:
                pids = [process.pid for process in left]
                raise InfrastructureError(
                    f"processes {pids} of {self.directory} survive SIGKILL",
                    "look at them (`ps -o stat,wchan`): one in state D waits for its disk",
                )
            for process in left:
                send(process.pid, signal.SIGKILL)
                killed.add(process.pid)
            time.sleep(0.002)
        return Kill(processes=len(killed), began_ns=began, ended_ns=time.monotonic_ns())

    def kill_program(self, name: str, token: int, *, for_good: bool = False) -> Kill:
        """SIGKILL a program and all its processes until none is left; the machine lives on.

        With `for_good` its supervisord does not start it again, until `program_start`.
        Raises Refused for a stale fencing token, InfrastructureError if one survives 10 s.
        """
        self._lease.check(token)
        began = time.monotonic_ns()
        if for_good:
            # Frozen, it cannot end in good order when its supervisord asks it to.
            self.freeze_program(name, token)
            self.supervisor.order_stop(name)
        # Its children are nobody's when it is dead, so they are looked up before.
        processes = self.program_processes(name)
        end(processes, timeout_seconds=_KILL_TIMEOUT_SECONDS)
        if left := [process.pid for process in processes if process.is_alive()]:
            raise InfrastructureError(
                f"processes {left} of {name} in {self.directory} survive SIGKILL",
                "look at them (`ps -o stat,wchan`): one in state D waits for its disk",
            )
        ended = time.monotonic_ns()
        if for_good:
            self.program_stop(name)
        return Kill(processes=len(processes), began_ns=began, ended_ns=ended)

    def freeze_program(self, name: str, token: int, seconds: float | None = None) -> Kill:
        """SIGSTOP a program and all its processes: it holds its port and does nothing.

        After `seconds` it goes on by itself, whatever becomes of the caller; without, until `thaw`.
        Raises Refused for a stale fencing token, InfrastructureError.
        """
        self._lease.check(token)
        began = time.monotonic_ns()
        frozen: set[int] = set()
        if seconds is not None:
            # It exists before anything is frozen, and looks the processes up when its time comes.
            spawn(
                [
                    *(sys.executable, "-m", "orchestrator.drivers.thaw"),
                    *(self.directory, name, str(time.monotonic() + seconds)),
                ],
                log_file=self.directory / "log" / "thaw.log",
            )
        # The parent first: then no child is new.
        while new := [one for one in self.program_processes(name) if one.pid not in frozen]:
            for process in new:
                send(process.pid, signal.SIGSTOP)
                frozen.add(process.pid)
        return Kill(processes=len(frozen), began_ns=began, ended_ns=time.monotonic_ns())

    def thaw_program(self, name: str) -> None:
        """SIGCONT every process of a program; one that runs is not disturbed."""
        # The children first: the parent finds them alive.
        for process in reversed(self.program_processes(name)):
            send(process.pid, signal.SIGCONT)

    def program_processes(self, name: str) -> list[ProcessEntry]:
        """The live processes of a program, itself first; none when it or its machine is down."""
        if not self.is_running() or not (pid := self.program_status(name).pid):
            return []
        table = process_table()
        return sorted(
            (entry for entry in table.values() if pid in ancestry(entry.pid, table)),
            key=lambda entry: (entry.pid != pid, entry.pid),
        )

    def start(self) -> None:
        """Start the supervisord (the machine boots); nothing happens if it answers already.

        Programs with autostart come up by themselves; the database does not (a dead primary must
        not come back on its own). Raises InfrastructureError.
        """
        if self.is_running():
            return
        if left := self.processes():
            raise InfrastructureError(
                f"{len(left)} processes of {self.directory} run without their supervisord",
                "kill the machine first, then start it",
            )
        output = self.directory / "log" / "supervisord.out"
        configuration = self.directory / "etc" / "supervisord.conf"
        if not configuration.exists():
            raise InfrastructureError(
                f"there is no machine in {self.directory}", "`anlan up ENV` makes a lost one anew"
            )
        self.supervisor.path.unlink(missing_ok=True)
        # The same command line as the role `machine` uses: nothing of our environment, which may
        # hold secrets, reaches the servers.
        process = spawn(
            [sys.executable, "-m", "supervisor.supervisord", "-c", str(configuration)],
            log_file=output,
            environment={MARKER: str(self.directory)},
            directory=self.directory,
        )
        deadline = time.monotonic() + _START_TIMEOUT_SECONDS
        while not self.is_running():
            if not process.is_alive() or time.monotonic() > deadline:
                raise InfrastructureError(
                    f"the supervisord of {self.directory} did not start", f"read {output}"
                )
            time.sleep(0.02)

    def program_status(self, name: str) -> ProgramStatus:
        """The state of one program. Raises InfrastructureError when the machine is down."""
        return self.supervisor.status(name)

    def program_start(self, name: str) -> ProgramStatus:
        """Start a program if it is down. Raises InfrastructureError."""
        return self.supervisor.start(name)

    def program_stop(self, name: str, *, timeout_seconds: float = 60.0) -> ProgramStatus:
        """Stop a program and wait for its end. Raises InfrastructureError."""
        return self.supervisor.stop(name, timeout_seconds=timeout_seconds)

    def program_restart(self, name: str) -> ProgramStatus:
        """Stop a program and start it. Raises InfrastructureError.

        After a promotion the ERP of the new primary's site needs it: its pool finds its dead
        connections one by one, waiting 1, 2, 4 … seconds for each (psycopg_pool 3.3): 7 s and more
        were seen, against 1.5 s with a restart.
        """
        self.program_stop(name)
        return self.program_start(name)

    def run(
        self, arguments: Sequence[str | Path], *, as_user: str | None = None, timeout_seconds: float
    ) -> Finished:
        """Run a command on the machine. Raises InfrastructureError."""
        return run(
            arguments,
            as_user=as_user,
            timeout_seconds=timeout_seconds,
            environment={MARKER: str(self.directory)},
        )

    def end_strays(self, commands: Collection[str]) -> None:
        """End processes of these names that no supervisord runs: left by a killed orchestrator."""
        table = process_table()
        supervisor = self._supervisor_pid()
        end(
            entry
            for entry in self.processes()
            if entry.command in commands and supervisor not in ancestry(entry.pid, table)
        )

    def _supervisor_pid(self) -> int | None:
        """The pid in supervisord's pid file, if that process is of this machine."""
        try:
            pid = int((self.directory / "run" / "supervisord.pid").read_text())
        except (OSError, ValueError):
            return None
        return pid if belongs(pid, self.directory, MARKER) else None
