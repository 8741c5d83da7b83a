"""What an auditor trusts: keys, and what each may sign. It never comes from a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.evidence.keys import PublicKey
from orchestrator.model.errors import InputError


@dataclass(frozen=True)
class Trust:
    """The keys that evidence must be signed with, and how many different ones must have."""

    keys: tuple[PublicKey, ...]
    threshold: int = 1

    @classmethod
    def of(cls, keys: Sequence[PublicKey], threshold: int = 1) -> Trust:
        """Return the trust in these keys for everything. Raises InputError without any."""
        if not keys:
            raise InputError("no trust key given", "pass the environment's evidence.pub")
        if threshold < 1:
            raise InputError(f"a threshold of {threshold} would accept unsigned evidence")
        return cls(tuple(keys), threshold)
