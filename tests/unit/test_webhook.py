"""A webhook gets every event, also when it is slow to want it; a refusal is said."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from orchestrator.cli import webhook
from orchestrator.cli.webhook import Webhook
from orchestrator.model.errors import InfrastructureError, InputError


class Receiver(ThreadingHTTPServer):
    """Answers with the statuses it was given, then with 204; keeps what it got."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[int] = []
        self.got: list[tuple[dict[str, str], Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((dict(self.headers), json.loads(body)))
        self.send_response(self.server.answers.pop(0) if self.server.answers else 204)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setattr(webhook, "_PAUSES_SECONDS", (0.01, 0.01))
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


EVENT = {"specversion": "1.0", "id": "run/1", "data": {"t": 2**60, "text": "灾备"}}


def test_an_event_arrives_whole_with_its_type_and_token(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(webhook.TOKEN, "hush")
    Webhook(receiver.url).send(EVENT)
    ((headers, body),) = receiver.got
    assert body == EVENT
    assert headers["Content-Type"].startswith("application/cloudevents+json")
    assert headers["Authorization"] == "Bearer hush"


def test_a_server_that_fails_is_asked_again(receiver: Receiver) -> None:
    receiver.answers = [503, 429]
    Webhook(receiver.url).send(EVENT)
    assert [body for _, body in receiver.got] == [EVENT] * 3


def test_one_that_keeps_failing_or_refuses_is_an_error_that_names_no_secret(
    receiver: Receiver,
) -> None:
    for answers, asked in (([500] * 9, 3), ([403], 1)):
        receiver.answers, receiver.got = list(answers), []
        with pytest.raises(InfrastructureError, match=f"HTTP {answers[0]}") as refused:
            Webhook(receiver.url.replace("//", "//me:hush@")).send(EVENT)
        assert len(receiver.got) == asked
        assert "hush" not in str(refused.value)


def test_nobody_there_is_an_error_and_no_url_is_bad_input(receiver: Receiver) -> None:
    with pytest.raises(InfrastructureError, match="ConnectionError"):
        Webhook("http://127.0.0.1:1/x").send(EVENT)
    for url in ("ftp://example.org", "hook", "https://"):
        with pytest.raises(InputError):
            Webhook(url)
