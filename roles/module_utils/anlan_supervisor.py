"""A machine's supervisord, spoken to by XML-RPC on its unix socket (M/run/supervisor.sock)."""

from __future__ import annotations

import contextlib
import http.client
import socket
import time
import xmlrpc.client
from pathlib import Path
from typing import Any

from supervisor.xmlrpc import SupervisorTransport

CALL_TIMEOUT_SECONDS = 10.0
UP = frozenset({"STARTING", "RUNNING"})
DOWN = frozenset({"STOPPED", "EXITED", "FATAL", "UNKNOWN", "BACKOFF"})


class Supervisor:
    """The verbs the roles need. Every one raises OSError when the machine is not running."""

    def __init__(self, machine: Path) -> None:
        self.machine = machine
        self.socket = machine / "run" / "supervisor.sock"
        socket.setdefaulttimeout(CALL_TIMEOUT_SECONDS)

    @property
    def _rpc(self) -> Any:
        # A new connection for every call: the transport cannot be used again after an error.
        transport = SupervisorTransport(None, None, f"unix://{self.socket}")
        return xmlrpc.client.ServerProxy("http://127.0.0.1", transport).supervisor

    def pid(self) -> int | None:
        """The process id of a supervisord that answers, or None."""
        try:
            return int(self._rpc.getPID())
        except (OSError, xmlrpc.client.Error, http.client.HTTPException):
            return None

    def info(self, name: str) -> dict[str, Any] | None:
        """State, pid and exit status of program ``name``; None when it is not loaded."""
        try:
            return dict(self._rpc.getProcessInfo(name))
        except xmlrpc.client.Fault:
            return None

    def pending(self, name: str) -> bool:
        """Whether the configuration on disk of ``name`` is not the one that is loaded."""
        try:
            ((added, changed, removed),) = self._rpc.reloadConfig()
        except xmlrpc.client.Fault as fault:
            folder = self.machine / "etc" / "programs"
            raise OSError(f"supervisord refuses the files in {folder}: {fault.faultString}") from (
                fault
            )
        return name in {*added, *changed, *removed}

    def unload(self, name: str) -> None:
        """Stop ``name`` and forget its loaded configuration."""
        self.stop(name)
        with contextlib.suppress(xmlrpc.client.Fault):
            self._rpc.removeProcessGroup(name)

    def load(self, name: str) -> None:
        """Load the configuration of ``name`` from the disk (after `pending`)."""
        with contextlib.suppress(xmlrpc.client.Fault):
            self._rpc.addProcessGroup(name)

    def start(self, name: str) -> None:
        """Ask for a start and return at once; the caller waits for readiness."""
        with contextlib.suppress(xmlrpc.client.Fault):
            self._rpc.startProcess(name, False)

    def signal(self, name: str, number: int) -> None:
        """Send a signal to the program's process."""
        self._rpc.signalProcess(name, str(number))

    def stop(self, name: str) -> None:
        """Stop ``name`` and wait for its end (supervisord kills it after stopwaitsecs)."""
        with contextlib.suppress(xmlrpc.client.Fault):
            self._rpc.stopProcess(name, False)
        while (info := self.info(name)) and info["statename"] not in DOWN - {"BACKOFF"}:
            time.sleep(0.05)

    def shutdown(self) -> None:
        """Ask supervisord to stop all programs and end; returns at once."""
        with contextlib.suppress(OSError, xmlrpc.client.Error, http.client.HTTPException):
            self._rpc.shutdown()
