"""What the ledger costs the database: pgbench beside its writers, against pgbench alone."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.drivers.postgresql_connection import connect_read_write
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.errors import InfrastructureError
from orchestrator.probes import ledger
from orchestrator.verdict.journal import read_journal
from tests.bench.figures import Parts
from tests.bench.place import Place

_DATABASE = "anlan_bench"
_SCALE = 20
_CLIENTS = 16
_SECONDS = 15


@contextmanager
def database(place: Place) -> Iterator[None]:
    """A database of pgbench's on the primary, dropped afterwards."""
    _tool(place, "dropdb", "--if-exists", "--force", _DATABASE)
    _tool(place, "createdb", _DATABASE)
    try:
        _tool(place, "pgbench", "-i", "-q", "-s", str(_SCALE), _DATABASE)
        yield
    finally:
        _tool(place, "dropdb", "--if-exists", "--force", _DATABASE)


def beside(place: Place) -> Parts:
    """Seconds a transaction of pgbench while the drills' writers work, and their own rate."""
    environment = place.environment
    login = Secrets(environment).database_login()
    run_id = f"bench-{secrets.token_hex(4)}"
    with tempfile.TemporaryDirectory(prefix="anlan-bench-") as folder:
        probe = ledger.start(Path(folder) / "ledger", environment, login, run_id)
        try:
            parts = alone(place)
        finally:
            probe.stop()
            with connect_read_write(environment, login) as connection:
                ledger.cleanup(connection, run_id)
        kinds = [entry["kind"] for entry in read_journal(probe.directory).entries]
    written = kinds.count("acknowledged")
    if not written:
        raise InfrastructureError("the ledger wrote nothing", "see `anlan env check`")
    return {**parts, "ledger": _SECONDS / written}


def alone(place: Place) -> Parts:
    """Seconds a transaction of pgbench (TPC-B-like, 16 clients)."""
    text = _tool(
        place, "pgbench", "-n", "-c", str(_CLIENTS), "-j", "2", "-T", str(_SECONDS), _DATABASE
    )
    found = re.search(r"tps = ([0-9.]+)", text)
    if not found:
        raise InfrastructureError(f"pgbench said {json.dumps(text)}", "run it by hand")
    return {"transaction": 1 / float(found[1])}


def _tool(place: Place, name: str, *arguments: str) -> str:
    site = place.environment.starting_primary.database
    done = subprocess.run(
        [str(site.bin_directory / name), *arguments],
        env={
            **os.environ,
            "PGHOST": str(site.socket_directory),
            "PGPORT": str(site.port),
            "PGUSER": "postgres",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise InfrastructureError(f"{name}: {done.stderr.strip()}", "see `anlan env check`")
    return done.stdout
