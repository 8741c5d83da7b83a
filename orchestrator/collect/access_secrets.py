"""The rights in the secret manager: who has which policies, and what these allow on which paths.

Principals are AppRoles, entities and groups with policies, tokens that no AppRole login made, and
other ways to log in, which are told by being there. The policy `default` is of every token.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from hvac.exceptions import Forbidden, InvalidPath, InvalidRequest

from orchestrator.collect.access_read import Look
from orchestrator.collect.observe import asked
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.access import Right, rights_of
from orchestrator.model.environment import Environment
from orchestrator.model.errors import InfrastructureError

Row = tuple[str, str, str, str, str]
_PATHS = (
    "LIST auth/approle/role and READ each; READ sys/auth; LIST identity/entity/id, "
    "identity/group/id and READ each; LIST auth/token/accessors and look each up; "
    "READ sys/policies/acl/NAME of each policy that is named"
)
_ENDED = "invalid accessor"
_USUAL_LOGINS = ("approle/", "token/")
_BLOCK = re.compile(r'path\s+"((?:[^"\\]|\\.)*)"\s*\{')
_CAPABILITIES = re.compile(r"\bcapabilities\s*=\s*\[([^\]]*)\]")
_COMMENT = re.compile(r'("(?:[^"\\]|\\.)*")|#[^\n]*|//[^\n]*|/\*.*?\*/', re.DOTALL)


def look(environment: Environment, secrets: Secrets) -> Look:
    """How the secret manager is asked."""
    return Look(
        subject="common/secrets",
        source=f"the secret manager at {environment.secrets.url}, as AppRole orchestrator",
        query=_PATHS,
        ask=partial(_ask, secrets),
    )


def _ask(secrets: Secrets) -> tuple[list[Right], int]:
    rows, policies = [], {}
    for principal, kind, names in asked(secrets, "list who may what", _principals):
        for name in names:
            if name not in policies:
                policies[name] = asked(secrets, f"read policy {name}", partial(_policy, name))
            rows += [
                (principal, kind, path, f"policy {name}", capability)
                for path, capabilities in policies[name]
                for capability in capabilities
            ]
        if not names:
            rows.append((principal, kind, "the secret manager", "", "log in"))
    return rights_of(rows), len(rows)


def _principals(client: Any) -> list[tuple[str, str, Sequence[str]]]:
    """Each principal with its kind and the names of its policies; none for a way to log in."""
    found: list[tuple[str, str, Sequence[str]]] = []
    for name in _listed(client, "auth/approle/role"):
        role = client.read(f"auth/approle/role/{name}")["data"]
        default = () if role.get("token_no_default_policy") else ("default",)
        found.append((f"AppRole {name}", "service", (*role["token_policies"], *default)))
    for what in ("entity", "group"):
        for id_ in _listed(client, f"identity/{what}/id"):
            one = client.read(f"identity/{what}/id/{id_}")["data"]
            if one["policies"]:
                found.append((f"{what} {one['name']}", what, tuple(one["policies"])))
    found += [
        (f"login method {path}", "login method", ())
        for path in client.read("sys/auth")["data"]
        if path not in _USUAL_LOGINS
    ]
    return [*found, *_tokens(client)]


def _tokens(client: Any) -> Iterator[tuple[str, str, Sequence[str]]]:
    """Tokens that were not made by a login of an AppRole, which come and go."""
    for accessor in _listed(client, "auth/token/accessors"):
        try:
            token = client.auth.token.lookup_accessor(accessor)["data"]
        except (InvalidPath, InvalidRequest, Forbidden) as error:
            if _ENDED in str(error):
                continue  # it ended meanwhile
            raise
        if not str(token["path"]).startswith("auth/approle/"):
            yield f"token {token['display_name']}", "token", tuple(token["policies"])


def _listed(client: Any, path: str) -> list[str]:
    answer = client.list(path)
    return [] if answer is None else list(answer["data"]["keys"])


def _policy(name: str, client: Any) -> list[tuple[str, list[str]]]:
    if name == "root":
        return [("every path", ["everything"])]
    try:
        answer = client.read(f"sys/policies/acl/{name}")
    except InvalidPath:
        answer = None
    # A policy that is named and does not exist allows nothing now, and whatever it will once say.
    return policy_rules(answer["data"]["policy"]) if answer else [("no such policy", ["nothing"])]


def policy_rules(text: str) -> list[tuple[str, list[str]]]:
    """Return each path of a policy (HCL or JSON) with its capabilities.

    Raises InfrastructureError for a text of which anything could not be read: a right that is
    overlooked is worse than none that is told.
    """
    if text.lstrip().startswith("{"):
        return _json_rules(text)
    bare = _COMMENT.sub(lambda match: match.group(1) or " ", text)
    rules, rest = [], bare
    for block in _BLOCK.finditer(bare):
        body = _body(bare, block.end())
        capabilities = _CAPABILITIES.search(body)
        if capabilities is None:
            raise _unreadable(f"path {block.group(1)!r} names no capabilities")
        words = re.findall(r'"([^"]*)"', capabilities.group(1))
        rules.append((block.group(1), words or ["nothing"]))
        rest = rest.replace(bare[block.start() : block.end() + len(body) + 1], "", 1)
    if rest.strip():
        raise _unreadable(f"{rest.strip()[:80]!r}")
    return rules


def _body(text: str, start: int) -> str:
    """What is between a block's braces; braces in strings do not count."""
    depth, quoted = 1, False
    for position in range(start, len(text)):
        letter = text[position]
        if letter == '"' and text[position - 1] != "\\":
            quoted = not quoted
        elif not quoted:
            depth += {"{": 1, "}": -1}.get(letter, 0)
            if depth == 0:
                return text[start:position]
    raise _unreadable("a brace is not closed")


def _json_rules(text: str) -> list[tuple[str, list[str]]]:
    try:
        paths: Mapping[str, Any] = json.loads(text)["path"]
        return [(path, list(rule["capabilities"])) for path, rule in paths.items()]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unreadable(repr(error)) from error


def _unreadable(what: str) -> InfrastructureError:
    return InfrastructureError(
        f"a policy of the secret manager cannot be read: {what}",
        'write it as `path "…" { capabilities = […] }`',
    )
