"""Kind `secret_engine`: how the engines of the secret manager are mounted.

Data: `mounted`, `type`, `version` (of a KV engine, else 0), `default_lease_seconds` and
`longest_lease_seconds` (0: the system's own).
"""

from __future__ import annotations

from functools import partial

from orchestrator.collect.observe import Collector, Observation, asked
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment

KIND = "secret_engine"


def collectors(environment: Environment, secrets: Secrets) -> list[Collector]:
    """One collector for each engine: `common/secrets/kv`, `…/pki`, `…/transit`, `…/database`."""
    settings = environment.secrets
    mounts = {
        "kv": settings.kv_mount,
        "pki": settings.pki_mount,
        "transit": settings.transit_mount,
        "database": settings.database_mount,
    }
    return [
        Collector(
            kind=KIND,
            subject=f"common/secrets/{name}",
            source=f"common/secrets at {settings.url}, as AppRole orchestrator",
            query=f"GET sys/mounts: {mount}",
            look=partial(look, secrets, mount),
        )
        for name, mount in mounts.items()
    ]


def look(secrets: Secrets, mount: str) -> Observation:
    """Read one mount. Raises InfrastructureError."""
    mounts = asked(
        secrets, "list the mounts (read on sys/mounts)", lambda client: client.read("sys/mounts")
    )["data"]
    found = mounts.get(f"{mount}/")
    if found is None:
        return Observation({"mounted": False}, len(mounts))
    data = {
        "mounted": True,
        "type": found["type"],
        "version": int((found["options"] or {}).get("version", 0)),
        "default_lease_seconds": found["config"]["default_lease_ttl"],
        "longest_lease_seconds": found["config"]["max_lease_ttl"],
    }
    return Observation(data, len(mounts))
