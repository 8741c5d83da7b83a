"""The ERP server of a twin: the site's own programs, on the twin's database, in its namespace.

It speaks plain HTTP on the namespace's loopback, which nothing else can reach.
"""

from __future__ import annotations

import configparser
import contextlib
import signal
from pathlib import Path
from urllib.parse import quote, urlsplit

from orchestrator.drivers.files import write_atomically
from orchestrator.drivers.processes import ProcessEntry, send
from orchestrator.drivers.twin import Twin
from orchestrator.model.environment import Site
from orchestrator.model.errors import InfrastructureError

_PORT = 8000
_PROGRAM = "erp"


class TwinErp:
    """The Tryton server of a twin, configured like the one of `site`. `start` is idempotent."""

    def __init__(
        self, twin: Twin, site: Site, database_port: int, *, venv: Path | None = None
    ) -> None:
        """`venv`: another version of the ERP than the site's."""
        self.twin = twin
        self.settings = site.erp
        self.venv = venv or site.erp.venv
        self.url = f"http://127.0.0.1:{_PORT}"
        self._database_port = database_port
        self.log_file = twin.log_directory / f"{_PROGRAM}.log"
        self._file = twin.directory / "etc" / "trytond.conf"

    def start(self) -> ProcessEntry:
        """Start it; it listens some seconds later. Raises InfrastructureError."""
        self._write_configuration()
        return self.twin.spawn(
            _PROGRAM,
            [
                self.venv / "bin" / "trytond",
                f"--config={self._file}",
                "-d",
                self.settings.database,
            ],
        )

    def update(self, *, timeout_seconds: float) -> None:
        """Update all activated modules of the database; may be repeated.

        What a killed attempt left at work is ended first. Raises InfrastructureError with the
        tool's last words.
        """
        self._write_configuration()
        program = self.venv / "bin" / "trytond-admin"
        for process in self.twin.processes():
            with contextlib.suppress(OSError):
                if str(program).encode() in Path(f"/proc/{process.pid}/cmdline").read_bytes():
                    send(process.pid, signal.SIGKILL)
        self.twin.run(
            [program, f"--config={self._file}", "-d", self.settings.database, "--all"],
            timeout_seconds=timeout_seconds,
        )

    def _write_configuration(self) -> None:
        """The site's file with the twin's database and listener, without TLS and mail."""
        parser = configparser.RawConfigParser()
        try:
            parser.read_string(self.settings.config_file.read_text())
            login = urlsplit(_one_host(parser["database"]["uri"]))
        except (OSError, configparser.Error, KeyError) as error:
            raise InfrastructureError(
                f"no ERP configuration in {self.settings.config_file}: {error}",
                "apply the role `erp`",
            ) from error
        user, password = login.username or "erp", quote(login.password or "", safe="%")
        uri = f"postgresql://{user}:{password}@127.0.0.1:{self._database_port}/"
        parser["database"]["uri"] = uri
        if not parser.has_section("web"):
            parser.add_section("web")
        parser["web"]["listen"] = f"127.0.0.1:{_PORT}"
        for section in ("ssl", "email"):
            parser.remove_section(section)
        lines = []
        for section in parser.sections():
            lines.append(f"[{section}]")
            lines += [f"{name} = {text}" for name, text in parser[section].items()]
        write_atomically(self._file, "\n".join(lines) + "\n", mode=0o600)


def _one_host(uri: str) -> str:
    """The URI with only the first of its hosts, which urlsplit can read."""
    head, _, tail = uri.partition("@")
    hosts, slash, rest = tail.partition("/")
    return f"{head}@{hosts.split(',')[0]}{slash}{rest}"
