"""A machine's supervisord, spoken to by XML-RPC on its unix socket (supervisor 4.3 API)."""

from __future__ import annotations

import http.client
import signal
import socket
import time
import xmlrpc.client
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.model.errors import InfrastructureError

UP = frozenset({"STARTING", "RUNNING"})
DOWN = frozenset({"STOPPED", "EXITED", "FATAL", "UNKNOWN"})
_CALL_TIMEOUT_SECONDS = 10.0
_POLL_SECONDS = 0.02


@dataclass(frozen=True)
class ProgramStatus:
    """State (supervisord's word: RUNNING, STOPPED, EXITED, …), pid (0 if none), exit status."""

    name: str
    state: str
    pid: int
    exit_status: int

    @property
    def is_up(self) -> bool:
        """Whether it runs or is starting."""
        return self.state in UP


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_CALL_TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_CALL_TIMEOUT_SECONDS)
        self.sock.connect(str(self._path))


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        return _Connection(self._path)


class Supervisor:
    """The supervisord that listens on `path`. Every verb raises InfrastructureError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rpc: Any = xmlrpc.client.ServerProxy(
            "http://localhost/RPC2", _Transport(path), allow_none=True
        ).supervisor

    def answers(self) -> bool:
        """Whether something listens on the socket and answers as a supervisord."""
        try:
            return int(self._rpc.getPID()) > 0
        except (OSError, http.client.HTTPException, xmlrpc.client.Error):
            return False

    def pid(self) -> int:
        """The process id of the supervisord."""
        return int(self._call("getPID"))

    def programs(self) -> tuple[ProgramStatus, ...]:
        """The state of every loaded program."""
        return tuple(_status(info) for info in self._call("getAllProcessInfo"))

    def status(self, name: str) -> ProgramStatus:
        """The state of one program."""
        return _status(self._call("getProcessInfo", name))

    def start(self, name: str, *, timeout_seconds: float = 30.0) -> ProgramStatus:
        """Start a program if it is down; returns once it has a process (not: is ready)."""
        if not self.status(name).is_up:
            try:
                self._call("startProcess", name, False)
            except _ProgramFault as fault:
                if "ALREADY_STARTED" not in fault.what:
                    raise
        deadline = time.monotonic() + timeout_seconds
        while not (status := self.status(name)).pid:
            if status.state in DOWN or time.monotonic() > deadline:
                raise InfrastructureError(
                    f"program {name} of {self.path} did not start: it is {status.state}",
                    f"read its log below {self.path.parent.parent / 'log'}",
                )
            time.sleep(_POLL_SECONDS)
        return status

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a program that runs."""
        self._call("signalProcess", name, number.name)

    def order_stop(self, name: str) -> None:
        """Ask a program to stop; however it ends then, it is not started again."""
        if self.status(name).is_up:
            try:
                self._call("stopProcess", name, False)
            except _ProgramFault as fault:
                if "NOT_RUNNING" not in fault.what:
                    raise

    def stop(self, name: str, *, timeout_seconds: float = 60.0) -> ProgramStatus:
        """Stop a program and wait for its end."""
        self.order_stop(name)
        deadline = time.monotonic() + timeout_seconds
        while (status := self.status(name)).state not in DOWN:
            if time.monotonic() > deadline:
                raise InfrastructureError(
                    f"program {name} of {self.path} is {status.state} after {timeout_seconds:g} s",
                    "look at what it waits for (for PostgreSQL often the archiver), then retry",
                )
            time.sleep(_POLL_SECONDS)
        return status

    def _call(self, method: str, *arguments: object) -> Any:
        try:
            return getattr(self._rpc, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            raise _ProgramFault(
                f"supervisord at {self.path} refused {method}{arguments}: {fault.faultString}",
                "see what is wrong with `anlan env check`",
            ) from fault
        except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
            raise InfrastructureError(
                f"no supervisord answers at {self.path}: {error}",
                "the machine is down: bring it back (`anlan env restore ENV`)",
            ) from error


class _ProgramFault(InfrastructureError):
    """supervisord answered, and said no."""


def _status(info: dict[str, Any]) -> ProgramStatus:
    return ProgramStatus(
        name=str(info["name"]),
        state=str(info["statename"]),
        pid=int(info["pid"]),
        exit_status=int(info["exitstatus"]),
    )
