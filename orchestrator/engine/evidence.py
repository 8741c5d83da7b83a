"""The evidence store of an environment: with the signer and the vouchers of its descriptor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from orchestrator.drivers.secrets import Secrets
from orchestrator.drivers.signers import signer_of
from orchestrator.drivers.timestamp_authority import TimestampAuthority
from orchestrator.drivers.witness import witness_at
from orchestrator.engine.mirror import mirror_all
from orchestrator.evidence import EvidenceStore
from orchestrator.evidence.witness.vouchers import authorities_of, witnesses_of
from orchestrator.evidence.witness.vouching import SECONDS, Vouchers
from orchestrator.model.environment import Environment


def evidence_store(
    state: Path,
    environment: Environment,
    secrets: Secrets,
    warn: Callable[[str], None] = lambda _: None,
) -> EvidenceStore:
    """Return the store that signs for an environment; nothing is asked yet.

    `warn` is told of each witness and timestamp authority that does not vouch when it is asked,
    and of each site that does not get the log when a statement of no run was logged.
    """

    def spread() -> None:
        for one in mirror_all(state, environment, secrets, patient=False):
            if one.problem:
                later = f"later: `anlan evidence log mirror {environment.name}`"
                warn(f"site {one.site} did not get the log: {one.problem}; {later}")

    vouchers = vouchers_of(environment)
    signer = signer_of(environment, secrets)
    return EvidenceStore(state, signer, vouchers=vouchers, warn=warn, spread=spread)


def vouchers_of(environment: Environment) -> Vouchers:
    """Return who vouches for the log of an environment. Raises InputError."""
    witnesses = witnesses_of(environment.evidence)
    authorities = authorities_of(environment.evidence)
    return Vouchers(
        tuple(witness_at(one, timeout_seconds=SECONDS) for one in witnesses),
        tuple(
            TimestampAuthority(one.url, one.authority, timeout_seconds=SECONDS)
            for one in authorities
        ),
    )
