"""A witness over HTTP, a process of its own; and the commands that make and show it."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import yaml
from authorities import Validity, certify, p256
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from test_evidence_cli import anlan
from witnesses import NAME, Book, book, cosigned, served, watching

from orchestrator.drivers.witness import HttpWitness, witness_at
from orchestrator.drivers.witness_server import WitnessServer
from orchestrator.evidence.witness import protocol as witness
from orchestrator.evidence.witness.folder import WitnessFolder
from orchestrator.evidence.witness.vouchers import NamedWitness, witnesses_of
from orchestrator.model.errors import InfrastructureError

TEXT = {"Content-Type": "text/plain; charset=utf-8"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("witness")


@pytest.fixture(scope="module")
def log(place: Path) -> Book:
    return book(place / "log")


@pytest.fixture(scope="module")
def watched(place: Path, log: Book) -> WitnessFolder:
    return watching(place / "w", log)


@pytest.fixture(scope="module")
def url(watched: WitnessFolder) -> Iterator[str]:
    with served(watched.folder) as (url, _, _):
        yield url


def client(watched: WitnessFolder, url: str, seconds: float = 10.0) -> HttpWitness:
    return HttpWitness(watched.name, watched.public_key, url, seconds)


def raw(url: str, content: bytes) -> bytes:
    """What the server answers to these bytes, until it closes."""
    host, port = url.removeprefix("http://").split(":")
    got = b""
    with socket.create_connection((host, int(port)), 30) as connection:
        connection.sendall(content)
        while part := connection.recv(4096):
            got += part
    return got


def test_a_log_is_cosigned_over_http(watched: WitnessFolder, log: Book, url: str) -> None:
    there = client(watched, url)
    conflict = there.add_checkpoint(log.request(1))
    assert (conflict.status, conflict.body, conflict.kind) == (409, b"0\n", "text/x.tlog.size")
    answer = there.add_checkpoint(log.request(0))
    assert (answer.status, cosigned(watched, log.head, answer.body)) == (200, True)
    log.grow("run-1", "run-2")
    assert there.add_checkpoint(log.request(1)).status == 200
    assert there.add_checkpoint(b"nonsense").status == 400
    assert there.add_checkpoint(log.request(0)).body == b"3\n"


def test_the_server_and_the_folder_are_one_witness(
    watched: WitnessFolder, log: Book, url: str
) -> None:
    named = NamedWitness(watched.name, f"file://{watched.folder}", watched.public_key)
    folder = witness_at(named, timeout_seconds=1)
    log.grow("by-folder")
    for there in (folder, client(watched, url)):
        known = witness.known_size(there.add_checkpoint(log.request(0)))
        assert there.add_checkpoint(log.request(known)).status == 200


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /add-checkpoint HTTP/1.1\r\n\r\n", b"501"),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", b"404"),
        (b"POST /add-checkpoint/ HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", b"404"),
        (b"POST /add-checkpoint HTTP/1.1\r\n\r\n", b"411"),
        (b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"411"),
        (b"POST /add-checkpoint HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"411"),
        (b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 131073\r\n\r\n", b"413"),
        (b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: " + b"9" * 400 + b"\r\n\r\n", b"413"),
        (b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", b"400"),
        (b"hello\r\n\r\n", b"400"),
        (b"POST /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", b"414"),
    ],
)
def test_what_is_not_asked_for_is_refused(url: str, request_: bytes, status: bytes) -> None:
    assert raw(url, request_).split()[1] == status
    assert requests.post(url + witness.PATH, data=b"x", timeout=10).status_code == 400  # it lives


def test_a_redirection_is_not_followed_and_a_flood_not_read(watched: WitnessFolder) -> None:
    with pytest.raises(InfrastructureError, match="did not answer"):
        client(watched, "http://127.0.0.1:9").add_checkpoint(b"")
    for head, match in (
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_000, "sent more than"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\n\r\n", ""),
    ):
        with socket.create_server(("127.0.0.1", 0)) as server:
            threading.Thread(target=_say, args=(server, head), daemon=True).start()
            there = client(watched, f"http://127.0.0.1:{server.getsockname()[1]}")
            if match:
                with pytest.raises(InfrastructureError, match=match):
                    there.add_checkpoint(b"x")
            else:
                assert there.add_checkpoint(b"x").status == 302


def _say(server: socket.socket, content: bytes) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(65_536)
        try:
            connection.sendall(content)
        except OSError:  # the client had enough
            return


def test_each_request_is_one_line_and_sigterm_ends_it(
    tmp_path: Path, watched: WitnessFolder, log: Book
) -> None:
    folder = shutil.copytree(watched.folder, tmp_path / "w")
    with served(folder) as (url, process, said):
        there = client(watched, url)
        known = witness.known_size(there.add_checkpoint(log.request(0)))
        assert there.add_checkpoint(log.request(known)).status == 200
        there.add_checkpoint(b"\x1b[31m")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        lines = said.read_text().splitlines()
    assert [line.split()[2] for line in lines[1:]] == ["409", "200", "400"]
    assert lines[2].endswith(f" 127.0.0.1 200 {log.head.origin} {log.head.size}")
    assert "\x1b" not in said.read_text()
    with pytest.raises(requests.ConnectionError):
        requests.post(url + witness.PATH, data=b"", timeout=5)


def test_a_client_that_hangs_is_cut_off_and_stops_nobody(watched: WitnessFolder) -> None:
    server = WitnessServer(watched, ("127.0.0.1", 0), request_seconds=0.5)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    began = time.monotonic()
    with socket.create_connection(server.server_address[:2], 30) as silent:
        silent.sendall(b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 100\r\n\r\n")
        assert client(watched, server.url).add_checkpoint(b"x").status == 400
        while time.monotonic() < began + 10:  # a byte now and then does not help
            try:
                silent.sendall(b"x")
                time.sleep(0.1)
            except OSError:
                break
    assert time.monotonic() - began < 5
    server.shutdown()
    thread.join(30)
    server.server_close()
    assert not thread.is_alive()


def test_over_tls_the_certificate_is_verified(
    tmp_path: Path, watched: WitnessFolder, log: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    root_key, key = p256(), p256()
    root = certify("root", root_key, "root", root_key, valid=Validity())
    valid = Validity()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "witness")])
    made = (
        x509.CertificateBuilder(root.subject, subject, key.public_key(), 77)
        .not_valid_before(valid.since)
        .not_valid_after(valid.until)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(root_key, SHA256())
    )
    (tmp_path / "root.pem").write_bytes(root.public_bytes(Encoding.PEM))
    (tmp_path / "c.pem").write_bytes(made.public_bytes(Encoding.PEM))
    (tmp_path / "k.pem").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    folder = shutil.copytree(watched.folder, tmp_path / "w")
    files = ("--tls-certificate", str(tmp_path / "c.pem"), "--tls-key", str(tmp_path / "k.pem"))
    with served(folder, *files) as (url, _, _):
        assert url.startswith("https://127.0.0.1:")
        there = client(watched, url.replace("127.0.0.1", "localhost"))
        with socket.create_connection(("127.0.0.1", int(url.split(":")[-1]))):  # no handshake
            with pytest.raises(InfrastructureError, match="CERTIFICATE_VERIFY_FAILED"):
                there.add_checkpoint(log.request(0))
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "root.pem"))
            assert there.add_checkpoint(log.request(0)).status == 409


def test_the_commands_make_a_witness_that_settings_can_name(tmp_path: Path, log: Book) -> None:
    folder, key = tmp_path / "w", tmp_path / "evidence.pub"
    key.write_text(log.signer.public_key_pem())
    first = anlan("witness", "init", folder, "--name", NAME)
    assert first.returncode == 0, first.stderr
    assert anlan("witness", "init", folder, "--name", NAME).stdout == first.stdout
    (named,) = witnesses_of(yaml.safe_load(first.stdout))
    assert (named.name, named.url) == (NAME, f"file://{folder}")
    assert anlan("witness", "init", folder, "--name", "other").returncode == 3
    assert "knows no log" in anlan("witness", "show", folder).stdout
    origin = log.head.origin
    done = anlan("witness", "trust", folder, origin, key)
    assert "is accepted" in done.stdout
    assert (
        json.loads(anlan("witness", "trust", folder, origin, key, "--json").stdout)["new"] is False
    )
    assert "nothing was cosigned yet" in anlan("witness", "show", folder).stdout
    there = witness_at(named, timeout_seconds=1)
    assert there.add_checkpoint(log.request(0)).status == 200
    shown = json.loads(anlan("witness", "show", folder, "--json").stdout)
    (one,) = shown["logs"]
    assert (one["origin"], one["size"], one["root"]) == (origin, log.head.size, log.head.root.hex())
    assert f"{log.head.size} entries" in anlan("witness", "show", folder).stdout


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("init", "w", "--name", "Bad Name"), 2, "no name of a witness"),
        (("show", "nowhere"), 2, "no witness is here"),
        (("trust", "nowhere", "a", "nothing.pub"), 2, "cannot read the trust key"),
        (("serve", "nowhere"), 2, "no witness is here"),
    ],
)
def test_what_cannot_be_used_is_named(
    tmp_path: Path, arguments: tuple[str, ...], code: int, says: str
) -> None:
    done = anlan("witness", *arguments, cwd=tmp_path)
    assert (done.returncode, says in done.stderr) == (code, True), done.stderr


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--listen", "nowhere"), 2),
        (("--listen", "127.0.0.1:99999"), 2),
        (("--tls-key", "k.pem"), 2),
        (("--tls-key", "k.pem", "--tls-certificate", "c.pem"), 2),
        (("--listen", "192.0.2.1:0"), 4),
    ],
)
def test_a_server_that_cannot_serve_says_why(
    watched: WitnessFolder, options: tuple[str, ...], code: int
) -> None:
    done = anlan("witness", "serve", watched.folder, *options)
    assert done.returncode == code, done.stderr
    assert "→" in done.stderr
