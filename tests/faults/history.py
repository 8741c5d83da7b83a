"""Records a history while a drill runs: writers and observers of its own, not the drill's probes.

What a history holds and how it is judged: tests/faults/check_history.py.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psycopg
from psycopg.errors import ReadOnlySqlTransaction

from orchestrator.drivers.credentials import Credentials
from orchestrator.drivers.postgresql_connection import connection_parameters, value
from orchestrator.model.environment import Environment
from orchestrator.verdict.journal import read_journal
from tests.faults.check_history import SCHEMA

_WRITE_PAUSE_SECONDS = 0.04
_LOOK_PAUSE_SECONDS = 0.02
_KINDS = {"sent": "invoke", "acknowledged": "ack", "refused": "refuse", "unknown": "unknown"}


class Recorder:
    """Writes keys under the name `run` into the ledger's table, and watches who is writable."""

    def __init__(
        self, environment: Environment, login: Credentials, run: str, *, writers: int
    ) -> None:
        self.run = run
        self._environment = environment
        self._login = login
        self._events: list[dict[str, Any]] = []
        self._stop = threading.Event()
        works: list[tuple[Callable[..., None], tuple[Any, ...]]] = [
            *((self._write, (number,)) for number in range(writers)),
            *((self._watch, (site,)) for site in environment.sites),
        ]
        self._threads = [
            threading.Thread(target=work, args=args, daemon=True) for work, args in works
        ]

    def start(self) -> None:
        """Begin to write and to watch."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End, once the last writes were answered."""
        self._stop.set()
        for thread in self._threads:
            thread.join(10)

    def add_drill(self, run_directory: Path) -> None:
        """Take what the drill's own ledger did, and its moments."""
        raw = run_directory / "raw"
        for entry in read_journal(raw / "ledger.jsonl").entries:
            if kind := _KINDS.get(str(entry["kind"])):
                self._note(kind, int(entry["t"]), key=entry["key"], writer="drill")
        for line in (raw / "steps.jsonl").read_text().splitlines():
            entry = json.loads(line)
            if entry["kind"] == "mark" and entry["name"] in {"fault", "promoted"}:
                self._note(str(entry["name"]), int(entry["t"]))

    def save(self, path: Path, header: Mapping[str, Any], keys: list[str], lost: list[str]) -> None:
        """Write the history: `keys` are there in the end, `lost` the drill calls lost."""
        events = sorted(self._events, key=lambda event: int(event["t"]))
        first = {"kind": "header", "schema": SCHEMA, "t": int(events[0]["t"]), **header}
        now = time.monotonic_ns()
        events = [first, *events, {"kind": "final", "t": now, "keys": keys}]
        events.append({"kind": "end", "t": now, "events": len(events), "reported": lost})
        lines = [json.dumps({"seq": seq, **event}) for seq, event in enumerate(events)]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")

    def _note(self, kind: str, t_ns: int | None = None, **fields: Any) -> None:
        now = time.monotonic_ns() if t_ns is None else t_ns
        self._events.append({"kind": kind, "t": now, **fields})

    def _connect(self, sites: list[str], *, read_write: bool) -> psycopg.Connection[Any]:
        parameters = connection_parameters(
            self._environment,
            [self._environment.sites[site] for site in sites],
            self._login,
            read_write=read_write,
            timeout_seconds=2,
        )
        return psycopg.connect(**parameters, autocommit=True)  # type: ignore[arg-type]

    def _write(self, number: int) -> None:
        connection, count = None, 0
        while not self._stop.wait(_WRITE_PAUSE_SECONDS):
            try:
                if connection is None:
                    sites = list(self._environment.sites)
                    connection = self._connect(sites, read_write=True)
            except psycopg.Error:
                continue
            count += 1
            key = f"{self.run}-{number}-{count}"
            self._note("invoke", key=key, writer=number)
            try:
                connection.execute(
                    "INSERT INTO anlan.ledger (run, key) VALUES (%s, %s)", (self.run, key)
                )
                self._note("ack", key=key, writer=number)
            except psycopg.Error as error:
                refused = isinstance(error, ReadOnlySqlTransaction)
                self._note("refuse" if refused else "unknown", key=key, writer=number)
                connection.close()
                connection = None

    def _watch(self, site: str) -> None:
        connection = None
        while not self._stop.wait(_LOOK_PAUSE_SECONDS):
            asked = time.monotonic_ns()
            try:
                if connection is None:
                    connection = self._connect([site], read_write=False)
                asked = time.monotonic_ns()
                writable = bool(value(connection, "SELECT NOT pg_is_in_recovery()"))
                self._note("seen", site=site, asked=asked, writable=writable)
            except psycopg.Error:
                self._note("unseen", site=site, asked=asked)
                if connection is not None:
                    connection.close()
                connection = None
