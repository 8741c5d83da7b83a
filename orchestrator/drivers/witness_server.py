"""A witness as an HTTP server: c2sp.org/tlog-witness, the call `add-checkpoint` and no other."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import ssl
import sys
import threading
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from orchestrator.evidence.witness.folder import WitnessFolder
from orchestrator.evidence.witness.protocol import MOST_BYTES, PATH, TEXT, Answer
from orchestrator.model.errors import AnlanError, InfrastructureError, InputError
from orchestrator.model.fact import timestamp

_REQUEST_SECONDS = 10.0
"""A connection is for one request, and ends after this time whatever it does."""
_MOST_CONNECTIONS = 64


class WitnessServer(ThreadingHTTPServer):
    """Answers for a witness at one address, until `shutdown`; port 0 takes a free one."""

    daemon_threads = False  # what has begun is answered before the end
    request_queue_size = 64

    def __init__(
        self,
        witness: WitnessFolder,
        address: tuple[str, int],
        tls: tuple[Path, Path] | None = None,
        *,
        request_seconds: float = _REQUEST_SECONDS,
    ) -> None:
        """`tls`: the certificate chain and its private key, PEM.

        Raises InputError for an unusable certificate, InfrastructureError when it cannot listen.
        """
        self.witness = witness
        self.request_seconds = request_seconds
        self._free = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        context = _context(*tls) if tls else None
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        try:
            super().__init__(address, _Handler)
        except OSError as error:
            raise InfrastructureError(
                f"cannot listen at {address[0]} port {address[1]}: {error.strerror or error}",
                "name another address with --listen",
            ) from error
        if context is not None:
            # The handshake belongs to the connection's thread: here it would block all others.
            self.socket = context.wrap_socket(
                self.socket, server_side=True, do_handshake_on_connect=False
            )
        self.url = f"{'https' if tls else 'http'}://{_host(address[0])}:{self.server_port}"

    def server_bind(self) -> None:
        """Bind; the name of the address, which `http.server` would look up, is used nowhere."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.socket.getsockname()[:2]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread; while there are too many, the connection is closed."""
        if not self._free.acquire(blocking=False):
            say(client_address, "–", "too many connections")
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer within the time that a connection has."""
        end = threading.Timer(self.request_seconds, _cut, [request])
        end.daemon = True
        end.start()
        try:
            request.settimeout(self.request_seconds)
            super().process_request_thread(request, client_address)
        finally:
            end.cancel()
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say on one line what broke a connection."""
        error = sys.exc_info()[1]
        say(client_address, "–", f"{type(error).__name__}: {error}")


class _Handler(BaseHTTPRequestHandler):
    server: WitnessServer
    server_version, sys_version = "anlan-witness", ""
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self._send(self._answer())

    def _answer(self) -> Answer:
        if self.path != PATH:
            return _said(HTTPStatus.NOT_FOUND, f"there is {PATH} alone")
        length = self.headers.get("Content-Length", "")
        if "Transfer-Encoding" in self.headers or not (length.isascii() and length.isdigit()):
            return _said(HTTPStatus.LENGTH_REQUIRED, "say how long the request is")
        if len(length) > 9 or int(length) > MOST_BYTES:
            return _said(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"{length[:9]} bytes are too many")
        request = self.rfile.read(int(length))
        if len(request) != int(length):
            return _said(HTTPStatus.BAD_REQUEST, "the request is cut short")
        try:
            return self.server.witness.add_checkpoint(request)
        except AnlanError as error:
            about = f"cannot answer: {error.what}"
            return Answer(HTTPStatus.INTERNAL_SERVER_ERROR, b"cannot answer now\n", about=about)

    def _send(self, answer: Answer) -> None:
        self.close_connection = True
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(answer.body)
        say(self.client_address, str(int(answer.status)), answer.about)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what `http.server` itself refuses: another verb, a request that is none."""
        self.request_version = self.protocol_version  # so that there is a status line
        self._send(_said(code, message or HTTPStatus(code).phrase))

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nothing: `_send` says more."""

    def log_message(self, format: str, *args: Any) -> None:
        """Say what `http.server` noticed, such as a connection that timed out."""
        say(self.client_address, "–", format % args)


def say(client: Any, status: str, about: str) -> None:
    """Write one line for a request to standard error."""
    text = "".join(char if char.isprintable() else "?" for char in about)[:400]
    sys.stderr.write(f"{timestamp(datetime.now(UTC))} {client[0]} {status} {text}\n")
    sys.stderr.flush()


def _said(status: int, text: str) -> Answer:
    return Answer(status, f"{text}\n".encode(), TEXT, text)


def _cut(request: Any) -> None:
    with contextlib.suppress(OSError):  # it ended by itself
        request.shutdown(socket.SHUT_RDWR)


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, password="")
    except (OSError, ssl.SSLError) as error:
        raise InputError(
            f"cannot serve TLS with it: {error}",
            "give a certificate chain and its key, both PEM, the key without a passphrase",
            file=f"{certificate}, {key}",
        ) from error
    return context
