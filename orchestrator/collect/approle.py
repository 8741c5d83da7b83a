"""Kind `approle`: how each AppRole of the secret manager may log in, and for how long.

Data: `exists`, `other_roles` (AppRoles that no role of ours makes); when it exists `policies` (that
its tokens get), `token_seconds` and `token_longest_seconds` (0: as the mount allows), `token_uses`
(0: no limit), `token_type`, `needs_secret_id`, `secret_id_seconds` and `secret_id_uses` (0: no
limit), `secret_id_networks` and `token_networks` (empty: any).
"""

from __future__ import annotations

from functools import partial

from orchestrator.collect.observe import Collector, Observation, asked
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment

KIND = "approle"
ROLES = ("orchestrator", "provisioner")
"""What the role `secrets` makes."""


def collectors(environment: Environment, secrets: Secrets) -> list[Collector]:
    """One collector for each AppRole: `common/secrets/approle-orchestrator`, …."""
    return [
        Collector(
            kind=KIND,
            subject=f"common/secrets/approle-{name}",
            source=f"common/secrets at {environment.secrets.url}, as AppRole orchestrator",
            query=f"LIST auth/approle/role; GET auth/approle/role/{name}",
            look=partial(look, secrets, name),
        )
        for name in ROLES
    ]


def look(secrets: Secrets, name: str) -> Observation:
    """Read one AppRole, and the names of all. Raises InfrastructureError."""
    listed = asked(
        secrets,
        "list the AppRoles (list on auth/approle/role)",
        lambda client: client.list("auth/approle/role"),
    )["data"]["keys"]
    role = asked(
        secrets,
        f"read the AppRole {name} (read on auth/approle/role/{name})",
        lambda client: client.read(f"auth/approle/role/{name}"),
    )
    if role is None:
        return Observation({"exists": False, "other_roles": _others(listed)}, len(listed))
    found = role["data"]
    data = {
        "exists": True,
        "other_roles": _others(listed),
        "policies": found["token_policies"],
        "token_seconds": found["token_ttl"],
        "token_longest_seconds": found["token_max_ttl"],
        "token_uses": found["token_num_uses"],
        "token_type": found["token_type"],
        "token_networks": found["token_bound_cidrs"] or [],
        "needs_secret_id": found["bind_secret_id"],
        "secret_id_seconds": found["secret_id_ttl"],
        "secret_id_uses": found["secret_id_num_uses"],
        "secret_id_networks": found["secret_id_bound_cidrs"] or [],
    }
    return Observation(data, len(listed))


def _others(names: list[str]) -> list[str]:
    return sorted(set(names) - set(ROLES))
