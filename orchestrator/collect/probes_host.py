"""Probes of what stands around the servers: sockets, key files, strangers at the object stores."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable
from functools import partial
from pathlib import Path

import requests

from orchestrator.collect.probe import Probe, Tried
from orchestrator.collect.tls_endpoint import administration
from orchestrator.drivers.process import run
from orchestrator.model.environment import Environment, Site
from orchestrator.model.errors import InfrastructureError

_TIMEOUT_SECONDS = 10.0
_REFUSED = frozenset({401, 403})
# Connects, and asks haproxy or supervisord for nothing.
_CONNECT = (
    "use IO::Socket::UNIX; my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die qq($!\\n);"
    " print qq(connected\\n)"
)


def probes(environment: Environment) -> list[Probe]:
    """The probes of the machines, as the servers' own user, and of the stores, as nobody."""
    door, secrets = environment.front_door, environment.secrets
    user = secrets.machine.service_user
    connect = ["perl", "-e", _CONNECT]
    read = ["head", "-c", "1"]
    found = [
        _as_user(user, "front_door_socket", [*connect, door.runtime_socket], "connect to"),
        _as_user(
            user,
            "supervisor_socket",
            [*connect, secrets.machine.directory / "run" / "supervisor.sock"],
            "connect to",
        ),
        _as_user(user, "unseal_keys", [*read, secrets.unseal_keys_file], "read"),
        _as_user(user, "orchestrator_login", [*read, secrets.credentials_file], "read"),
        _as_user(user, "provisioner_login", [*read, secrets.provisioner_file], "read"),
        _as_user(user, "secrets_audit_log", [*read, secrets.audit_log], "read"),
    ]
    for site in environment.sites.values():
        found += _stores(environment, site)
    return found


def _as_user(user: str, name: str, command: list[str | Path], verb: str) -> Probe:
    return Probe(
        f"common/probe/service_user_{name}",
        f"this host, as {user}, who runs the databases",
        f"{verb} {command[-1]}",
        "it connects and asks for nothing" if verb != "read" else "it reads one byte",
        partial(_run_as, user, command),
    )


def _run_as(user: str, command: list[str | Path]) -> Tried:
    if pwd.getpwnam(user).pw_uid == os.geteuid():
        return Tried(None, f"{user} runs all of the environment", applicable=False)
    # Behind a folder that is closed to it, what is not there is refused as well.
    if not Path(command[-1]).exists():
        raise InfrastructureError(f"{command[-1]} is not there", "apply the role that makes it")
    done = run(command, timeout_seconds=_TIMEOUT_SECONDS, as_user=user, accept=range(256))
    if done.exit_code == 0:
        return Tried(False, "it succeeded")
    refused = "Permission denied" in done.errors
    return Tried(refused or None, done.errors.strip())


def _stores(environment: Environment, site: Site) -> list[Probe]:
    store = site.object_store
    read = "what it lists is thrown away"

    def probe(name: str, attempt: str, act: Callable[[], Tried]) -> Probe:
        source = f"{site.name}/object_store, without a signature"
        return Probe(f"{site.name}/probe/{name}", source, attempt, read, act)

    def admin() -> Tried:
        there = administration(environment, site)
        return _ask(environment, "PATCH", f"https://{there}/list-users")

    return [
        *(
            probe(
                f"stranger_lists_{purpose}",
                f"GET /{bucket}",
                partial(_ask, environment, "GET", f"{store.url}/{bucket}"),
            )
            for purpose, bucket in store.buckets.items()
        ),
        probe("stranger_administers_store", "PATCH /list-users of the administration port", admin),
    ]


def _ask(environment: Environment, method: str, url: str) -> Tried:
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(environment.tls.ca_file)
        try:
            answer = session.request(method, url, timeout=_TIMEOUT_SECONDS)
        except requests.RequestException as error:
            raise InfrastructureError(
                f"{url} did not answer: {error}", "start the store"
            ) from error
    text = f"HTTP {answer.status_code}"
    if answer.status_code in _REFUSED:
        return Tried(True, text)
    return Tried(False if answer.ok else None, text)
