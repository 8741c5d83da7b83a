"""What ransomware does to the database of a twin: its server is killed, its files are encrypted.

The key is drawn, used and forgotten: nobody can decrypt them, as nobody could who does not pay.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from orchestrator.drivers.processes import send
from orchestrator.drivers.twin import Twin, twins_directory
from orchestrator.model.errors import InfrastructureError, Refused

_CHUNK_BYTES = 1 << 20


def encrypt_data(twin: Twin) -> tuple[int, int]:
    """Kill the twin's database and encrypt every file of it in place; returns files and bytes.

    Raises Refused for a directory that is no twin's, InfrastructureError.
    """
    data = twin.data_directory.resolve()
    if not data.is_relative_to(twins_directory(twin.environment).resolve()):
        raise Refused(f"{data} is no twin's directory", "ransomware is for a twin alone")
    for entry in twin.processes():
        if entry.command == "postgres":
            send(entry.pid, signal.SIGKILL)
    key, files, size = os.urandom(32), 0, 0
    try:
        for path in data.rglob("*"):
            if path.is_file() and not path.is_symlink():
                size += _encrypt(path, key)
                files += 1
    except OSError as error:
        raise InfrastructureError(
            f"cannot encrypt the twin's files: {error}", "look at the machine's disk"
        ) from error
    return files, size


def _encrypt(path: Path, key: bytes) -> int:
    encryptor = Cipher(algorithms.AES(key), modes.CTR(os.urandom(16))).encryptor()
    with path.open("r+b") as stream:
        while part := stream.read(_CHUNK_BYTES):
            stream.seek(-len(part), os.SEEK_CUR)
            stream.write(encryptor.update(part))
        return stream.tell()
