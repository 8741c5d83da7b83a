"""Kind `client_trust`: whom our own clients trust, by servers of the collector's own on loopback.

The servers live for the test, with certificates of an authority that is made for it and that the
client is told to trust, as it is told to trust the environment's. Data, each true when the client
sent nothing after the handshake, or ended it: `expired_refused`, `wrong_name_refused` (a
certificate for another address), `unknown_authority_refused`; `good_accepted` is the control: with
a good certificate the same client goes on; `errors`: what the client said, by case.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import psycopg

from orchestrator.collect.observe import Collector, Observation
from orchestrator.collect.trust_server import CASES, TrustAuthority, serving
from orchestrator.drivers.credentials import Credentials
from orchestrator.drivers.erp import Erp
from orchestrator.drivers.objectstore import ObjectStore
from orchestrator.drivers.postgresql_connection import connection_parameters
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment
from orchestrator.model.errors import AnlanError

KIND = "client_trust"
Client = Callable[[Environment, str, int], None]
"""Asks a server at an address and port, as the environment (its trust anchor) says."""


def _erp(environment: Environment, address: str, port: int) -> None:
    client = Erp(
        f"https://{address}:{port}", "erp", environment.tls.ca_file, timeout_seconds=_SECONDS
    )
    try:
        client.version()
    finally:
        client.close()


def _secrets(environment: Environment, address: str, port: int) -> None:
    settings = replace(environment.secrets, url=f"https://{address}:{port}")
    Secrets(replace(environment, secrets=settings)).health()


def _object_store(environment: Environment, address: str, port: int) -> None:
    site = environment.starting_primary
    store = replace(site.object_store, url=f"https://{address}:{port}")
    keys = {"access_key": "none", "secret_key": "none"}
    ObjectStore(environment, replace(site, object_store=store), keys).lock_settings("none")


def _database(environment: Environment, address: str, port: int) -> None:
    site = environment.starting_primary
    there = replace(site, database=replace(site.database, address=address, port=port))
    nobody = Credentials("anlan_probe", "none")
    parameters = connection_parameters(environment, [there], nobody, read_write=False)
    with contextlib.closing(psycopg.connect(**parameters)):  # type: ignore[arg-type]
        pass


_SECONDS = 3.0
CLIENTS: dict[str, Client] = {
    "database": _database,
    "erp": _erp,
    "object_store": _object_store,
    "secrets": _secrets,
}
"""The clients by which the orchestrator speaks to the servers."""


def collectors(environment: Environment, secrets: Secrets) -> list[Collector]:
    """One collector for each client; the environment's servers are not asked."""
    return [
        Collector(
            kind=KIND,
            subject=f"common/clients/{name}",
            source=f"the orchestrator's client of {name}, on this host",
            query=f"a request to a TLS server on 127.0.0.1 with a certificate: {', '.join(CASES)}",
            look=partial(look, environment, name, client),
        )
        for name, client in CLIENTS.items()
    ]


def look(environment: Environment, name: str, client: Client) -> Observation:
    """Let one client meet each server. Raises OSError."""
    trusted: dict[str, bool] = {}
    errors: list[str] = []
    with tempfile.TemporaryDirectory(prefix="anlan-trust-") as folder:
        authority = TrustAuthority(Path(folder))
        told = replace(environment, tls=replace(environment.tls, ca_file=authority.ca_file))
        for case in CASES:
            with serving(authority, case, postgresql=name == "database") as server:
                try:
                    client(told, server.address, server.port)
                # Any end is an answer; what counts is what the server got to see.
                except (AnlanError, psycopg.Error, OSError) as error:
                    errors.append(f"{case}: {' '.join(str(error).split())[:300]}")
                trusted[case] = server.trusted()
    data = {
        "good_accepted": trusted["good"],
        "expired_refused": not trusted["expired"],
        "wrong_name_refused": not trusted["wrong_name"],
        "unknown_authority_refused": not trusted["unknown_authority"],
        "errors": errors,
    }
    return Observation(data, len(CASES))
