"""The verbs that drills are made of; importing this package registers them all."""

from orchestrator.steps import (
    backup,
    certificates,
    corruption,
    environment,
    failover,
    locate,
    observe,
    partition,
    ransomware,
    readiness,
    rescue,
    restore,
    secrets,
    upgrade,
)
from orchestrator.steps.registry import VERBS, Verb

__all__ = [
    "VERBS",
    "Verb",
    "backup",
    "certificates",
    "corruption",
    "environment",
    "failover",
    "locate",
    "observe",
    "partition",
    "ransomware",
    "readiness",
    "rescue",
    "restore",
    "secrets",
    "upgrade",
]
