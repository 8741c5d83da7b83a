"""The drill `restore` against bare `pgbackrest restore`, PostgreSQL and ERP, in a directory.

Both restore the same backup to the same moment, so both replay the same WAL.
"""

from __future__ import annotations

import configparser
import contextlib
import os
import re
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.drivers.credentials import Credentials
from orchestrator.drivers.erp import Erp
from orchestrator.drivers.files import own, write_atomically
from orchestrator.drivers.pgbackrest import PgBackRest
from orchestrator.drivers.process import drop_to
from orchestrator.drivers.processes import end, process_table
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment, Site
from orchestrator.model.errors import InfrastructureError
from tests.bench.figures import Parts
from tests.bench.place import Place
from tests.bench.script import parts_of, run_script

_REPOSITORY = 2  # as the drill's default
_SERVE_SECONDS = 60.0


@dataclass(frozen=True)
class Target:
    """What is restored: a backup by its label, recovered up to `moment`."""

    backup: str
    moment: datetime


def make_target(place: Place) -> Target:
    """Take a backup, and let the moment to restore to be now.

    What comes after it, which recovery must see, comes with the first run of the drill.
    """
    place.drill("backup")
    environment = place.environment
    latest = PgBackRest(environment, environment.starting_primary).latest(_REPOSITORY)
    return Target(latest.label, datetime.now(UTC))


def drill(place: Place, target: Target) -> Parts:
    """One run of the drill: when its database was open, its ERP served, and all was checked.

    `checked` counts from the order to restore to the end of the last step of the phase verify,
    the engine's own time between the steps included.
    """
    derived = place.drill("restore", f"target={target.moment.isoformat()}")["derived"]
    phases = {phase["name"]: float(phase["seconds"]) for phase in derived["phases"]}
    steps = derived["steps"]
    ordered = next(step["started_seconds"] for step in steps if step["id"] == "create-twin")
    verify = [step for step in steps if step["phase"] == "verify"]
    checks = {step["id"]: float(step["seconds"]) for step in verify}
    return {
        "database": sum(phases[name] for name in ("isolate", "fetch", "recover")),
        "served": float(derived["rto_seconds"]),
        "checked": max(step["started_seconds"] + step["seconds"] for step in verify) - ordered,
        **phases,
        **checks,
    }


def bare(place: Place, target: Target) -> Parts:
    """One run of the script, until its ERP answers a login."""
    environment = place.environment
    site = list(environment.sites.values())[_REPOSITORY - 1]
    user = Secrets(environment).login_of("erp-probe")
    with _scratch(environment, site) as (scratch, erp, variables):
        variables |= {"BACKUP": target.backup, "TARGET": f"{target.moment:%Y-%m-%d %H:%M:%S.%f}+00"}
        moments = run_script("bare_restore.sh", variables)
        served = _await_login(erp, user, scratch)
    began = moments["began"]
    return {
        "database": (moments["recover"] - began) / 1e9,
        "served": (served - began) / 1e9,
        **parts_of({**moments, "application": served}),
    }


def _await_login(erp: Erp, user: Credentials, scratch: Path) -> int:
    """When a login was answered (monotonic ns)."""
    deadline = time.monotonic() + _SERVE_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(InfrastructureError):
            erp.login(user)
            return time.monotonic_ns()
        time.sleep(0.05)
    log = (scratch / "erp.log").read_text()[-1000:]
    raise InfrastructureError(f"the bare ERP does not serve: {log}", "see bare_restore.sh")


@contextmanager
def _scratch(environment: Environment, site: Site) -> Iterator[tuple[Path, Erp, dict[str, str]]]:
    """A directory with the bare servers' configuration; they end and it goes afterwards.

    Yields it, a client of the ERP to come, and the script's variables.
    """
    user = site.machine.service_user
    root = environment.root.resolve()
    with contextlib.ExitStack() as stack:
        scratch = Path(tempfile.mkdtemp(prefix="bench-", dir=root))
        stack.callback(shutil.rmtree, scratch)
        stack.callback(_end_servers, scratch)
        scratch.chmod(0o755)
        own(scratch, user)
        (scratch / "data").mkdir(mode=0o700)
        own(scratch / "data", user)
        database_port, erp_port = _free_ports()
        texts = {
            "pgbackrest.conf": _pgbackrest(site, scratch),
            "postgresql.conf": _postgresql(site, scratch, database_port),
            "pg_hba.conf": "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n",
            "trytond.conf": _trytond(site, database_port, erp_port),
        }
        for name, text in texts.items():
            write_atomically(scratch / name, text, mode=0o600, owner=user)
        variables = {
            "SCRATCH": str(scratch),
            "AS_USER": " ".join(drop_to(user)),
            "STANZA": site.backup.stanza,
            "REPOSITORY": str(_REPOSITORY),
            "BIN": str(site.database.bin_directory),
            "PGPORT": str(database_port),
            "TRYTOND": str(site.erp.venv / "bin" / "trytond"),
            "DATABASE": site.erp.database,
        }
        url = f"http://127.0.0.1:{erp_port}"
        yield scratch, Erp(url, site.erp.database, environment.tls.ca_file), variables


def _end_servers(scratch: Path) -> None:
    """Kill what the script left behind: its servers, and their children with them."""
    roots = {int(path.read_text()) for path in scratch.glob("*.pid")}
    for pid in roots:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    # PostgreSQL's children have sessions of their own; they end when they see it dead.
    end(entry for entry in process_table().values() if _works_in(entry.pid, scratch))


def _works_in(pid: int, directory: Path) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cwd").readlink().is_relative_to(directory)
    return False


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1]), int(two.getsockname()[1])


def _pgbackrest(site: Site, scratch: Path) -> str:
    """The site's file, with another data directory; no asynchronous archive: its spool is live."""
    text = site.backup.config_file.read_text()
    text = re.sub(r"(?m)^(pg1-.*|archive-async=.*|(spool|lock|log)-path=.*)\n", "", text)
    paths = "".join(f"{kind}-path={scratch}\n" for kind in ("spool", "lock", "log"))
    stanza = f"[{site.backup.stanza}]"
    return text.replace("[global]\n", f"[global]\n{paths}", 1).replace(
        stanza, f"{stanza}\npg1-path={scratch}/data", 1
    )


def _postgresql(site: Site, scratch: Path, port: int) -> str:
    """The site's file, at another place, alone."""
    return f"""\
include '{site.database.config_file}'
data_directory = '{scratch}/data'
hba_file = '{scratch}/pg_hba.conf'
external_pid_file = ''
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = '{scratch}'
ssl = off
archive_mode = off
logging_collector = off
"""


def _trytond(site: Site, database_port: int, port: int) -> str:
    """The site's file with the scratch database, without TLS."""
    parser = configparser.RawConfigParser()
    parser.read_string(site.erp.config_file.read_text())
    login = urlsplit(parser["database"]["uri"].split(",")[0]).netloc.rpartition("@")[0]
    return f"""\
[database]
uri = postgresql://{login}@127.0.0.1:{database_port}/
list = False
[web]
listen = 127.0.0.1:{port}
"""
