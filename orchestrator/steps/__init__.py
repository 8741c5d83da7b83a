"""The verbs that drills are made of; importing this package registers them all."""

from orchestrator.steps import (
    backup,
    certificates,
    clone,
    corruption,
    environment,
    failover,
    locate,
    observe,
    partition,
    ransomware,
    readiness,
    recovered,
    rescue,
    restore,
    secrets,
    site,
    upgrade,
)
from orchestrator.steps.registry import VERBS, Verb

__all__ = [
    "VERBS",
    "Verb",
    "backup",
    "certificates",
    "clone",
    "corruption",
    "environment",
    "failover",
    "locate",
    "observe",
    "partition",
    "ransomware",
    "readiness",
    "recovered",
    "rescue",
    "restore",
    "secrets",
    "site",
    "upgrade",
]
