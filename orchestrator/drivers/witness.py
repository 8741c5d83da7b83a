"""The witnesses of an environment's evidence log: over HTTP, or in a folder.

Both give the answer of c2sp.org/tlog-witness; whoever asks verifies the cosignature in it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import requests
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from orchestrator.evidence.witness.folder import WitnessFolder
from orchestrator.evidence.witness.protocol import MOST_ANSWER_BYTES, PATH, Answer
from orchestrator.evidence.witness.vouchers import NamedWitness
from orchestrator.evidence.witness.vouching import Witness
from orchestrator.model.errors import InfrastructureError


def witness_at(named: NamedWitness, *, timeout_seconds: float) -> Witness:
    """Return the witness of the settings; nothing is asked yet."""
    if named.url.startswith("file://"):
        folder = Path(unquote(urlsplit(named.url).path))
        return FolderWitness(named.name, named.public_key, folder)
    return HttpWitness(named.name, named.public_key, named.url, timeout_seconds)


@dataclass(frozen=True)
class FolderWitness:
    """A witness that runs in this process, over a folder: a share, or another machine's disk."""

    name: str
    public_key: Ed25519PublicKey
    folder: Path

    def add_checkpoint(self, request: bytes) -> Answer:
        """Its answer. Raises InfrastructureError, or InputError when it is no witness."""
        return WitnessFolder(self.folder).add_checkpoint(request)


@dataclass(frozen=True)
class HttpWitness:
    """A witness at a URL; of https the certificate is verified (REQUESTS_CA_BUNDLE for others)."""

    name: str
    public_key: Ed25519PublicKey
    url: str
    timeout_seconds: float

    def add_checkpoint(self, request: bytes) -> Answer:
        """Its answer. Raises InfrastructureError: it is down, slow, or sends too much."""
        deadline = time.monotonic() + self.timeout_seconds
        try:
            with requests.post(
                self.url.rstrip("/") + PATH,
                data=request,
                headers={"Content-Type": "text/plain; charset=utf-8"},
                timeout=self.timeout_seconds,
                allow_redirects=False,
                stream=True,
            ) as answer:
                body = self._body(answer, deadline)
                return Answer(answer.status_code, body, answer.headers.get("Content-Type", ""))
        except requests.RequestException as error:
            raise self._down(f"did not answer: {_why(error)}") from error

    def _body(self, answer: requests.Response, deadline: float) -> bytes:
        body = b""
        for part in answer.iter_content(4096):
            body += part
            if len(body) > MOST_ANSWER_BYTES:
                raise self._down(f"sent more than {MOST_ANSWER_BYTES} bytes")
            if time.monotonic() > deadline:
                raise self._down(f"was not done after {self.timeout_seconds:g} s")
        return body

    def _down(self, what: str) -> InfrastructureError:
        return InfrastructureError(
            f"the witness at {self.url} {what}",
            "see that it runs and is reached; `anlan evidence log cosign` asks again",
        )


def _why(error: requests.RequestException) -> str:
    """What went wrong, without the name of the connection and of its pool before it."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return str(reason or error).rpartition("): ")[2]
