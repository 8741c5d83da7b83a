"""What a twin can reach: the same connections are tried from inside its namespace and from here.

As a module, `python -m orchestrator.drivers.twin_egress`, it reads `[[address, port], …]` from
standard input, tries each for one second and prints `[bool, …]`.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from orchestrator.drivers.twin import Twin, namespace_of
from orchestrator.model.environment import Environment

_TIMEOUT_SECONDS = 1.0


@dataclass(frozen=True)
class Egress:
    """One production endpoint: reached from inside the twin, and from outside (the control)."""

    name: str
    address: str
    port: int
    inside: bool
    outside: bool


@dataclass(frozen=True)
class EgressReport:
    """Every endpoint tried, and the inodes of the two network namespaces."""

    endpoints: tuple[Egress, ...]
    twin_namespace: int
    host_namespace: int

    @property
    def is_isolated(self) -> bool:
        """Whether nothing was reached from inside while the control reached something outside."""
        return (
            self.twin_namespace != self.host_namespace
            and not any(endpoint.inside for endpoint in self.endpoints)
            and any(endpoint.outside for endpoint in self.endpoints)
        )


def production_endpoints(environment: Environment) -> dict[str, tuple[str, int]]:
    """Every address of the environment by name (a/database, b/erp, secrets, front_door, …)."""
    found = {}
    for name, site in environment.sites.items():
        found[f"{name}/database"] = (site.database.address, site.database.port)
        found[f"{name}/erp"] = _address(site.erp.url)
        found[f"{name}/object_store"] = _address(site.object_store.url)
    for name, end in environment.line.ends.items():
        found[f"line/to_{name}"] = (end.address, end.port)
    found["secrets"] = _address(environment.secrets.url)
    found["front_door"] = _address(environment.front_door.url)
    return found


def egress(twin: Twin, allowed: Sequence[tuple[str, int]] = ()) -> EgressReport:
    """Try every production endpoint but the gateways (`allowed`) from both sides.

    Raises InfrastructureError when the attempt itself cannot be made.
    """
    endpoints = {
        name: endpoint
        for name, endpoint in production_endpoints(twin.environment).items()
        if endpoint not in allowed
    }
    finished = twin.run(
        [sys.executable, "-m", "orchestrator.drivers.twin_egress"],
        stdin=json.dumps(list(endpoints.values())),
        timeout_seconds=10.0 + 2 * _TIMEOUT_SECONDS * len(endpoints),
    )
    inside: list[bool] = json.loads(finished.output)
    return EgressReport(
        endpoints=tuple(
            Egress(name, address, port, reached, is_reached(address, port))
            for (name, (address, port)), reached in zip(endpoints.items(), inside, strict=True)
        ),
        twin_namespace=twin.namespace(),
        host_namespace=namespace_of("self"),
    )


def is_reached(address: str, port: int) -> bool:
    """Whether a TCP connection is accepted within a second."""
    try:
        socket.create_connection((address, port), timeout=_TIMEOUT_SECONDS).close()
    except OSError:
        return False
    return True


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def main() -> None:
    """Try the endpoints on standard input."""
    sys.stdout.write(json.dumps([is_reached(*endpoint) for endpoint in json.load(sys.stdin)]))


if __name__ == "__main__":
    main()
