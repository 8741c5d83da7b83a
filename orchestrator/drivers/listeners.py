"""The TCP ports that processes listen on (Linux /proc)."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.drivers.processes import ProcessEntry
from orchestrator.model.errors import InfrastructureError

# proc(5), /proc/net/tcp: column 1 is the local address, 3 the state (0A: LISTEN), 9 the inode.
_LISTEN = "0A"


@dataclass(frozen=True)
class Listener:
    """An address and port, and the first of the processes that listen there."""

    address: str
    port: int
    process: ProcessEntry


def listeners(processes: Iterable[ProcessEntry]) -> tuple[Listener, ...]:
    """The ports of these processes, in order of address and port.

    Raises InfrastructureError for a process whose files this one may not see.
    """
    by_inode = _listening()
    found: dict[tuple[str, int], Listener] = {}
    for process in processes:
        for inode in _sockets(process) & by_inode.keys():
            address, port = by_inode[inode]
            found.setdefault((address, port), Listener(address, port, process))
    return tuple(found[key] for key in sorted(found))


def _listening() -> dict[str, tuple[str, int]]:
    """The listening sockets of this host by inode."""
    found = {}
    for name in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/net/{name}").read_text().splitlines()[1:]
        except OSError:
            continue  # a kernel without IPv6
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTEN:
                found[fields[9]] = _address(fields[1])
    return found


def _address(text: str) -> tuple[str, int]:
    """An address of /proc/net/tcp: words of 32 bits in the host's order of bytes, then the port."""
    host, _, port = text.partition(":")
    words = [int(host[at : at + 8], 16) for at in range(0, len(host), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    family = socket.AF_INET if len(words) == 1 else socket.AF_INET6
    return str(ipaddress.ip_address(socket.inet_ntop(family, packed))), int(port, 16)


def _sockets(process: ProcessEntry) -> set[str]:
    """The inodes of a process's open sockets."""
    links = []
    try:
        for path in Path(f"/proc/{process.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                links.append(path.readlink().name)
    except FileNotFoundError:
        return set()  # it ended meanwhile
    except PermissionError as error:
        raise InfrastructureError(
            f"the files of process {process.pid} ({process.command}) cannot be seen",
            "ask as root or as the user that runs the servers",
        ) from error
    return {name[8:-1] for name in links if name.startswith("socket:[")}
