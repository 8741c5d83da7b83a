"""A client of a twin's ERP, run inside the twin's namespace: `python -m …` with JSON on stdin.

In: {url, database, ca_file, username, password, marker, server: {pid, started, log_file}}. It waits
until the server answers, logs in, creates a party, reads it back, deletes it, and prints {version,
created, read, deleted, login_seconds, write_seconds}. An error ends it with 4 and its text on
standard error.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.drivers.credentials import Credentials
from orchestrator.drivers.erp import Erp
from orchestrator.drivers.processes import ProcessEntry
from orchestrator.drivers.twin_erp import TwinErp
from orchestrator.model.errors import AnlanError, InfrastructureError
from orchestrator.probes.availability import MODEL

_START_TIMEOUT_SECONDS = 60.0
_ANSWER_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True)
class TwinTransaction:
    """What the client could do; times in seconds."""

    version: str
    created: bool
    read: bool
    deleted: bool
    login_seconds: float
    write_seconds: float

    @property
    def is_complete(self) -> bool:
        """Whether the record was written, read back as written, and deleted."""
        return self.created and self.read and self.deleted


def transact(erp: TwinErp, credentials: Credentials, marker: str) -> TwinTransaction:
    """Start the ERP of a twin and run the client in its namespace. Raises InfrastructureError."""
    server = erp.start()
    request = {
        "url": erp.url,
        "database": erp.settings.database,
        "ca_file": str(erp.twin.environment.tls.ca_file),
        "username": credentials.username,
        "password": credentials.password,
        "marker": marker,
        "server": {
            "pid": server.pid,
            "started": server.started,
            "log_file": str(erp.log_file),
        },
    }
    finished = erp.twin.run(
        [sys.executable, "-m", "orchestrator.probes.twin_client"],
        stdin=json.dumps(request),
        secrets=[credentials.password],
        timeout_seconds=_START_TIMEOUT_SECONDS + 3 * _ANSWER_TIMEOUT_SECONDS,
    )
    return TwinTransaction(**json.loads(finished.output))


def use(request: Mapping[str, Any]) -> TwinTransaction:
    """Log in, write, read back, delete. Raises InfrastructureError."""
    erp = Erp(
        request["url"],
        request["database"],
        Path(request["ca_file"]),
        timeout_seconds=_ANSWER_TIMEOUT_SECONDS,
    )
    version = _version(erp, request["server"])
    began = time.monotonic()
    erp.login(Credentials(request["username"], request["password"]))
    logged_in = time.monotonic()
    name = f"{request['marker']}-twin"
    ids = erp.create(MODEL, [{"name": name}])
    written = time.monotonic()
    rows = erp.read(MODEL, ids, ["name"])
    erp.delete(MODEL, ids)
    return TwinTransaction(
        version=version,
        created=bool(ids),
        read=[row["name"] for row in rows] == [name],
        deleted=not erp.search(MODEL, [["id", "in", ids]]),
        login_seconds=logged_in - began,
        write_seconds=written - logged_in,
    )


def _version(erp: Erp, server: Mapping[str, Any]) -> str:
    """The server's version, as soon as it answers; it may have been started just now."""
    deadline = time.monotonic() + _START_TIMEOUT_SECONDS
    while True:
        try:
            return erp.version()
        except InfrastructureError as error:
            alive = ProcessEntry(server["pid"], 0, "", server["started"]).is_alive()
            if alive and time.monotonic() < deadline:
                time.sleep(0.05)
                continue
            log = Path(server["log_file"])
            tail = " | ".join(log.read_text(errors="replace").splitlines()[-6:])
            happened = "does not answer" if alive else "ended"
            raise InfrastructureError(
                f"the ERP of the twin {happened}: {tail}", f"read {log}"
            ) from error


def main() -> int:
    """Read the request, print the result."""
    try:
        result = use(json.load(sys.stdin))
    except AnlanError as error:
        sys.stderr.write(f"{error.what}\n")
        return error.exit_code
    sys.stdout.write(json.dumps(asdict(result)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
