"""One collector and the fact that it yields, whatever happens to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import psycopg
from botocore.exceptions import ClientError
from hvac.exceptions import Forbidden

from orchestrator.drivers.credentials import Credentials
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment, Site
from orchestrator.model.errors import AnlanError, InfrastructureError
from orchestrator.model.fact import Fact, FactStatus
from orchestrator.model.fact_kinds import wrong_data

_DENIALS = (
    Forbidden,
    PermissionError,
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.InvalidAuthorizationSpecification,
)
_DENIED_CODES = frozenset(
    {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"}
)
# libpq gives no SQLSTATE for a connection that the server refuses.
_DENIED_TEXTS = ("authentication failed", "pg_hba.conf", "permission denied", "not permitted to")
# hvac's client keeps its token in one object that is not made for several threads.
_SECRETS_LOCK = threading.Lock()


@dataclass(frozen=True)
class Observation:
    """What a collector saw: `data` in the shape of its kind, and how many rows it came from."""

    data: dict[str, Any]
    row_count: int


@dataclass(frozen=True)
class Collector:
    """How one subject is asked: as whom (`source`), what (`query`), and the asking itself."""

    kind: str
    subject: str
    source: str
    query: str
    look: Callable[[], Observation]


def server_collectors(
    kind: str,
    environment: Environment,
    query: str,
    look: Callable[[Environment, Site], Observation],
    *,
    scope: str = "",
) -> list[Collector]:
    """One collector for each site's database server, asked as superuser by its local socket.

    `scope` says what of the server is asked, if it is not one database.
    """
    return [
        Collector(
            kind=kind,
            subject=f"{name}/postgresql",
            source=f"{name}/postgresql, {scope}as postgres by the local socket",
            query=query,
            look=partial(look, environment, site),
        )
        for name, site in environment.sites.items()
    ]


def observe(collector: Collector) -> Fact:
    """Ask, and return the fact: observed, or unreachable or denied with the error."""
    collected_at, began = datetime.now(UTC), time.monotonic()
    status: FactStatus = "observed"
    observation, error = None, ""
    try:
        observation = _checked(collector.kind, collector.look())
    # Whatever goes wrong with one subject must not hide the other facts: it becomes the fact.
    except Exception as failure:  # noqa: BLE001
        status, error = status_of(failure), _text(failure)
    return Fact(
        kind=collector.kind,
        subject=collector.subject,
        collected_at=collected_at,
        source=collector.source,
        query=collector.query,
        row_count=observation.row_count if observation else None,
        duration_ms=(time.monotonic() - began) * 1000,
        status=status,
        error=error,
        data=observation.data if observation else {},
    )


def _checked(kind: str, observation: Observation) -> Observation:
    """Return it. Raises InfrastructureError for data that are not of the kind's schema."""
    if wrong := wrong_data(kind, observation.data):
        raise InfrastructureError(
            f"what was seen does not have the shape of a fact of kind {kind}: {wrong}",
            "report it: the collector does not know this version of its system",
        )
    return observation


def status_of(failure: BaseException) -> FactStatus:
    """`denied` when the system answered and said no, else `unreachable`."""
    for cause in _chain(failure):
        code = cause.response.get("Error", {}).get("Code") if isinstance(cause, ClientError) else ""
        if isinstance(cause, _DENIALS) or code in _DENIED_CODES:
            return "denied"
        if any(text in str(cause).lower() for text in _DENIED_TEXTS):
            return "denied"
    return "unreachable"


def _chain(failure: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = failure
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _text(failure: Exception) -> str:
    if isinstance(failure, AnlanError):
        return failure.what
    return f"{type(failure).__name__}: {failure}".strip()


def database_login(secrets: Secrets) -> Credentials:
    """The orchestrator's database login; safe in several threads. Raises InfrastructureError."""
    with _SECRETS_LOCK:
        return secrets.database_login()


def secret_entry(secrets: Secrets, path: str) -> dict[str, str]:
    """A KV entry; safe in several threads. Raises InfrastructureError."""
    with _SECRETS_LOCK:
        return dict(secrets.kv(path))


def asked(secrets: Secrets, what: str, verb: Callable[[Any], Any]) -> Any:
    """`Secrets.ask`, safe in several threads. Raises InfrastructureError."""
    with _SECRETS_LOCK:
        return secrets.ask(what, verb)
