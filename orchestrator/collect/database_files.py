"""Kind `database_files`: who may touch each server's files, and what it runs with.

Looked at on the machine itself. Data: lists of texts like `data/pg 0755` or `etc/pgpass of root`,
paths from the machine's directory:

- `strangers` (files of the server that belong to another than its system user)
- open to group or others: `open_data`, `open_configuration`, `open_keys` (private keys,
  passwords, the keys of the backups), `open_logs`, `open_sockets`
- `logs_in_data_directory`, `tablespaces_in_data_directory`, `links` (symbolic links at the top of
  the data directory) and `data_files` (names at its top)
- of the running server: `running_version`, `installed_version` (of the program on the disk) and
  `waits_for_restart` (they differ), `process_user`, `process_mask` (its umask, octal),
  `secret_variables` (names in its environment that libpq takes a password from)
"""

from __future__ import annotations

import pwd
import re
import stat
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.collect.observe import Collector, Observation
from orchestrator.drivers.postgresql import PostgreSQL
from orchestrator.drivers.postgresql_connection import row
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment, Site

KIND = "database_files"
_VARIABLES = ("PGPASSWORD", "PGPASSFILE", "PGSERVICEFILE")
# A superuser alone sees the files that settings come from.
_SERVER = (
    "SELECT current_setting('server_version'), current_setting('ssl_key_file'),"
    " array(SELECT DISTINCT sourcefile FROM pg_settings WHERE sourcefile IS NOT NULL)"
    " || current_setting('hba_file') || current_setting('ident_file')"
)
_QUERY = (
    "stat of the data directory, configuration, keys, logs and socket; /proc/PID/status and "
    f"/proc/PID/environ of the server; postgres --version; {_SERVER}"
)


def collectors(environment: Environment, secrets: Secrets) -> list[Collector]:
    """One collector for each site's server; the secret manager is not needed."""
    return [
        Collector(
            kind=KIND,
            subject=f"{name}/postgresql",
            source=f"{name}'s machine {site.machine.directory}, as the collector's system user",
            query=_QUERY,
            look=partial(look, environment, site),
        )
        for name, site in environment.sites.items()
    ]


def look(environment: Environment, site: Site) -> Observation:
    """Look at one machine. Raises InfrastructureError, OSError, psycopg.Error."""
    settings, root = site.database, site.machine.directory
    server = PostgreSQL(environment, site)
    data = settings.data_directory
    with server.connect_local() as connection:
        running, own_key, configuration = row(connection, _SERVER)
    # Its own key, and those that it and pg_rewind show to the other server.
    keys = [Path(own_key), settings.key_file, settings.key_file.with_name("rewinder.key")]
    groups = {
        "open_data": [data],
        "open_configuration": [Path(name) for name in sorted(configuration)],
        "open_keys": [settings.passfile, site.backup.config_file, *keys],
        "open_logs": sorted(settings.log_directory.glob("postgresql-*.log")),
        "open_sockets": [settings.socket_directory / f".s.PGSQL.{settings.port}"],
    }
    own = [data, *groups["open_configuration"], *groups["open_keys"]]
    installed = server.machine.run(
        [settings.bin_directory / "postgres", "--version"], timeout_seconds=5
    ).output
    process = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
    top = sorted(data.iterdir())
    found: dict[str, Any] = {
        name: [f"{_name(path, root)} {_mode(path):04o}" for path in paths if _mode(path) & 0o077]
        for name, paths in groups.items()
    }
    found |= {
        "strangers": [
            f"{_name(path, root)} of {_owner(path)}"
            for path in (*own, *groups["open_logs"])
            if _owner(path) != site.machine.service_user
        ],
        "logs_in_data_directory": settings.log_directory.is_relative_to(data),
        "tablespaces_in_data_directory": _inside(data, (data / "pg_tblspc").iterdir()),
        "links": [path.name for path in top if path.is_symlink()],
        "data_files": [path.name for path in top],
        "running_version": running,
        "waits_for_restart": running != _version(installed),
        "installed_version": _version(installed),
        **_process(Path("/proc", str(process))),
    }
    return Observation(found, len(own) + len(top) + sum(map(len, groups.values())))


def _version(said: str) -> str:
    """Of what `postgres --version` says, what `server_version` is."""
    return said.strip().removeprefix("postgres (PostgreSQL) ")


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _owner(path: Path) -> str:
    return pwd.getpwuid(path.stat().st_uid).pw_name


def _name(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def _inside(folder: Path, links: Iterable[Path]) -> list[str]:
    """Which links lead into the folder: a tablespace there would be copied twice."""
    return [link.name for link in links if link.resolve().is_relative_to(folder)]


def _process(folder: Path) -> dict[str, Any]:
    """What the kernel knows of the server's first process. Raises OSError, PermissionError."""
    status = (folder / "status").read_text()
    variables = (folder / "environ").read_bytes().decode(errors="replace").split("\0")
    mask = re.search(r"^Umask:\s+(\d+)$", status, re.MULTILINE)
    return {
        "process_user": _owner(folder),
        "process_mask": mask[1] if mask else None,
        "secret_variables": sorted({one.partition("=")[0] for one in variables} & {*_VARIABLES}),
    }
