"""A timestamp authority of the tests: `openssl ts` with a root and a certificate of its own."""

from __future__ import annotations

import hashlib
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from orchestrator.evidence.timestamp import der, timestamps, tokens

CONFIG = """
[tsa]
default_tsa = one
[one]
serial = {folder}/serial
signer_cert = {folder}/tsa.pem
signer_key = {folder}/tsa.key
certs = {folder}/between.pem
signer_digest = sha256
default_policy = 1.3.6.1.4.1.99999.1
digests = sha256, sha512
accuracy = secs:1, millisecs:500
ess_cert_id_alg = sha256
{more}
"""
TIMESTAMPS = ExtendedKeyUsageOID.TIME_STAMPING
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def p256() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


def rsa_2048() -> Key:
    return rsa.generate_private_key(65537, 2048)


@dataclass(frozen=True)
class Usage:
    """The extended key usage of a certificate; none without purposes."""

    purposes: tuple[x509.ObjectIdentifier, ...] = (TIMESTAMPS,)
    critical: bool = True


@dataclass(frozen=True)
class Validity:
    """When a certificate is valid; by default now."""

    since: datetime = field(default_factory=lambda: datetime.now(UTC) - timedelta(hours=2))
    until: datetime = field(default_factory=lambda: datetime.now(UTC) + timedelta(days=30))


def openssl(*argv: str, stdin: bytes = b"") -> bytes:
    done = subprocess.run(["openssl", *argv], input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@dataclass(frozen=True)
class Openssl:
    """A folder with root.pem, between.pem (an intermediate), tsa.pem, tsa.key and ts.cnf."""

    folder: Path

    def reply(self, request: bytes) -> bytes:
        """The answer (TimeStampResp) to a request (TimeStampReq)."""
        query = self.folder / "query.tsq"
        query.write_bytes(request)
        config = str(self.folder / "ts.cnf")
        return openssl("ts", "-reply", "-config", config, "-queryfile", str(query))

    def token(self, digest: bytes, nonce: int = 7) -> bytes:
        return timestamps.token_of(self.reply(timestamps.request(digest, nonce)))

    def certificate(self, name: str = "tsa") -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.pem(name))

    def certified(self, usage: Usage, valid: Validity | None = None) -> x509.Certificate:
        """Another certificate of the authority's own key, name and number."""
        keys = (
            load_pem_private_key((self.folder / f"{name}.key").read_bytes(), None)
            for name in ("tsa", "between")
        )
        own, issuer = keys
        return certify("tsa", own, "between", issuer, valid=valid or Validity(), usage=usage)

    def pem(self, name: str) -> bytes:
        return (self.folder / f"{name}.pem").read_bytes()

    def trusted(self, **more) -> timestamps.Authority:
        """The authority as an auditor writes it down."""
        between = {"intermediates": self.pem("between")}
        return timestamps.authority("tsa.example", self.pem("root"), **{**between, **more})


def certify(
    name: str, key: Key, by: str, by_key: Key, *, valid: Validity, usage: Usage | None = None
) -> x509.Certificate:
    """A certificate of a key: an authority's, or one with this extended key usage."""
    subject, issuer = (
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, one)]) for one in (name, by)
    )
    builder = (
        x509.CertificateBuilder(issuer, subject, key.public_key(), 0x1234 + len(name))
        .not_valid_before(valid.since)
        .not_valid_after(valid.until)
        .add_extension(x509.BasicConstraints(usage is None, None), critical=True)
    )
    if usage and usage.purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usage.purposes), usage.critical)
    return builder.sign(by_key, SHA256())


def make(
    folder: Path,
    *,
    key: Callable[[], Key] = p256,
    more: str = "",
    valid: Validity | None = None,
) -> Openssl:
    """Make an authority: root → between → tsa, all with keys of this kind."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ts.cnf").write_text(CONFIG.format(folder=folder, more=more))
    (folder / "serial").write_text("2A\n")
    valid = valid or Validity()
    issuer, issuer_key = "root", None
    for name in ("root", "between", "tsa"):
        own = key()
        usage = Usage() if name == "tsa" else None
        made = certify(name, own, issuer, issuer_key or own, valid=valid, usage=usage)
        (folder / f"{name}.pem").write_bytes(made.public_bytes(Encoding.PEM))
        (folder / f"{name}.key").write_bytes(
            own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        issuer, issuer_key = name, own
    return Openssl(folder)


def resigned(
    authority: Openssl,
    certificate: x509.Certificate,
    change: Callable[[bytes], bytes] = bytes,
    attributes: Callable[[bytes], bytes] = bytes,
) -> Callable[[bytes], bytes]:
    """What makes another token of one: by this certificate, with TSTInfo or attributes changed.

    All that somebody can do who has the authority's key and is not held back by `openssl ts`.
    """

    def forge(token: bytes) -> bytes:
        kind, wrapped = der.members(der.read(token), der.SEQUENCE)
        (signed,) = der.members(wrapped, der.context(0))
        version, algorithms, content, brought, signers = der.members(signed, der.SEQUENCE)
        (signer,) = der.members(signers, der.SET)
        fields = [one.encoded for one in der.members(signer, der.SEQUENCE)]
        new = certificate.public_bytes(Encoding.DER)
        (old,) = der.members(brought, der.context(0))
        info = tokens._encapsulated(content)
        for before, after in ((old.encoded, new), (info, change(info))):
            digests = (hashlib.sha256(one).digest() for one in (before, after))
            fields[3] = fields[3].replace(*digests)
        fields[3] = attributes(fields[3])
        key = load_pem_private_key((authority.folder / "tsa.key").read_bytes(), None)
        signature = key.sign(b"\x31" + fields[3][1:], ec.ECDSA(SHA256()))
        fields[5] = der.write(der.OCTET_STRING, signature)
        whole = [
            version.encoded,
            algorithms.encoded,
            content.encoded.replace(info, change(info)),
            der.write(der.context(0), new),
            der.write(der.SET, der.write(der.SEQUENCE, *fields)),
        ]
        signed_now = der.write(der.context(0), der.write(der.SEQUENCE, *whole))
        return der.write(der.SEQUENCE, kind.encoded, signed_now)

    return forge


Answer = Callable[[bytes], tuple[int, str, Iterator[bytes]]]


@contextmanager
def served(answer: Answer) -> Iterator[str]:
    """The address of an HTTP server: `answer` gives status, content type and body of a POST."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.headers["Content-Type"] == "application/timestamp-query"
            status, kind, body = answer(asked)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            if status == 302:
                self.send_header("Location", "/moved")
            self.end_headers()
            try:
                for part in body:
                    self.wfile.write(part)
                    self.wfile.flush()
            except OSError:  # the client had enough
                pass

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/tsa"
    finally:
        server.shutdown()
        server.server_close()
