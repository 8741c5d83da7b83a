"""The ERP (Tryton 8.2) by its JSON-RPC over HTTPS, as the ERP user `drill`."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import requests

from orchestrator.drivers.credentials import Credentials
from orchestrator.model.errors import InfrastructureError

_UNAUTHORIZED = 401


class ErpError(InfrastructureError):
    """The ERP answered with an error; `kind` is its first word or the HTTP status."""

    def __init__(self, what: str, kind: str) -> None:
        super().__init__(what, "read the ERP's log (program `erp`) for the whole error")
        self.kind = kind


class ErpSessionExpired(ErpError):
    """The session is no longer valid: log in again."""


class Erp:
    """A client of one ERP endpoint: a site's server, or the front door.

    One object is one session and one keep-alive connection; it is not for several threads. Verbs
    raise ErpError (the ERP said no) or InfrastructureError (nothing answered in time).
    """

    def __init__(
        self, url: str, database: str, ca_file: Path, *, timeout_seconds: float = 10.0
    ) -> None:
        self.url = url.rstrip("/")
        self.database = database
        self.timeout_seconds = timeout_seconds
        self._http = requests.Session()
        # Else REQUESTS_CA_BUNDLE and the proxy variables win over what is set here.
        self._http.trust_env = False
        self._http.verify = str(ca_file)
        self._numbers = itertools.count(1)

    def version(self) -> str:
        """The server's version; the ERP process answers without its database."""
        return str(self._post("/rpc/", "common.server.version", []))

    def login(self, credentials: Credentials) -> None:
        """Open a session; the later verbs use it."""
        self._http.headers.pop("Authorization", None)
        answer = self._post(
            f"/{self.database}/rpc/",
            "common.db.login",
            [credentials.username, {"password": credentials.password}, "en"],
        )
        if not answer:
            raise ErpError(f"{self.url} refused the login of {credentials.username}", "login")
        session = f"{credentials.username}:{answer[0]}:{answer[1]}"
        encoded = base64.b64encode(session.encode()).decode()
        self._http.headers["Authorization"] = f"Session {encoded}"

    def logout(self) -> None:
        """Close the session."""
        self._post(f"/{self.database}/rpc/", "common.db.logout", [])
        self._http.headers.pop("Authorization", None)

    def call(self, method: str, *arguments: Any, context: Mapping[str, Any] | None = None) -> Any:
        """Call an RPC method, e.g. `model.party.party.search`."""
        return self._post(f"/{self.database}/rpc/", method, [*arguments, dict(context or {})])

    def wizard(self, name: str, state: str, data: Mapping[str, Any], model: str, id_: int) -> None:
        """Walk a wizard of one state on one record."""
        context = {"active_model": model, "active_id": id_, "active_ids": [id_]}
        session = self.call(f"wizard.{name}.create")[0]
        self.call(f"wizard.{name}.execute", session, data, state, context=context)
        self.call(f"wizard.{name}.delete", session)

    def create(self, model: str, values: Sequence[Mapping[str, Any]]) -> list[int]:
        """Create records and return their ids; once it returns, the ERP has committed."""
        return [int(id_) for id_ in self.call(f"model.{model}.create", list(values))]

    def search(self, model: str, domain: Sequence[Any]) -> list[int]:
        """The ids of every record in the domain, e.g. [["name", "like", "x%"]]."""
        found = self._post(
            f"/{self.database}/rpc/", f"model.{model}.search", [list(domain), 0, None, None, {}]
        )
        return [int(id_) for id_ in found]

    def read(self, model: str, ids: Sequence[int], fields: Sequence[str]) -> list[dict[str, Any]]:
        """The named fields of records."""
        return [dict(row) for row in self.call(f"model.{model}.read", list(ids), list(fields))]

    def delete(self, model: str, ids: Sequence[int]) -> None:
        """Delete records; none is no error."""
        if ids:
            self.call(f"model.{model}.delete", list(ids))

    def close(self) -> None:
        """Close the connection (not the session)."""
        self._http.close()

    def _post(self, path: str, method: str, parameters: list[Any]) -> Any:
        body = {"id": next(self._numbers), "method": method, "params": parameters}
        try:
            answer = self._http.post(self.url + path, json=body, timeout=self.timeout_seconds)
            data = answer.json() if answer.ok else {}
        except (requests.RequestException, ValueError) as error:
            raise InfrastructureError(
                f"{method} at {self.url} was not answered: {type(error).__name__}: {error}",
                "see whether the ERP and the front door run",
            ) from error
        if not answer.ok:
            cls = ErpSessionExpired if answer.status_code == _UNAUTHORIZED else ErpError
            raise cls(
                f"{method} at {self.url} gave HTTP {answer.status_code}", str(answer.status_code)
            )
        # Tryton reports an error as HTTP 200 with a member `error`.
        if data.get("error"):
            error_ = data["error"]
            kind = str(error_[0]) if isinstance(error_, list) else str(error_)
            text = f"{method} at {self.url} failed: {str(error_)[:300]}"
            raise (ErpSessionExpired if kind.startswith(("401", "403")) else ErpError)(text, kind)
        return data.get("result")
