"""The process that holds a twin's network namespace: `python -m … DIRECTORY EXPIRES_UNIX`.

It brings the loopback interface up (there is no other), then waits. When the twin's time is over
it removes the twin, so that a twin ends even if nobody is left who remembers it.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import sys
import time
from pathlib import Path

from orchestrator.drivers.twin import remove_directory

# linux/sockios.h and linux/if.h
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1


def main() -> None:
    """Hold the namespace until the directory is gone or the time is over."""
    directory, expires = Path(sys.argv[1]), float(sys.argv[2])
    _loopback_up()
    (directory / "run" / "namespace.ready").touch()
    while directory.exists():
        if time.time() > expires:
            remove_directory(directory)
            return
        time.sleep(0.5)


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(link, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(link, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))


if __name__ == "__main__":
    main()
