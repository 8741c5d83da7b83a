"""Kind `open_ports`: what each machine listens on by TCP, and what answers a stranger there.

Data: `ports`, each with `program` (supervisord's name, or
the command of a process that it does not run), `address`, `port`, `judged` (whether it is an
endpoint of kind `tls_endpoint`), `answer` to a ClientHello of TLS 1.3 (`tls`: a ServerHello;
`alert`: a TLS server that will have no stranger; `other`; `none`); `programs`: their names, each
once; `beyond`: ports on another address than the machine's; `unencrypted`: ports that do not answer
as TLS does (of PostgreSQL's protocol after an SSLRequest).
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Any

from orchestrator.collect.handshake import Endpoint, NoTls, Protocol, before_hello
from orchestrator.collect.hello import NoChoice, Unreadable, ask
from orchestrator.collect.observe import Collector, Observation
from orchestrator.collect.tls_endpoint import administration, endpoints
from orchestrator.collect.tls_names import GROUPS, SUITES_1_3
from orchestrator.drivers.host import Machine
from orchestrator.drivers.lease import LeaseFile
from orchestrator.drivers.listeners import Listener, listeners
from orchestrator.drivers.processes import ancestry, process_table
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment, MachineSettings
from orchestrator.model.errors import InfrastructureError

KIND = "open_ports"


def collectors(environment: Environment, secrets: Secrets) -> list[Collector]:
    """One collector for each machine; nobody logs in."""
    machines = {name: site.machine for name, site in environment.sites.items()}
    machines["common"] = environment.front_door.machine
    return [
        Collector(
            kind=KIND,
            subject=f"{name}/machine",
            source=f"the processes of {settings.directory} on this host",
            query="/proc/net/tcp in state LISTEN, by process; a ClientHello of TLS 1.3 to each",
            look=partial(look, environment, settings),
        )
        for name, settings in machines.items()
    ]


def look(environment: Environment, settings: MachineSettings) -> Observation:
    """List the ports and ask each. Raises InfrastructureError."""
    known = {(one.address, one.port): one for one in endpoints(environment).values()}
    for site in environment.sites.values():
        # A store that is down has no administration port to tell from others.
        with contextlib.suppress(InfrastructureError):
            if site.machine == settings:
                admin = administration(environment, site)
                known[admin.address, admin.port] = admin
    machine = Machine(settings, LeaseFile(environment.lease_file))
    programs = {one.pid: one.name for one in machine.supervisor.programs() if one.pid}
    table = process_table()
    ports = []
    for one in listeners(machine.processes()):
        above = ancestry(one.process.pid, table) & programs.keys()
        program = programs[min(above)] if above else one.process.command
        ports.append(_port(program, one, known.get((one.address, one.port))))
    if not ports:
        raise InfrastructureError(f"nothing of {settings.directory} listens", "start its programs")
    data = {
        "ports": ports,
        "programs": sorted({str(one["program"]) for one in ports}),
        "beyond": [_text(one) for one in ports if one["address"] != settings.address],
        "unencrypted": [_text(one) for one in ports if one["answer"] not in {"tls", "alert"}],
    }
    return Observation(data, len(ports))


def _text(port: dict[str, Any]) -> str:
    return f"{port['program']} at {port['address']}:{port['port']}"


def _port(program: str, listener: Listener, endpoint: Endpoint | None) -> dict[str, Any]:
    protocol: Protocol = endpoint.protocol if endpoint else "http"
    asked = endpoint or Endpoint(listener.address, listener.port, protocol)
    return {
        "program": program,
        "address": listener.address,
        "port": listener.port,
        "judged": endpoint is not None,
        "answer": _answer(asked),
    }


def _answer(endpoint: Endpoint) -> str:
    try:
        with before_hello(endpoint) as link:
            ask(link, "TLSv1.3", list(SUITES_1_3), list(GROUPS))
    except NoChoice as refusal:
        return "alert" if "alert" in str(refusal) else "none"
    except (Unreadable, NoTls):
        return "other"
    except (InfrastructureError, OSError):
        return "none"
    return "tls"
