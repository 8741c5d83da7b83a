"""The verbs that drills are made of; importing this package registers them all."""

from orchestrator.steps import (
    backup,
    corruption,
    environment,
    failover,
    locate,
    observe,
    ransomware,
    readiness,
    rescue,
    restore,
)
from orchestrator.steps.registry import VERBS, Verb

__all__ = [
    "VERBS",
    "Verb",
    "backup",
    "corruption",
    "environment",
    "failover",
    "locate",
    "observe",
    "ransomware",
    "readiness",
    "rescue",
    "restore",
]
