"""Kind `transit_key`: whether the key that signs the evidence can leave the secret manager.

Data: `type`, `exportable`, `plaintext_backup` (a backup of it may be taken), `deletable`,
`versions`, `created_at` (of the newest version). Where another signs (`evidence.signer` of the
descriptor) this is not known, and said so: of a key in a KMS or a file nothing is observed.
"""

from __future__ import annotations

from functools import partial

from orchestrator.collect.observe import Collector, Observation, asked
from orchestrator.drivers.secrets import Secrets
from orchestrator.drivers.signers import TRANSIT, signer_settings
from orchestrator.model.environment import Environment
from orchestrator.model.errors import InfrastructureError

KIND = "transit_key"


def collectors(environment: Environment, secrets: Secrets) -> list[Collector]:
    """One collector: `common/secrets/transit-evidence`."""
    settings, driver = environment.secrets, signer_settings(environment)["driver"]
    path = f"{settings.transit_mount}/keys/{settings.evidence_key}"
    return [
        Collector(
            kind=KIND,
            subject="common/secrets/transit-evidence",
            source=f"common/secrets at {settings.url}, as AppRole orchestrator",
            query=f"GET {path}",
            look=partial(look, secrets, path) if driver == TRANSIT else partial(_other, driver),
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


def _other(driver: str) -> Observation:
    raise InfrastructureError(
        f"evidence is signed by {driver}, not by Transit: whether that key can leave is not seen",
        "show it by the key's own settings, and waive the policy",
    )
