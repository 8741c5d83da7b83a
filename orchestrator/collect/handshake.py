"""Single attempts against one endpoint: a TLS handshake of a given version, or plaintext.

An attempt that the client itself could not make is told apart from one that the server refused:
only the server's refusal proves anything.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import struct
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from orchestrator.model.errors import InfrastructureError

_TIMEOUT_SECONDS = 5.0
_REPLY_BYTES = 1024
# PostgreSQL protocol: SSLRequest is length 8, code 80877103; a start-up message says 3.0.
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)
_PROTOCOL_3_0 = 196608
# How OpenSSL names a server's refusal: an alert, a hello of another version, a hang-up. Any other
# reason (NO_CIPHERS_AVAILABLE …) is the client's own.
_REFUSAL = re.compile(r"ALERT|UNSUPPORTED_PROTOCOL|WRONG_VERSION_NUMBER|EOF")
# X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH: the chain itself was good.
_NAME_ERRORS = frozenset({62, 64})

Protocol = Literal["postgresql", "http"]
Outcome = Literal["accepted", "refused", "inconclusive"]
VERSIONS = {
    "TLSv1": ssl.TLSVersion.TLSv1,
    "TLSv1.1": ssl.TLSVersion.TLSv1_1,
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}
"""The versions that are tried, the oldest first; no library speaks SSL 3 any more."""


@dataclass(frozen=True)
class Endpoint:
    """Where a server listens, what it speaks inside TLS, and its name if not the address."""

    address: str
    port: int
    protocol: Protocol
    server_name: str = ""

    @property
    def name(self) -> str:
        """What its certificate must be for."""
        return self.server_name or self.address

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


@dataclass(frozen=True)
class Attempt:
    """How one attempt ended, and what the server said or did."""

    outcome: Outcome
    detail: str


@dataclass(frozen=True)
class Session:
    """An agreed TLS session: version, cipher suite, and the certificates that were sent (DER)."""

    version: str
    cipher: str
    chain: tuple[bytes, ...]

    @property
    def certificate(self) -> bytes:
        """The server's own certificate (DER)."""
        return self.chain[0]


@dataclass(frozen=True)
class Verification:
    """Whether the chain leads to the trust anchor, and whether the name is the server's.

    `name` is None when a bad chain left it open. `error` is OpenSSL's text.
    """

    chain: bool
    name: bool | None
    error: str


def endpoint_of(url: str) -> Endpoint:
    """Return the endpoint of an https URL."""
    parts = urlsplit(url)
    return Endpoint(parts.hostname or "", parts.port or 443, "http")


def reach(endpoint: Endpoint) -> None:
    """Return if something listens there. Raises InfrastructureError."""
    with _connected(endpoint):
        pass


def session(endpoint: Endpoint) -> Session | None:
    """What the server agrees to when any version will do, unverified; None when it speaks no TLS.

    Raises InfrastructureError when nothing answers there.
    """
    try:
        with _connected(endpoint) as plain, _tls(endpoint, plain, _any_version()) as link:
            cipher = link.cipher()
            return Session(
                version=str(link.version()),
                cipher=cipher[0] if cipher else "",
                chain=_chain(link),
            )
    except (ssl.SSLError, NoTls, ConnectionResetError, BrokenPipeError):
        return None
    except TimeoutError as error:
        raise InfrastructureError(f"{endpoint} did not finish a TLS handshake in time") from error


def verify(endpoint: Endpoint, ca_file: Path) -> Verification:
    """Check the chain against `ca_file` and the name against the endpoint's address.

    Raises InfrastructureError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(ca_file)
        with _connected(endpoint) as plain, _tls(endpoint, plain, context):
            return Verification(chain=True, name=True, error="")
    except ssl.SSLCertVerificationError as error:
        if error.verify_code in _NAME_ERRORS:
            return Verification(chain=True, name=False, error=error.verify_message)
        return Verification(chain=False, name=None, error=error.verify_message)
    except (OSError, NoTls) as error:
        raise InfrastructureError(f"cannot verify {endpoint}: {error}") from error


def try_version(endpoint: Endpoint, version: str) -> Attempt:
    """Offer one TLS version alone, with every cipher suite that the client has.

    Raises InfrastructureError when nothing answers there.
    """
    context = _any_version()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # old versions, on purpose
        context.minimum_version = context.maximum_version = VERSIONS[version]
    return _attempt(endpoint, lambda: _handshake(endpoint, context))


def try_plaintext(endpoint: Endpoint) -> Attempt:
    """Speak to the server without TLS, as a careless client would.

    PostgreSQL gets a start-up message (what `sslmode=disable` sends) for the superuser: asking for
    a password, or more, is acceptance. HTTP gets a request: any answer but "400 Bad Request" is.
    Raises InfrastructureError when nothing answers there.
    """
    ask = _plain_postgresql if endpoint.protocol == "postgresql" else _plain_http
    return _attempt(endpoint, lambda: ask(endpoint))


class NoTls(Exception):
    """The PostgreSQL server answered the SSLRequest with no."""


def _any_version() -> ssl.SSLContext:
    """A context that verifies nothing and refuses nothing: to see what the server accepts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
    return context


