"""Who has which policies in the secret manager, from the answers of a server."""

from __future__ import annotations

from typing import Any

import pytest
from hvac.exceptions import Forbidden, InvalidPath, InvalidRequest

from orchestrator.collect import access_secrets
from orchestrator.model.access import Right

LISTS = {
    "auth/approle/role": ["orchestrator"],
    "identity/entity/id": ["1", "2"],
    "auth/token/accessors": ["root", "login", "ended"],
}
READS: dict[str, Any] = {
    "auth/approle/role/orchestrator": {"token_policies": ["drills"]},
    "identity/entity/id/1": {"name": "alice", "policies": ["all"]},
    "identity/entity/id/2": {"name": "idle", "policies": []},
    "sys/auth": {"approle/": {}, "token/": {}, "userpass/": {}},
    "sys/policies/acl/drills": {"policy": 'path "kv/data/x" { capabilities = ["read"] }'},
    "sys/policies/acl/all": {"policy": 'path "*" { capabilities = ["sudo", "read"] }'},
    "sys/policies/acl/default": {"policy": ""},
}
TOKENS = {
    "root": {"path": "auth/token/root", "display_name": "root", "policies": ["root"]},
    "login": {"path": "auth/approle/login", "display_name": "approle", "policies": ["drills"]},
}


class Client:
    """What hvac's client answers; it is its own `auth.token`."""

    def __init__(self, refusal: Exception) -> None:
        self.auth = self.token = self
        self.refusal = refusal

    def list(self, path: str) -> dict[str, Any] | None:
        return {"data": {"keys": LISTS[path]}} if path in LISTS else None

    def read(self, path: str) -> dict[str, Any]:
        if path not in READS:
            raise InvalidPath
        return {"data": READS[path]}

    def lookup_accessor(self, accessor: str) -> dict[str, Any]:
        if accessor not in TOKENS:
            raise self.refusal
        return {"data": TOKENS[accessor]}


class Answering:
    """A secret manager that answers."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def ask(self, _: str, verb: Any) -> Any:
        return verb(self.client)


def rights(refusal: Exception) -> list[Right]:
    return access_secrets._ask(Answering(Client(refusal)))[0]  # type: ignore[arg-type]


def test_roles_entities_lasting_tokens_and_other_logins_are_principals() -> None:
    assert rights(InvalidRequest("invalid accessor")) == [
        Right("AppRole orchestrator", "service", "kv/data/x", "policy drills", ("read",)),
        Right("entity alice", "entity", "*", "policy all", ("read", "sudo")),
        Right("login method userpass/", "login method", "the secret manager", "", ("log in",)),
        Right("token root", "token", "every path", "policy root", ("everything",)),
    ]


def test_a_token_that_may_not_be_looked_up_is_not_left_out() -> None:
    with pytest.raises(Forbidden):
        rights(Forbidden("permission denied"))


def test_a_policy_that_does_not_exist_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(READS, "sys/policies/acl/drills")
    found = rights(InvalidRequest("invalid accessor"))
    assert found[0].resource == "no such policy"
