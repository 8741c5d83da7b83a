"""Kind `erp_settings`: how each site's ERP server (Tryton 8.2) is set, and what it does about it.

The file is the one that the running server was started with (`-c` of its command line). Data:
`config_file`; `newer_than_server` (the file was written after the server started: it is not in
force); `overridden` (TRYTOND_* variables of the server, which win over the file: names alone);
`password_length`, `forbidden_passwords` (how many lines the list holds, 0 without one),
`session_max_age_seconds`, `session_timeout_seconds`, `max_attempt`, `max_attempt_ip_network`,
`authentications`, `password_reset_seconds` (defaults are those of trytond 8.2, config.py);
`queue_worker` (demanded by the file), `workers` (processes of trytond-worker), `cron` (of
trytond-cron); `developer_mode` (`--dev`); what was tried without a login: `database_list_refused`,
`debugger_refused`, `web_client_refused`, `method_list_refused`; `server_series`,
`package_series` (of the packages that are installed) and `packages`.
"""

from __future__ import annotations

import configparser
import contextlib
from functools import partial
from pathlib import Path
from typing import Any

import requests

from orchestrator.collect.observe import Collector, Observation
from orchestrator.drivers.erp import Erp
from orchestrator.drivers.erp_version import packages
from orchestrator.drivers.host import Machine
from orchestrator.drivers.lease import LeaseFile
from orchestrator.drivers.processes import process_table
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment, Site
from orchestrator.model.errors import InfrastructureError

KIND = "erp_settings"
_DEFAULTS = {
    ("password", "length"): 8,
    ("password", "reset_timeout"): 24 * 60 * 60,
    ("session", "max_age"): 60 * 60 * 24 * 30,
    ("session", "timeout"): 60 * 5,
    ("session", "max_attempt"): 5,
    ("session", "max_attempt_ip_network"): 300,
}
_TIMEOUT_SECONDS = 5.0
_REFUSALS = frozenset({400, 401, 403, 404, 405})


def collectors(environment: Environment, secrets: Secrets) -> list[Collector]:
    """One collector for each site's server; nobody logs in."""
    return [
        Collector(
            kind=KIND,
            subject=f"{name}/erp",
            source=f"{name}/erp: its process on this host and {site.erp.url}, without login",
            query=(
                "the file of its command line (-c); common.server.version; common.db.list; "
                "GET / and GET /?__debugger__=yes; system.listMethods of the database"
            ),
            look=partial(look, environment, site),
        )
        for name, site in environment.sites.items()
    ]


def look(environment: Environment, site: Site) -> Observation:
    """Ask one server. Raises InfrastructureError, OSError."""
    machine = Machine(site.machine, LeaseFile(environment.lease_file))
    running = machine.program_processes(site.erp.program)
    if not running:
        raise InfrastructureError(f"the ERP of site {site.name} does not run", "start it")
    pid = running[0].pid
    command = _words(pid, "cmdline")
    file = Path(command[command.index("-c") + 1]) if "-c" in command else site.erp.config_file
    commands = []
    for one in machine.processes():
        with contextlib.suppress(OSError):  # it ended meanwhile
            commands.append(" ".join(_words(one.pid, "cmdline")))
    installed = packages(site.erp.venv)
    data = {
        "config_file": str(file),
        "newer_than_server": file.stat().st_mtime > _started(pid),
        "overridden": sorted(
            word.partition("=")[0] for word in _words(pid, "environ") if word.startswith("TRYTOND_")
        ),
        **_settings(file),
        "workers": sum("trytond-worker" in one for one in commands),
        "cron": sum("trytond-cron" in one for one in commands),
        "developer_mode": "--dev" in command,
        "packages": [f"{name} {version}" for name, version in installed.items()],
        "package_series": sorted({_series(version) for version in installed.values()}),
        **_tries(environment, site),
    }
    return Observation(data, len(data))


def _words(pid: int, name: str) -> list[str]:
    text = Path(f"/proc/{pid}/{name}").read_bytes().decode(errors="replace")
    return [word for word in text.split("\0") if word]


def _started(pid: int) -> float:
    """When a process began, seconds since 1970: by its entry in /proc."""
    entry = process_table().get(pid)
    boot = next(
        line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime")
    )
    # USER_HZ is 100 on every Linux that this runs on (proc(5), field starttime).
    return float(boot.split()[1]) + (entry.started if entry else 0) / 100 + 1


def _settings(file: Path) -> dict[str, Any]:
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(file.read_text())

        def number(section: str, option: str) -> int:
            return parser.getint(section, option, fallback=_DEFAULTS[section, option])

        forbidden = parser.get("password", "forbidden", fallback="")
        methods = parser.get("session", "authentications", fallback="password")
        return {
            "password_length": number("password", "length"),
            "password_reset_seconds": number("password", "reset_timeout"),
            "forbidden_passwords": _lines(Path(forbidden)) if forbidden else 0,
            "session_max_age_seconds": number("session", "max_age"),
            "session_timeout_seconds": number("session", "timeout"),
            "max_attempt": number("session", "max_attempt"),
            "max_attempt_ip_network": number("session", "max_attempt_ip_network"),
            "authentications": [one.strip() for one in methods.split(",")],
            "queue_worker": parser.getboolean("queue", "worker", fallback=False),
        }
    except (configparser.Error, ValueError) as error:
        raise InfrastructureError(
            f"{file} cannot be read: {error}", "apply the role `erp`"
        ) from error


def _lines(file: Path) -> int:
    return len([line for line in file.read_text().splitlines() if line.strip()])


def _tries(environment: Environment, site: Site) -> dict[str, Any]:
    """What a stranger is answered. Raises InfrastructureError, requests.RequestException."""
    client = Erp(site.erp.url, site.erp.database, environment.tls.ca_file)
    try:
        series = client.version()
    finally:
        client.close()
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(environment.tls.ca_file)

        def refused(method: str, path: str, body: dict[str, Any] | None = None) -> bool:
            answer = session.request(
                method, f"{site.erp.url}{path}", json=body, timeout=_TIMEOUT_SECONDS
            )
            return answer.status_code in _REFUSALS

        return {
            "server_series": series,
            "database_list_refused": refused("POST", "/rpc/", _call("common.db.list")),
            "method_list_refused": refused(
                "POST", f"/{site.erp.database}/rpc/", _call("system.listMethods")
            ),
            "web_client_refused": refused("GET", "/"),
            "debugger_refused": refused("GET", "/?__debugger__=yes&cmd=resource&f=style.css"),
        }


def _call(method: str) -> dict[str, Any]:
    return {"id": 1, "method": method, "params": []}


def _series(version: str) -> str:
    return ".".join(version.split(".")[:2])
