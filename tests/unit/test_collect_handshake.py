"""Attempts against real TLS servers of this process: what is accepted, what is refused."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from orchestrator.collect.handshake import (
    Endpoint,
    session,
    try_plaintext,
    try_version,
    verify,
)
from orchestrator.collect.offers import try_offers
from orchestrator.model.errors import InfrastructureError

Serve = Callable[[socket.socket], None]


class Authority:
    """A certificate authority and the certificates that it makes, as files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        self.ca_file = folder / "ca.pem"
        self.ca_file.write_bytes(self._certificate(self.key, "test authority", None, 24))

    def _certificate(
        self, key: ec.EllipticCurvePrivateKey, name: str, address: str | None, hours: float
    ) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=48))
            .not_valid_after(now + datetime.timedelta(hours=hours))
        )
        if address is None:
            builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        else:
            names = [x509.IPAddress(ipaddress.ip_address(address))]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def context(
        self,
        address: str = "127.0.0.1",
        hours: float = 24,
        lowest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        file = self.folder / "server.pem"
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + self._certificate(key, "server", address, hours)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = lowest
        return context


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@contextlib.contextmanager
def listening(serve: Serve, protocol: str = "http") -> Iterator[Endpoint]:
    """A server that hands each connection to `serve`."""
    listener = socket.create_server(("127.0.0.1", 0))

    def work() -> None:
        while True:
            try:
                link, _ = listener.accept()
            except OSError:
                return
            link.settimeout(10)
            with link, contextlib.suppress(OSError):
                serve(link)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield Endpoint("127.0.0.1", listener.getsockname()[1], protocol)  # type: ignore[arg-type]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def tls(context: ssl.SSLContext) -> Serve:
    def serve(link: socket.socket) -> None:
        with context.wrap_socket(link, server_side=True) as inside:
            inside.recv(1)

    return serve


def test_each_version_is_accepted_or_refused_as_the_server_is_set(authority: Authority) -> None:
    with listening(tls(authority.context(lowest=ssl.TLSVersion.TLSv1_2))) as endpoint:
        outcomes = {
            version: try_version(endpoint, version).outcome
            for version in ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
        }
    assert outcomes == {
        "TLSv1": "refused",
        "TLSv1.1": "refused",
        "TLSv1.2": "accepted",
        "TLSv1.3": "accepted",
    }


def test_the_oldest_version_is_found_where_a_server_still_takes_it(authority: Authority) -> None:
    """The client must be able to speak it, or every server would seem to refuse."""
    with listening(tls(authority.context(lowest=ssl.TLSVersion.TLSv1))) as endpoint:
        assert try_version(endpoint, "TLSv1").outcome == "accepted"


def test_what_is_agreed_on_is_reported(authority: Authority) -> None:
    with listening(tls(authority.context())) as endpoint:
        agreed = session(endpoint)
    assert agreed is not None
    assert agreed.version == "TLSv1.3"
    assert agreed.cipher.startswith("TLS_")
    x509.load_der_x509_certificate(agreed.certificate)


def test_every_accepted_suite_and_group_is_found(authority: Authority) -> None:
    context = authority.context(lowest=ssl.TLSVersion.TLSv1_2)
    context.set_ciphers("ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-GCM-SHA384")
    context.set_ecdh_curve("secp384r1")
    with listening(tls(context)) as endpoint:
        offers = try_offers(endpoint)
    assert offers.suites_1_2 is not None
    assert set(offers.suites_1_2) == {
        "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    }
    assert offers.suites_1_3 is not None
    assert set(offers.suites_1_3) == {
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
    }
    assert offers.groups == ("secp384r1",)
    assert (offers.compression, offers.renegotiation) == (False, "secure")


def test_without_tls_1_2_there_is_nothing_to_renegotiate(authority: Authority) -> None:
    with listening(tls(authority.context())) as endpoint:
        offers = try_offers(endpoint)
    assert (offers.suites_1_2, offers.compression, offers.renegotiation) == ((), False, "none")


def test_an_answer_that_is_no_tls_leaves_open_what_is_accepted() -> None:
    def serve(link: socket.socket) -> None:
        link.recv(4096)
        link.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with listening(serve) as endpoint:
        offers = try_offers(endpoint)
    assert (offers.suites_1_2, offers.suites_1_3, offers.groups) == (None, None, None)
    assert (offers.compression, offers.renegotiation) == (None, None)


def test_a_good_certificate_is_verified(authority: Authority) -> None:
    with listening(tls(authority.context())) as endpoint:
        verified = verify(endpoint, authority.ca_file)
    assert (verified.chain, verified.name, verified.error) == (True, True, "")


def test_another_name_is_told_apart_from_a_bad_chain(authority: Authority) -> None:
    with listening(tls(authority.context(address="127.0.0.9"))) as endpoint:
        verified = verify(endpoint, authority.ca_file)
    assert (verified.chain, verified.name) == (True, False)


def test_another_authority_is_not_trusted_and_leaves_the_name_open(
    authority: Authority, tmp_path: Path
) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    with listening(tls(authority.context())) as endpoint:
        verified = verify(endpoint, Authority(folder).ca_file)
    assert (verified.chain, verified.name) == (False, None)
    assert verified.error


def test_an_expired_certificate_is_not_verified(authority: Authority) -> None:
    with listening(tls(authority.context(hours=-1))) as endpoint:
        verified = verify(endpoint, authority.ca_file)
    assert not verified.chain
    assert "expired" in verified.error


def test_a_tls_server_refuses_plaintext(authority: Authority) -> None:
    with listening(tls(authority.context())) as endpoint:
        assert try_plaintext(endpoint).outcome == "refused"


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("200 OK", "accepted"),
        ("301 Moved Permanently", "accepted"),
        ("404 Not Found", "accepted"),
        ("400 Bad Request", "refused"),
    ],
)
def test_an_http_answer_in_plaintext_is_service_unless_it_is_bad_request(
    status: str, outcome: str
) -> None:
    def serve(link: socket.socket) -> None:
        link.recv(1024)
        link.sendall(f"HTTP/1.1 {status}\r\n\r\n".encode())

    with listening(serve) as endpoint:
        assert try_plaintext(endpoint).outcome == outcome
        assert session(endpoint) is None


def startup_answer(answer: bytes) -> Serve:
    def serve(link: socket.socket) -> None:
        link.recv(1024)
        link.sendall(answer)

    return serve


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (b"E\0\0\0\x20SFATAL\0C28000\0Mpg_hba.conf rejects\0\0", "refused"),
        (b"E\0\0\0\x20SFATAL\0C57P03\0Mstarting up\0\0", "inconclusive"),
        (b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0", "accepted"),
        (b"R\0\0\0\x08\0\0\0\0", "accepted"),
        (b"", "inconclusive"),
    ],
)
def test_a_database_that_asks_for_a_password_in_plaintext_has_accepted_it(
    answer: bytes, outcome: str
) -> None:
    with listening(startup_answer(answer), "postgresql") as endpoint:
        assert try_plaintext(endpoint).outcome == outcome


def test_a_database_without_tls_speaks_none() -> None:
    with listening(startup_answer(b"N"), "postgresql") as endpoint:
        assert session(endpoint) is None
        assert try_version(endpoint, "TLSv1.3").outcome == "refused"


def test_nobody_there_is_an_error_and_no_refusal() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = Endpoint("127.0.0.1", listener.getsockname()[1], "http")
    for attempt in (session, try_plaintext, lambda there: try_version(there, "TLSv1")):
        with pytest.raises(InfrastructureError, match="nothing answers"):
            attempt(endpoint)
