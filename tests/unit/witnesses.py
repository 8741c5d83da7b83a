"""Logs and witnesses of the tests: real folders, and a real server process."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from orchestrator.evidence.keys import LocalSigner
from orchestrator.evidence.tlog import note
from orchestrator.evidence.tlog.log import Log
from orchestrator.evidence.witness import folder as witness_folder
from orchestrator.evidence.witness.folder import WitnessFolder

DIGEST = "ab" * 32
NAME = "auditor.example/w1"
ROOT = Path(__file__).parents[2]


def signer_of(seed: int = 0) -> LocalSigner:
    return LocalSigner(Ed25519PrivateKey.from_private_bytes(bytes([seed] * 32)))


@dataclass(frozen=True)
class Book:
    """A log and the key that signs it."""

    log: Log
    signer: LocalSigner

    def grow(self, *runs: str) -> Book:
        with self.log.locked() as held:
            held.append([("plan", run, DIGEST) for run in runs], self.signer)
        return self

    def request(self, old: int) -> bytes:
        with self.log.locked() as held:
            return held.growth(old)

    @property
    def head(self) -> note.Checkpoint:
        return note.parse(self.log.read("checkpoint") or b"")

    def copy(self, folder: Path) -> Book:
        shutil.copytree(self.log.folder, folder)
        return Book(Log(folder), self.signer)


def book(folder: Path, *runs: str) -> Book:
    return Book(Log(folder), signer_of()).grow(*runs or ("run-0",))


def watching(folder: Path, book: Book, name: str = NAME) -> WitnessFolder:
    """A witness that knows the log of a book."""
    made = witness_folder.init(folder, name)
    made.trust(book.head.origin, book.signer.public_key)
    return made


def cosigned(witness: WitnessFolder, head: note.Checkpoint, body: bytes) -> bool:
    """Whether an answer is this witness's cosignature over a checkpoint."""
    signed = head.with_signatures(note.parse_signatures(body))
    return witness.name in note.witnessed(signed, {witness.name: witness.public_key})


@contextmanager
def served(folder: Path, *options: str) -> Iterator[tuple[str, subprocess.Popen[str], Path]]:
    """A server process of a witness: its URL, the process, and the file of its log lines."""
    said = folder.parent / f"{folder.name}.log"
    command = [sys.executable, "-m", "orchestrator", "witness", "serve", str(folder)]
    with (
        said.open("w") as lines,
        subprocess.Popen(
            [*command, "--listen", "127.0.0.1:0", *options],
            env={**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"},
            stderr=lines,
            text=True,
        ) as process,
    ):
        try:
            while " answers at " not in said.read_text():
                assert process.poll() is None, said.read_text()
            yield said.read_text().split()[-1], process, said
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
