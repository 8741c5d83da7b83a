"""The evidence store of an environment: with the signer that its descriptor names."""

from __future__ import annotations

from pathlib import Path

from orchestrator.drivers.secrets import Secrets
from orchestrator.drivers.signers import signer_of
from orchestrator.evidence import EvidenceStore
from orchestrator.model.environment import Environment


def evidence_store(state: Path, environment: Environment, secrets: Secrets) -> EvidenceStore:
    """Return the store that signs for an environment; nothing is asked yet."""
    return EvidenceStore(state, signer_of(environment, secrets))
