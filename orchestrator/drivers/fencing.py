"""The proof that an old primary can do no more harm, without which nothing is promoted.

Two ways to be fenced: the whole machine is dead (failover), or its database is stopped and its
supervisord, which answers, says so (switchover). Each check is a look at the world; a check that
cannot be made (a time-out, no answer) counts against the proof.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from orchestrator.drivers.host import Machine
from orchestrator.drivers.supervisor import DOWN
from orchestrator.model.environment import Site
from orchestrator.model.errors import Refused

_CONNECT_TIMEOUT_SECONDS = 1.0
_FRESH_SECONDS = 60.0


@dataclass(frozen=True)
class FencingProof:
    """What was seen of the fenced `site` at `at` (UTC); `kind` is `machine` or `database`."""

    site: str
    at: datetime
    kind: str
    checks: Mapping[str, bool | int]


def fence_machine(site: Site, machine: Machine) -> FencingProof:
    """Prove that the machine of `site` is dead: no process, no supervisord, no database port.

    Raises Refused, naming what is still alive.
    """
    left = machine.processes()
    checks: dict[str, bool | int] = {
        "machine_processes": len(left),
        "supervisor_down": not machine.is_running(),
        "port_refused": _port_is_refused(site),
    }
    if checks != {"machine_processes": 0, "supervisor_down": True, "port_refused": True}:
        alive = ", ".join(f"{process.command} ({process.pid})" for process in left[:5]) or "none"
        raise Refused(
            f"site {site.name} is not fenced: {_words(checks)}"
            + (f"; alive: {alive}" * bool(left)),
            f"kill the machine {machine.directory} and fence again; never promote before that",
        )
    return FencingProof(site=site.name, at=datetime.now(UTC), kind="machine", checks=checks)


def fence_database(site: Site, machine: Machine) -> FencingProof:
    """Prove that the database of `site` is stopped while its machine lives (switchover).

    The program does not restart by itself (role `postgresql`: autorestart off), so a stopped one
    stays stopped. Raises Refused, or InfrastructureError when the supervisord does not answer.
    """
    status = machine.program_status(site.database.program)
    pid_file = site.database.data_directory / "postmaster.pid"
    checks: dict[str, bool | int] = {
        "program_stopped": status.state in DOWN,
        "postmaster_pid_absent": not pid_file.exists(),
        "port_refused": _port_is_refused(site),
    }
    if not all(checks.values()):
        raise Refused(
            f"the database of site {site.name} is not fenced: {_words(checks)}",
            "stop it, wait until its port refuses, and fence again; never promote before that",
        )
    return FencingProof(site=site.name, at=datetime.now(UTC), kind="database", checks=checks)


def require(proof: FencingProof, site: str) -> None:
    """Return if `proof` is about `site`, the old primary, holds what was seen, and is fresh.

    Raises Refused.
    """
    if proof.site != site:
        raise Refused(
            f"the fencing proof is about site {proof.site}, but the old primary is {site}",
            f"fence site {site} and promote with that proof",
        )
    age = (datetime.now(UTC) - proof.at).total_seconds()
    if not proof.checks or age > _FRESH_SECONDS:
        raise Refused(
            f"the fencing proof about site {site} holds {len(proof.checks)} checks and is "
            f"{age:.0f} s old: a site that was dead then may live now",
            f"fence site {site} again, immediately before the promotion",
        )


def _port_is_refused(site: Site) -> bool:
    """Whether a connection is actively refused: silence is no proof."""
    try:
        socket.create_connection(
            (site.database.address, site.database.port), timeout=_CONNECT_TIMEOUT_SECONDS
        ).close()
    except OSError as error:
        return error.errno == errno.ECONNREFUSED
    return False


def _words(checks: Mapping[str, bool | int]) -> str:
    return ", ".join(f"{name} {str(value).lower()}" for name, value in checks.items())
