"""Kind `secret_policies`: what every policy of the secret manager grants, by its text.

Data: `policies` (names; `root`, which has no text, is left out), and as `POLICY PATH`: `everything`
(paths that stand for a whole server), `wildcards` (paths with `*` at the end, whatever they grant),
`writing_wildcards` (those that grant more than to look), `sudo`; `unreadable` (policies whose text
could not be read: what they grant is not known).
"""

from __future__ import annotations

from functools import partial
from typing import Any

from orchestrator.collect.observe import Collector, Observation, asked
from orchestrator.collect.vault_policy import Grant, grants
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment

KIND = "secret_policies"
_LOOKING = frozenset({"read", "list", "deny"})


def collectors(environment: Environment, secrets: Secrets) -> list[Collector]:
    """One collector: `common/secrets/policies`."""
    return [
        Collector(
            kind=KIND,
            subject="common/secrets/policies",
            source=f"common/secrets at {environment.secrets.url}, as AppRole orchestrator",
            query="LIST sys/policies/acl; GET sys/policies/acl/NAME of each",
            look=partial(look, secrets),
        )
    ]


def look(secrets: Secrets) -> Observation:
    """Read every policy. Raises InfrastructureError."""
    listed = asked(
        secrets,
        "list the policies (list on sys/policies/acl)",
        lambda client: client.list("sys/policies/acl"),
    )
    names = sorted(name for name in listed["data"]["keys"] if name != "root")
    found: list[tuple[str, Grant]] = []
    unreadable = []
    for name in names:
        text = _text_of(secrets, name)
        try:
            found += [(name, grant) for grant in grants(text) if not grant.is_denial]
        except ValueError:
            unreadable.append(name)
    wild = [(name, grant) for name, grant in found if grant.path.endswith("*")]
    data: dict[str, Any] = {
        "policies": names,
        "everything": _told((name, grant) for name, grant in found if grant.is_everything),
        "wildcards": _told(wild),
        "writing_wildcards": _told(
            (name, grant) for name, grant in wild if not _LOOKING.issuperset(grant.capabilities)
        ),
        "sudo": _told((name, grant) for name, grant in found if "sudo" in grant.capabilities),
        "unreadable": unreadable,
    }
    return Observation(data, len(names))


def _text_of(secrets: Secrets, name: str) -> str:
    answer = asked(
        secrets,
        f"read the policy {name} (read on sys/policies/acl/{name})",
        lambda client: client.read(f"sys/policies/acl/{name}"),
    )
    return str(answer["data"]["policy"])


def _told(found: Any) -> list[str]:
    return [f"{name} {grant.path}" for name, grant in found]
