"""Kind `static_credential`: when the password of a rotated login was made, and when it goes.

Data: `username`, `rotated_at`, `period_seconds` (0: it goes by another plan), `left_seconds` until
the next rotation (negative: it is overdue). The password is not among them.
"""

from __future__ import annotations

from functools import partial

from orchestrator.collect.observe import Collector, Observation, asked
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment
from orchestrator.model.fact import parse_timestamp, timestamp

KIND = "static_credential"
ROLES = ("orchestrator",)
"""What the role `credentials` makes."""


def collectors(environment: Environment, secrets: Secrets) -> list[Collector]:
    """One collector for each rotated login: `common/secrets/database-orchestrator`."""
    settings = environment.secrets
    return [
        Collector(
            kind=KIND,
            subject=f"common/secrets/database-{name}",
            source=f"common/secrets at {settings.url}, as AppRole orchestrator",
            query=f"GET {settings.database_mount}/static-creds/{name}, without the password",
            look=partial(look, secrets, f"{settings.database_mount}/static-creds/{name}"),
        )
        for name in ROLES
    ]


def look(secrets: Secrets, path: str) -> Observation:
    """Ask for the login's rotation. Raises InfrastructureError."""
    found = asked(
        secrets, f"read the rotated login (read on {path})", lambda client: client.read(path)
    )["data"]
    # Nanoseconds are more than a Python time holds.
    rotated = parse_timestamp(f"{str(found['last_vault_rotation'])[:19]}Z")
    data = {
        "username": found["username"],
        "rotated_at": timestamp(rotated),
        "period_seconds": found.get("rotation_period", 0),
        "left_seconds": found["ttl"],
    }
    return Observation(data, 1)
