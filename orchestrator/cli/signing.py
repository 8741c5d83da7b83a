"""The evidence store of an environment, for commands that sign."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.cli import common

if TYPE_CHECKING:
    from orchestrator.evidence import EvidenceStore
    from orchestrator.evidence.tlog.entries import Entry


def signing_store(environment: str) -> EvidenceStore:
    """Return the store that signs for an environment; nothing is asked yet. Raises InputError."""
    from orchestrator.drivers.secrets import Secrets  # noqa: PLC0415
    from orchestrator.engine.evidence import evidence_store  # noqa: PLC0415

    found = common.find_environment(environment)
    return evidence_store(common.state_directory(), found, Secrets(found), common.warn)


def entries_of(environment: str) -> list[Entry]:
    """Return the entries of an environment's log. Raises InfrastructureError when damaged."""
    from orchestrator.evidence.tlog.log import log_of  # noqa: PLC0415

    return log_of(common.state_directory(), environment).entries()
