"""What a server chooses from a ClientHello: cipher suite, group, compression, renegotiation.

The hello is written here byte by byte (RFC 8446, section 4.1.2; RFC 5246, section 7.4.1), and the
connection is closed after the first answer: no key is made, so anything may be offered, whatever
this host's library is able to speak. With TLS 1.3 an empty `key_share` makes the server name suite
and group in a HelloRetryRequest.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from orchestrator.collect.tls_names import SIGNATURES

HelloVersion = Literal["TLSv1.2", "TLSv1.3"]
_HANDSHAKE, _ALERT = 22, 21
_CLIENT_HELLO, _SERVER_HELLO = 1, 2
_LEGACY = 0x0303
_TLS_1_3 = 0x0304
_NULL, _DEFLATE = 0, 1
_RENEGOTIATION_SCSV = 0x00FF
_SERVER_NAME, _SUPPORTED_GROUPS, _POINT_FORMATS = 0, 10, 11
_SIGNATURE_ALGORITHMS, _EXTENDED_MASTER_SECRET = 13, 23
_SUPPORTED_VERSIONS, _KEY_SHARE, _RENEGOTIATION_INFO = 43, 51, 0xFF01
_RECORD_BYTES = 1 << 14


@dataclass(frozen=True)
class Choice:
    """What the server chose; `group` is None where its hello names none (TLS 1.2)."""

    suite: int
    group: int | None
    compression: int
    secure_renegotiation: bool

    @property
    def compresses(self) -> bool:
        """Whether it chose a compression (RFC 3749), which leaks what it compresses."""
        return self.compression != _NULL


class NoChoice(Exception):
    """The server refused: an alert, or it closed the connection."""


class Unreadable(Exception):
    """The answer is no TLS, or broke off: it proves nothing."""


def ask(link: socket.socket, version: HelloVersion, suites: list[int], groups: list[int]) -> Choice:
    """Send one ClientHello on a connection that is ready for it; return what the server chose.

    Raises NoChoice, Unreadable, OSError.
    """
    link.sendall(client_hello(version, suites, groups))
    message = bytearray()
    for kind, fragment in _records(link):
        if kind == _ALERT:
            raise NoChoice(f"alert {fragment[1] if len(fragment) > 1 else ''}".strip())
        if kind != _HANDSHAKE:
            raise Unreadable(f"a record of type {kind}")
        message += fragment
        if len(message) >= 4 and len(message) >= 4 + int.from_bytes(message[1:4], "big"):
            break
    if message[0] != _SERVER_HELLO:
        raise Unreadable(f"a handshake message of type {message[0]}")
    return _choice(bytes(message[4 : 4 + int.from_bytes(message[1:4], "big")]))


def client_hello(version: HelloVersion, suites: list[int], groups: list[int]) -> bytes:
    """The record of a ClientHello that offers this version alone."""
    extensions = {
        _SUPPORTED_GROUPS: _vector(2, _words(groups)),
        _SIGNATURE_ALGORITHMS: _vector(2, _words(SIGNATURES)),
    }
    offered = list(suites)
    compressions = bytes([_NULL])
    if version == "TLSv1.3":
        extensions[_SUPPORTED_VERSIONS] = _vector(1, _words([_TLS_1_3]))
        extensions[_KEY_SHARE] = _vector(2, b"")
    else:
        extensions[_POINT_FORMATS] = _vector(1, b"\0")
        extensions[_EXTENDED_MASTER_SECRET] = b""
        offered.append(_RENEGOTIATION_SCSV)
        # RFC 8446 forbids to offer a compression together with TLS 1.3.
        compressions = bytes([_DEFLATE, _NULL])
    packed = b"".join(
        struct.pack("!H", kind) + _vector(2, content) for kind, content in extensions.items()
    )
    body = (
        struct.pack("!H", _LEGACY)
        + os.urandom(32)
        + _vector(1, os.urandom(32))
        + _vector(2, _words(offered))
        + _vector(1, compressions)
        + _vector(2, packed)
    )
    handshake = bytes([_CLIENT_HELLO]) + len(body).to_bytes(3, "big") + body
    return struct.pack("!BHH", _HANDSHAKE, 0x0301, len(handshake)) + handshake


def _vector(length_bytes: int, content: bytes) -> bytes:
    return len(content).to_bytes(length_bytes, "big") + content


def _words(values: list[int]) -> bytes:
    return struct.pack(f"!{len(values)}H", *values)


def _records(link: socket.socket) -> Iterator[tuple[int, bytes]]:
    """The records of the answer: type and fragment. Raises NoChoice at its end."""
    while True:
        header = _exactly(link, 5)
        kind, _, length = struct.unpack("!BHH", header)
        if kind not in {_HANDSHAKE, _ALERT} or length > _RECORD_BYTES:
            raise Unreadable(f"answer {header!r}")
        yield kind, _exactly(link, length)


def _exactly(link: socket.socket, count: int) -> bytes:
    content = b""
    while len(content) < count:
        try:
            part = link.recv(count - len(content))
        except (ConnectionResetError, BrokenPipeError) as error:
            raise NoChoice("the server closed the connection") from error
        if not part:
            if content:
                raise Unreadable("the answer broke off")
            raise NoChoice("the server closed the connection")
        content += part
    return content


def _choice(body: bytes) -> Choice:
    """Read a ServerHello or HelloRetryRequest. Raises Unreadable."""
    try:
        position = 34
        position += 1 + body[position]
        (suite,) = struct.unpack_from("!H", body, position)
        compression = body[position + 2]
        extensions = dict(_extensions(body[position + 5 :]))
    except (IndexError, struct.error) as error:
        raise Unreadable(f"a ServerHello that cannot be read: {error}") from error
    share = extensions.get(_KEY_SHARE, b"")
    group = int.from_bytes(share[:2], "big") if len(share) >= 2 else None
    return Choice(suite, group, compression, _RENEGOTIATION_INFO in extensions)


def _extensions(content: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(content):
        kind, length = struct.unpack_from("!HH", content, position)
        yield kind, content[position + 4 : position + 4 + length]
        position += 4 + length
