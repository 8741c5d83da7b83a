"""A TLS server on loopback for one test of a client, with a certificate that is made for it."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, get_args

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Case = Literal["good", "expired", "wrong_name", "unknown_authority"]
CASES: tuple[Case, ...] = get_args(Case)
_ADDRESS, _OTHER_ADDRESS = "127.0.0.1", "127.0.0.2"
_SECONDS = 5.0
_SSL_REQUEST_BYTES = 8


class TrustAuthority:
    """An authority of its own, its certificate in `ca_file`, and certificates that it issues."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._stranger = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        self.ca_file = folder / "ca.pem"
        made = _certificate(
            self._key, self._key, "anlan trust test", now + timedelta(hours=1), None
        )
        self.ca_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))

    def context(self, case: Case) -> ssl.SSLContext:
        """The server side of TLS with the certificate of a case."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        until = now - timedelta(minutes=5) if case == "expired" else now + timedelta(hours=1)
        address = _OTHER_ADDRESS if case == "wrong_name" else _ADDRESS
        signer = self._stranger if case == "unknown_authority" else self._key
        made = _certificate(key, signer, "anlan trust server", until, address)
        file = self._folder / f"{case}.pem"
        file.touch(mode=0o600)
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + made.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(file)
        return context


def _certificate(
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    name: str,
    until: datetime,
    address: str | None,
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "anlan trust test")]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(hours=2))
        .not_valid_after(until)
    )
    if address is None:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
    else:
        names = [x509.IPAddress(ipaddress.ip_address(address)), x509.DNSName(address)]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
    return builder.sign(signer, hashes.SHA256())


class TrustServer:
    """The running server: where it listens, and whether a client trusted it.

    A client that trusts sends something after the handshake. The handshake itself proves nothing:
    libpq and botocore compare the name when it is over.
    """

    def __init__(self, listener: socket.socket, context: ssl.SSLContext, postgresql: bool) -> None:
        self.address = _ADDRESS
        self.port = int(listener.getsockname()[1])
        self._listener, self._context, self._postgresql = listener, context, postgresql
        self._trusted = threading.Event()
        self._links: list[threading.Thread] = []

    def trusted(self) -> bool:
        """Whether any client did, once all connections so far are over."""
        for thread in self._links:
            thread.join(_SECONDS)
        return self._trusted.is_set()

    def accept(self) -> None:
        """Serve until the listener is closed."""
        while True:
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(link,), daemon=True)
            self._links.append(thread)
            thread.start()

    def _serve(self, link: socket.socket) -> None:
        link.settimeout(_SECONDS)
        with link, contextlib.suppress(OSError):
            if self._postgresql:
                link.recv(_SSL_REQUEST_BYTES)
                link.sendall(b"S")
            with self._context.wrap_socket(link, server_side=True) as inside:
                if inside.recv(1):
                    self._trusted.set()


@contextlib.contextmanager
def serving(authority: TrustAuthority, case: Case, *, postgresql: bool) -> Iterator[TrustServer]:
    """A server of one case; it speaks PostgreSQL's way into TLS if `postgresql`."""
    with socket.create_server((_ADDRESS, 0)) as listener:
        server = TrustServer(listener, authority.context(case), postgresql)
        thread = threading.Thread(target=server.accept, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            # Closing alone would not wake the thread that waits in accept().
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(_SECONDS)