@contextlib.contextmanager
def _connected(endpoint: Endpoint) -> Iterator[socket.socket]:
    try:
        link = socket.create_connection((endpoint.address, endpoint.port), _TIMEOUT_SECONDS)
    except OSError as error:
        raise InfrastructureError(
            f"nothing answers at {endpoint}: {error}", "start the server"
        ) from error
    with link:
        yield link


@contextlib.contextmanager
def before_hello(endpoint: Endpoint) -> Iterator[socket.socket]:
    """A connection on which the next thing is a ClientHello. Raises InfrastructureError, NoTls."""
    with _connected(endpoint) as plain:
        _ask_for_tls(endpoint, plain)
        yield plain


def _ask_for_tls(endpoint: Endpoint, plain: socket.socket) -> None:
    if endpoint.protocol == "postgresql":
        plain.sendall(_SSL_REQUEST)
        if plain.recv(1) != b"S":
            raise NoTls("it answers that it speaks no TLS")


@contextlib.contextmanager
def _tls(
    endpoint: Endpoint, plain: socket.socket, context: ssl.SSLContext
) -> Iterator[ssl.SSLSocket]:
    _ask_for_tls(endpoint, plain)
    with context.wrap_socket(plain, server_hostname=endpoint.name) as link:
        yield link


def _chain(link: ssl.SSLSocket) -> tuple[bytes, ...]:
    """The certificates as the server sent them, its own first (public from Python 3.13 on)."""
    if sys.version_info >= (3, 13):
        return tuple(link.get_unverified_chain())
    sent = link._sslobj.get_unverified_chain() or ()  # type: ignore[attr-defined]
    return tuple(ssl.PEM_cert_to_DER_cert(one.public_bytes()) for one in sent)


def _handshake(endpoint: Endpoint, context: ssl.SSLContext) -> Attempt:
    with _connected(endpoint) as plain, _tls(endpoint, plain, context) as link:
        return Attempt("accepted", f"agreed on {link.version()}")


def _plain_postgresql(endpoint: Endpoint) -> Attempt:
    body = b"user\0postgres\0database\0postgres\0\0"
    with _connected(endpoint) as link:
        link.sendall(struct.pack("!ii", len(body) + 8, _PROTOCOL_3_0) + body)
        reply = _reply(link)
    if reply[:1] == b"E":
        fields = {part[:1]: part[1:].decode(errors="replace") for part in reply[5:].split(b"\0")}
        message = fields.get(b"M", "")
        # 28000: pg_hba.conf lets nobody in this way. Another error is no word about that.
        refused = fields.get(b"C") == "28000"
        return Attempt("refused" if refused else "inconclusive", message)
    if reply[:1] == b"R":
        return Attempt("accepted", "the server goes on to authenticate without TLS")
    return Attempt("inconclusive", f"unexpected answer {reply[:20]!r}")


def _plain_http(endpoint: Endpoint) -> Attempt:
    request = f"GET / HTTP/1.1\r\nHost: {endpoint}\r\nConnection: close\r\n\r\n"
    with _connected(endpoint) as link:
        link.sendall(request.encode())
        reply = _reply(link)
    if not reply:
        return Attempt("refused", "the server closed the connection without an answer")
    if not reply.startswith(b"HTTP/"):
        # A TLS alert (RFC 8446, section 5.1: content type 21).
        refused = reply[:1] == b"\x15"
        return Attempt("refused" if refused else "inconclusive", f"answer {reply[:20]!r}")
    status = reply.split(b"\r\n", 1)[0].decode(errors="replace")
    refused = status.split(" ")[1:2] == ["400"]
    return Attempt("refused" if refused else "accepted", f"answer {status}")


def _reply(link: socket.socket) -> bytes:
    """The first bytes of an answer; empty when the server hangs up."""
    try:
        return link.recv(_REPLY_BYTES)
    except (ConnectionResetError, BrokenPipeError):
        return b""


def _attempt(endpoint: Endpoint, ask: Callable[[], Attempt]) -> Attempt:
    try:
        return ask()
    except ssl.SSLError as error:
        reason = error.reason or str(error)
        return Attempt("refused" if _REFUSAL.search(reason) else "inconclusive", reason)
    except NoTls as error:
        return Attempt("refused", str(error))
    except (ConnectionResetError, BrokenPipeError):
        return Attempt("refused", "the server closed the connection")
    except TimeoutError:
        return Attempt("inconclusive", f"{endpoint} gave no answer in {_TIMEOUT_SECONDS:g} s")
