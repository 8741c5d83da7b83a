"""Mutations of endpoints, certificates and ports."""

from __future__ import annotations

import datetime
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from orchestrator.collect.handshake import endpoint_of, session
from orchestrator.drivers.host import Machine
from orchestrator.drivers.lease import LeaseFile
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.errors import InfrastructureError
from tests.contract.mutations.world import Mutation, World, primary_setting

Change = Callable[[World], AbstractContextManager[None]]


@contextmanager
def replaced(path: Path, content: bytes) -> Iterator[None]:
    """A file with other content for a while; its mode and times are as before afterwards."""
    before, state = path.read_bytes(), path.stat()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(before)
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def _reload(world: World) -> None:
    """Have the front door read its files again, and return when the new worker serves.

    The old worker hands its port over and ends; for a moment both may answer.
    """
    door = world.environment.front_door
    machine = Machine(door.machine, LeaseFile(world.environment.lease_file))
    old = {one.pid for one in machine.program_processes(door.program)[1:]}
    machine.supervisor.signal(door.program, signal.SIGUSR2)
    deadline = time.monotonic() + 30
    while True:
        left = {one.pid for one in machine.program_processes(door.program)[1:]}
        if left and not left & old:
            break
        assert time.monotonic() < deadline, (old, left)
        time.sleep(0.1)
    while True:
        try:
            session(endpoint_of(door.url))
            return
        except InfrastructureError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def front_door(*changes: tuple[str, str]) -> Change:
    """A change: parts of the front door's configuration."""

    @contextmanager
    def change(world: World) -> Iterator[None]:
        file = world.environment.front_door.machine.directory / "etc" / "haproxy.cfg"
        text = file.read_text()
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        try:
            with replaced(file, text.encode()):
                _reload(world)
                yield
        finally:
            _reload(world)

    return change


def presented(make: Callable[[World], bytes]) -> Change:
    """A change: another certificate and key (PEM) at the front door."""

    @contextmanager
    def change(world: World) -> Iterator[None]:
        file = world.environment.front_door.machine.directory / "tls" / "frontdoor.pem"
        try:
            with replaced(file, make(world)):
                _reload(world)
                yield
        finally:
            _reload(world)

    return change


def _issued(addresses: list[str], ttl_seconds: int) -> Callable[[World], bytes]:
    """A certificate of the environment's own authority."""

    def make(world: World) -> bytes:
        settings = world.environment.secrets
        provisioner = Secrets(world.environment, settings.provisioner_file)
        names = addresses or [world.environment.front_door.machine.address]
        return b"".join(provisioner.issue("frontdoor", names, ttl_seconds=ttl_seconds))

    return make


def _self_signed(world: World) -> bytes:
    """A wildcard of ten years, signed by itself, with a key that the profile does not have."""
    key = ec.generate_private_key(ec.SECP521R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=3650))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("*.example.test")]), False)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def stray(address: str) -> Change:
    """A change: a program of the primary's machine that listens and speaks no TLS."""

    @contextmanager
    def change(world: World) -> Iterator[None]:
        directory = world.primary.site.machine.directory
        where = address or world.primary.site.machine.address
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "http.server", "0", "--bind", where],
            cwd=directory / "run",
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            assert process.stdout and b"Serving" in process.stdout.readline()
            yield
        finally:
            process.kill()
            process.wait()

    return change


_TLS_1_2 = (
    "ssl-default-bind-options ssl-min-ver TLSv1.3",
    "ssl-default-bind-options ssl-min-ver TLSv1.2",
)
_WEAK = (
    f"    {_TLS_1_2[0]}",
    f"    ssl-default-bind-ciphers ECDHE-ECDSA-AES128-SHA\n    {_TLS_1_2[1]}",
)
_PLAIN = ("ssl crt", "# ssl crt")
_DOOR = "common/front_door"

MUTATIONS = [
    Mutation("tls-version", _DOOR, "it accepts TLSv1.2", front_door(_TLS_1_2)),
    Mutation(
        "tls-version",
        "{primary}/postgresql",
        "it accepts TLSv1.2",
        primary_setting("ssl_min_protocol_version", "TLSv1.2"),
    ),
    Mutation(
        "tls-version",
        "{primary}/line",
        "it accepts TLSv1.2",
        primary_setting("ssl_min_protocol_version", "TLSv1.2"),
    ),
    Mutation(
        "tls-cipher-suites",
        _DOOR,
        "it accepts with TLS 1.2: TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
        front_door(_WEAK),
    ),
    Mutation(
        "tls-groups",
        _DOOR,
        "it exchanges keys in X448",
        front_door(("X25519:P-256:P-384", "X25519:X448")),
    ),
    Mutation("tls-plaintext-refused", _DOOR, "it served a client", front_door(_PLAIN)),
    Mutation("tls-certificate-expiry", _DOOR, "it expires at", presented(_issued([], 3600))),
    Mutation(
        "tls-certificate-trusted",
        _DOOR,
        "its certificate is for another name",
        presented(_issued(["127.0.0.9"], 3600)),
    ),
    Mutation(
        "tls-certificate-trusted",
        _DOOR,
        "its chain does not lead to the environment's authority",
        presented(_self_signed),
    ),
    Mutation("tls-certificate-key", _DOOR, "its key is EC secp521r1", presented(_self_signed)),
    Mutation(
        "tls-certificate-lifetime",
        _DOOR,
        "its certificate is valid for 87600.0 hours in all",
        presented(_self_signed),
    ),
    Mutation("tls-certificate-names", _DOOR, "it is for *.example.test", presented(_self_signed)),
    Mutation("ports-known", "{primary}/machine", "in no baseline: python", stray("")),
    Mutation("ports-encrypted", "{primary}/machine", "no TLS is spoken by python", stray("")),
    Mutation(
        "ports-bound",
        "{primary}/machine",
        "at 127.0.0.1:",
        stray("127.0.0.1"),
    ),
]
