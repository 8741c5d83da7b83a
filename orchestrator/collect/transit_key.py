"""Kind `transit_key`: whether the key that signs the evidence can leave the secret manager.

Data: `type`, `exportable`, `plaintext_backup` (a backup of it may be taken), `deletable`,
`versions`, `created_at` (of the newest version).
"""

from __future__ import annotations

from functools import partial

from orchestrator.collect.observe import Collector, Observation, asked
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment

KIND = "transit_key"


def collectors(environment: Environment, secrets: Secrets) -> list[Collector]:
    """One collector: `common/secrets/transit-evidence`."""
    settings = environment.secrets
    path = f"{settings.transit_mount}/keys/{settings.evidence_key}"
    return [
        Collector(
            kind=KIND,
            subject="common/secrets/transit-evidence",
            source=f"common/secrets at {settings.url}, as AppRole orchestrator",
            query=f"GET {path}",
            look=partial(look, secrets, path),
        )
    ]


def look(secrets: Secrets, path: str) -> Observation:
    """Read the key's settings. Raises InfrastructureError."""
    key = asked(
        secrets, f"read the evidence key (read on {path})", lambda client: client.read(path)
    )["data"]
    newest = key["keys"][str(key["latest_version"])]
    data = {
        "type": key["type"],
        "exportable": key["exportable"],
        "plaintext_backup": key["allow_plaintext_backup"],
        "deletable": key["deletion_allowed"],
        "versions": len(key["keys"]),
        "created_at": f"{str(newest['creation_time'])[:19]}Z",
    }
    return Observation(data, len(key["keys"]))
