"""A timestamp authority over HTTP (RFC 3161 section 3.4): ask it for a token, and check it."""

from __future__ import annotations

import secrets
import time

import requests

from orchestrator.evidence.timestamp import timestamps, tokens
from orchestrator.evidence.timestamp.timestamps import Authority, Timestamp, TimestampError
from orchestrator.model.errors import InfrastructureError

_TIMEOUT_SECONDS = 10.0
_QUERY, _REPLY = "application/timestamp-query", "application/timestamp-reply"


class TimestampAuthority:
    """The authority at a URL, which must be the one that auditors trust as `authority`."""

    def __init__(
        self, url: str, authority: Authority, *, timeout_seconds: float = _TIMEOUT_SECONDS
    ) -> None:
        self.url = url
        self.name = authority.name
        self._authority = authority
        self._timeout_seconds = timeout_seconds

    def stamp(self, digest: bytes) -> tuple[bytes, Timestamp]:
        """The token (DER, reduced) for a SHA-256 digest, and what it says, verified.

        Raises InfrastructureError: the authority is down, slow or refuses, or what it gave is not
        about this digest and request, or would be trusted by nobody who trusts `authority`.
        """
        nonce = secrets.randbits(64)
        response = self._post(timestamps.request(digest, nonce))
        try:
            token = timestamps.token_of(response)
            return token, timestamps.verify(token, digest, [self._authority], nonce=nonce)
        except TimestampError as error:
            raise InfrastructureError(
                f"the timestamp authority {self.url} gave no good timestamp: {error}",
                "look at its URL, and at the roots and intermediates that it is trusted by",
            ) from error

    def _post(self, query: bytes) -> bytes:
        """The body of the answer to a query."""
        deadline = time.monotonic() + self._timeout_seconds
        try:
            with requests.post(
                self.url,
                data=query,
                headers={"Content-Type": _QUERY, "Accept": _REPLY},
                timeout=self._timeout_seconds,
                allow_redirects=False,
                stream=True,
            ) as answer:
                kind = answer.headers.get("Content-Type", "").partition(";")[0].strip()
                if answer.status_code != requests.codes.ok or kind.lower() != _REPLY:
                    raise self._down(f"answered {answer.status_code}, {kind or 'no content type'}")
                return self._body(answer, deadline)
        except requests.RequestException as error:
            raise self._down(f"did not answer: {error}") from error

    def _body(self, answer: requests.Response, deadline: float) -> bytes:
        body = b""
        for part in answer.iter_content(4096):
            body += part
            if len(body) > 2 * tokens.MAX_BYTES:
                raise self._down(f"sent more than {2 * tokens.MAX_BYTES} bytes")
            if time.monotonic() > deadline:
                raise self._down(f"was not done after {self._timeout_seconds:g} s")
        return body

    def _down(self, what: str) -> InfrastructureError:
        return InfrastructureError(
            f"the timestamp authority {self.url} {what}", "try again later, or name another one"
        )
