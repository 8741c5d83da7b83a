"""A client of a twin's ERP, run inside the twin's namespace: `python -m …` with JSON on stdin.

In: {url, database, ca_file, username, password, marker}. It logs in, creates a party, reads it
back, deletes it, and prints {version, created, read, deleted, login_seconds, write_seconds}. An
error ends it with 4 and its text on standard error.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.drivers.credentials import Credentials
from orchestrator.drivers.erp import Erp
from orchestrator.drivers.twin import Twin
from orchestrator.model.errors import AnlanError
from orchestrator.probes.availability import MODEL

_TIMEOUT_SECONDS = 60.0


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


def transact(
    twin: Twin, url: str, database: str, credentials: Credentials, marker: str
) -> TwinTransaction:
    """Run the client in the namespace of `twin`. Raises InfrastructureError."""
    request = {
        "url": url,
        "database": database,
        "ca_file": str(twin.environment.tls.ca_file),
        "username": credentials.username,
        "password": credentials.password,
        "marker": marker,
    }
    finished = twin.run(
        [sys.executable, "-m", "orchestrator.probes.twin_client"],
        stdin=json.dumps(request),
        secrets=[credentials.password],
        timeout_seconds=_TIMEOUT_SECONDS,
    )
    return TwinTransaction(**json.loads(finished.output))


def use(request: dict[str, Any]) -> TwinTransaction:
    """Log in, write, read back, delete. Raises InfrastructureError."""
    erp = Erp(request["url"], request["database"], Path(request["ca_file"]), timeout_seconds=30.0)
    version = erp.version()
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
