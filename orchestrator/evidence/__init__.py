"""Statements, signatures, the append-only log, bundles and their offline verification."""

from orchestrator.evidence.bindings import Problem
from orchestrator.evidence.keys import LocalSigner, Signer, key_id, load_public_key
from orchestrator.evidence.store import EvidenceStore
from orchestrator.evidence.trust.values import Trust
from orchestrator.evidence.verification import Expectation, Rederive, Verification
from orchestrator.evidence.verify import verify

__all__ = [
    "EvidenceStore",
    "Expectation",
    "LocalSigner",
    "Problem",
    "Rederive",
    "Signer",
    "Trust",
    "Verification",
    "key_id",
    "load_public_key",
    "verify",
]
