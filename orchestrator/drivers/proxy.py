"""The front door (haproxy 2.6), switched through its runtime socket.

One server of the backend is ready, the other in maintenance. A switch is one round trip; after
it the state is saved in the file that haproxy loads at start, so a restart keeps the routing.
"""

from __future__ import annotations

import csv
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from orchestrator.drivers.files import write_atomically
from orchestrator.drivers.lease import LeaseFile
from orchestrator.model.environment import Environment
from orchestrator.model.errors import InfrastructureError, InputError

_TIMEOUT_SECONDS = 5.0
# SRV_ADMF_* of haproxy's include/haproxy/server-t.h. In maintenance: forced, inherited, configured,
# resolver; draining: forced, inherited.
_CLOSED = 0x01 | 0x02 | 0x04 | 0x20 | 0x08 | 0x10
_RUNNING = 2


@dataclass(frozen=True)
class ServerState:
    """One server of the backend: whether it takes new requests, and whether its checks pass."""

    site: str
    address: str
    enabled: bool
    healthy: bool


class FrontDoor:
    """The proxy of an environment. Verbs raise InfrastructureError when it does not answer."""

    def __init__(self, environment: Environment) -> None:
        self.settings = environment.front_door
        self._lease = LeaseFile(environment.lease_file)

    def servers(self) -> tuple[ServerState, ...]:
        """The state of each site's server now."""
        return self._states(self._command(f"show servers state {self.settings.backend}"))

    def active(self) -> str | None:
        """The one site that gets the traffic; None when it is none, or more than one."""
        return _only([state.site for state in self.servers() if state.enabled])

    def drain(self, token: int, *, timeout_seconds: float) -> int:
        """Give no server new requests, and wait for those at work; returns how many still were.

        `route` opens the door again. Raises Refused for a stale fencing token.
        """
        self._lease.check(token)
        backend = self.settings.backend
        servers = self.settings.servers.values()
        self._command("; ".join(f"set server {backend}/{one} state drain" for one in servers))
        deadline = time.monotonic() + timeout_seconds
        while (left := self._requests()) and time.monotonic() < deadline:
            time.sleep(0.01)
        return left

    def _requests(self) -> int:
        """How many requests the servers work on now."""
        rows = csv.DictReader(self._command("show stat").removeprefix("# ").splitlines())
        servers = self.settings.servers.values()
        mine = [row for row in rows if row["pxname"] == self.settings.backend]
        return sum(int(row["scur"]) for row in mine if row["svname"] in servers)

    def route(self, site: str, token: int) -> None:
        """Send all traffic to `site` and cut the sessions of the other; returns when it is so.

        Raises Refused for a stale fencing token, InputError for an unknown site.
        """
        self._lease.check(token)
        backend, servers = self.settings.backend, self.settings.servers
        if site not in servers:
            raise InputError(f"the front door has no site {site!r}", f"one of {sorted(servers)}")
        others = [server for name, server in servers.items() if name != site]
        commands = [
            *(f"set server {backend}/{server} state maint" for server in others),
            f"set server {backend}/{servers[site]} state ready",
            *(f"shutdown sessions server {backend}/{server}" for server in others),
            f"show servers state {backend}",
        ]
        answer = self._command("; ".join(commands))
        if _only([state.site for state in self._states(answer) if state.enabled]) != site:
            raise InfrastructureError(
                f"the front door does not route to site {site} alone: {answer.strip()}",
                f"look at `show servers state` on {self.settings.runtime_socket}",
            )
        try:
            write_atomically(self.settings.state_file, answer[answer.index("1\n") :], mode=0o644)
        except (OSError, ValueError) as error:
            raise InfrastructureError(
                f"routed to {site}, but {self.settings.state_file} was not written: {error}",
                "make its folder writable and route again, else a restart forgets the switch",
            ) from error

    def _states(self, answer: str) -> tuple[ServerState, ...]:
        sites = {server: site for site, server in self.settings.servers.items()}
        header = next((line for line in answer.splitlines() if line.startswith("# be_id")), "")
        names = header[2:].split()
        states = []
        for line in answer.splitlines():
            row = dict(zip(names, line.split(), strict=False))
            if row.get("be_name") != self.settings.backend or row["srv_name"] not in sites:
                continue
            states.append(
                ServerState(
                    site=sites[row["srv_name"]],
                    address=f"{row['srv_addr']}:{row['srv_port']}",
                    enabled=not int(row["srv_admin_state"]) & _CLOSED,
                    healthy=int(row["srv_op_state"]) == _RUNNING,
                )
            )
        if {state.site for state in states} != set(self.settings.servers):
            raise InfrastructureError(
                f"the front door has no backend {self.settings.backend} with servers "
                f"{sorted(self.settings.servers.values())}: {answer.strip()}",
                "apply the role `frontdoor`",
            )
        return tuple(sorted(states, key=lambda state: state.site))

    def _command(self, text: str) -> str:
        return runtime_command(self.settings.runtime_socket, text)


def runtime_command(path: Path, text: str) -> str:
    """Send one line to a runtime socket and return the whole answer.

    Raises InfrastructureError when nothing answers within 5 s.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            link.settimeout(_TIMEOUT_SECONDS)
            link.connect(str(path))
            link.sendall(text.encode() + b"\n")
            parts = []
            while part := link.recv(65536):
                parts.append(part)
    except OSError as error:
        raise InfrastructureError(
            f"the front door does not answer at {path}: {error}", "start the program `frontdoor`"
        ) from error
    return b"".join(parts).decode()


def _only(sites: list[str]) -> str | None:
    return sites[0] if len(sites) == 1 else None
