"""The ERP's own programs and its JSON-RPC interface, as the seed needs them."""

from __future__ import annotations

import base64
import contextlib
import datetime
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

MODULES = (
    "party",
    "company",
    "currency",
    "account",
    "account_invoice",
    "product",
    "sale",
    "purchase",
    "stock",
    "project",
    "timesheet",
    "project_invoice",
    "project_plan",
    "account_payment",
)
ADDRESS = "127.0.0.1"
CALL_TIMEOUT_SECONDS = 300
START_TIMEOUT_SECONDS = 60


class CallError(RuntimeError):
    """The ERP refused a call; the message is the ERP's."""


def encode(value: Any) -> Any:
    """The JSON-RPC form of values that JSON lacks (Tryton's protocols/jsonrpc)."""
    if isinstance(value, Decimal):
        return {"__class__": "Decimal", "decimal": str(value)}
    if isinstance(value, datetime.date):
        parts = {"year": value.year, "month": value.month, "day": value.day}
        return {"__class__": "date", **parts}
    if isinstance(value, datetime.timedelta):
        return {"__class__": "timedelta", "seconds": value.total_seconds()}
    raise TypeError(f"no JSON-RPC form for {type(value).__name__}")


class Erp:
    """A session of the user `admin`."""

    def __init__(self, port: int, database: str, password: str) -> None:
        self.port, self.path = port, f"/{database}/rpc/"
        self.headers = {"Content-Type": "application/json"}
        self.context: dict[str, Any] = {}
        self.user, token = self._post("common.db.login", ["admin", {"password": password}, "en"])[
            :2
        ]
        session = base64.b64encode(f"admin:{self.user}:{token}".encode()).decode()
        self.headers["Authorization"] = f"Session {session}"

    def _post(self, method: str, parameters: list[Any]) -> Any:
        connection = http.client.HTTPConnection(ADDRESS, self.port, timeout=CALL_TIMEOUT_SECONDS)
        body = json.dumps({"id": 1, "method": method, "params": parameters}, default=encode)
        with contextlib.closing(connection):
            connection.request("POST", self.path, body, self.headers)
            response = connection.getresponse()
            text = response.read()
        if response.status != http.HTTPStatus.OK:
            raise CallError(f"{method}: HTTP {response.status} {text[:500]!r}")
        answer = json.loads(text)
        if isinstance(answer, dict) and answer.get("error"):
            error = answer["error"]
            if error[0] == "UserWarning":
                self("res.user.warning.create", [{"name": error[1][0], "user": self.user}])
                return self._post(method, parameters)
            raise CallError(f"{method}: {error}"[:2000])
        return answer["result"] if isinstance(answer, dict) else answer

    def __call__(self, method: str, *parameters: Any, **context: Any) -> Any:
        """Call `model.METHOD` in the session's context."""
        return self._post(f"model.{method}", [*parameters, {**self.context, **context}])

    def new(self, model: str, **values: Any) -> int:
        """Create one record; returns its id."""
        return self.many(model, [values])[0]

    def many(self, model: str, records: list[dict[str, Any]]) -> list[int]:
        """Create records in one call; returns their ids."""
        return list(self(f"{model}.create", records))

    def find(self, model: str, *domain: Any) -> int:
        """The id of the first record that matches."""
        found = self(f"{model}.search", list(domain), 0, 1, None)
        if not found:
            raise CallError(f"{model}: no record for {domain}")
        return int(found[0])

    def wizard(self, name: str, *steps: tuple[str, dict[str, Any]]) -> None:
        """Walk a wizard: each step is a state to execute and the data sent with it."""
        session = self._post(f"wizard.{name}.create", [self.context])[0]
        for state, data in steps:
            self._post(f"wizard.{name}.execute", [session, data, state, self.context])
        self._post(f"wizard.{name}.delete", [session, self.context])


def initialise(config: str, database: str, password: str) -> None:
    """Make the ERP's tables and the user `admin`."""
    with tempfile.NamedTemporaryFile("w", prefix="anlan-erp-") as file:
        file.write(password)
        file.flush()
        subprocess.run(
            [
                str(Path(sys.executable).with_name("trytond-admin")),
                *("-c", config, "-d", database, "--all", "-m", "--activate-dependencies"),
                *("--email", "admin@example.test", "-u", *MODULES),
            ],
            env={**os.environ, "TRYTONPASSFILE": file.name},
            check=True,
        )


@contextlib.contextmanager
def server(config: str, database: str) -> Iterator[int]:
    """A temporary server of the ERP; gives its port on the loopback address."""
    with socket.create_server((ADDRESS, 0)) as probe:
        port = int(probe.getsockname()[1])
    process = subprocess.Popen(
        [
            str(Path(sys.executable).with_name("trytond")),
            *("-c", config, "-d", database),
        ],
        env={**os.environ, "TRYTOND_WEB__LISTEN": f"{ADDRESS}:{port}"},
    )
    try:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while True:
            try:
                socket.create_connection((ADDRESS, port), timeout=1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise CallError("the temporary ERP server did not start") from None
                time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
