"""The evidence store of an environment: with the signer that its descriptor names."""

from __future__ import annotations

from pathlib import Path

from orchestrator.drivers.secrets import Secrets, TransitSigner
from orchestrator.evidence import EvidenceStore


def evidence_store(state: Path, secrets: Secrets) -> EvidenceStore:
    """Return the store that signs for the environment of `secrets`; nothing is asked yet."""
    return EvidenceStore(state, TransitSigner(secrets))
