"""Events to an HTTP endpoint: CloudEvents 1.0 in structured mode, at least once, in order."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import requests

from orchestrator.model.errors import InfrastructureError, InputError

TOKEN = "ANLAN_WEBHOOK_TOKEN"  # noqa: S105  (the name of a variable)
_TIMEOUT_SECONDS = 5.0
_PAUSES_SECONDS = (0.2, 1.0, 3.0, 9.0)
_AGAIN = {408, 425, 429}


class Webhook:
    """One endpoint. Who receives an event twice knows it by (source, id)."""

    def __init__(self, url: str) -> None:
        """`url` is http or https; a bearer token comes from the variable ANLAN_WEBHOOK_TOKEN.

        Raises InputError.
        """
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise InputError(f"{url!r} is no http or https URL", path="--webhook")
        self._url, self._host = url, parts.netloc.rpartition("@")[2]
        self._session = requests.Session()
        self._session.headers["Content-Type"] = "application/cloudevents+json; charset=utf-8"
        if token := os.environ.get(TOKEN):
            self._session.headers["Authorization"] = f"Bearer {token}"

    def send(self, event: Mapping[str, Any]) -> None:
        """Deliver an event, trying again for a while. Raises InfrastructureError."""
        problem, body = "", json.dumps(dict(event), ensure_ascii=False).encode()
        for pause in (*_PAUSES_SECONDS, None):
            try:
                answer = self._session.post(self._url, data=body, timeout=_TIMEOUT_SECONDS)
            except requests.RequestException as error:
                problem = type(error).__name__
            else:
                if answer.ok:
                    return
                problem = f"HTTP {answer.status_code}"
                if answer.status_code < 500 and answer.status_code not in _AGAIN:
                    break
            if pause is not None:
                time.sleep(pause)
        raise InfrastructureError(
            f"the webhook at {self._host} did not take event {event['id']}: {problem}",
            "the run is not disturbed; watch it again: events are sent from its beginning",
        )
