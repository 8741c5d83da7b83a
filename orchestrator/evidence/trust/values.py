"""What an auditor trusts: keys and what each may sign, and who else vouches. It never comes from a
bundle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from orchestrator.evidence.keys import PublicKey, key_id
from orchestrator.model.errors import InputError

if TYPE_CHECKING:
    from orchestrator.evidence.timestamp.timestamps import Authority

Role = Literal["orchestrator", "log", "operator", "approver", "verifier"]
COUNTERSIGNERS: tuple[Role, ...] = ("operator", "approver", "verifier")
"""The roles of persons, who may sign a manifest beside its orchestrator."""


@dataclass(frozen=True)
class TrustedKey:
    """A key, what it may sign, and from when until when.

    A key that was revoked counts only for what a witness saw signed before that time.
    """

    name: str
    roles: frozenset[Role]
    key: PublicKey
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    revoked_at: datetime | None = None
    revoked_why: str = ""

    @property
    def id(self) -> str:
        """The key's id."""
        return key_id(self.key)


@dataclass(frozen=True)
class Witness:
    """A witness of the log; its cosignatures count when they are dated within its window."""

    name: str
    key: Ed25519PublicKey
    valid_from: datetime | None = None
    valid_until: datetime | None = None


@dataclass(frozen=True)
class Thresholds:
    """How many different ones must have signed, or vouch; `orchestrator` is at least 1."""

    orchestrator: int = 1
    witnesses: int = 0
    timestamps: int = 0
    operator: int = 0
    approver: int = 0
    verifier: int = 0


@dataclass(frozen=True)
class Trust:
    """Whom evidence is believed.

    `logs` are the origins of the logs that count, none: any. `approvals` is the rule (schema
    `approvals`) that a run with impact on production must have had. `environment`, if it is not
    empty, is the one that the evidence must be about.
    """

    signers: tuple[TrustedKey, ...]
    thresholds: Thresholds = field(default_factory=Thresholds)
    witnesses: tuple[Witness, ...] = ()
    authorities: tuple[Authority, ...] = ()
    logs: frozenset[str] = frozenset()
    environment: str = ""
    max_age_days: float | None = None
    approvals: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, keys: Sequence[PublicKey], threshold: int = 1) -> Trust:
        """Return the trust in these keys as orchestrator and log, for ever.

        Raises InputError without any.
        """
        if not keys:
            raise InputError("no trust key given", "pass the environment's evidence.pub")
        if threshold < 1:
            raise InputError(f"a threshold of {threshold} would accept unsigned evidence")
        roles: frozenset[Role] = frozenset({"orchestrator", "log"})
        every = {key_id(key): TrustedKey(key_id(key), roles, key) for key in keys}
        return cls(tuple(every.values()), Thresholds(threshold))

    def of_role(self, role: Role) -> tuple[TrustedKey, ...]:
        """Return the keys with a role."""
        return tuple(one for one in self.signers if role in one.roles)

    @property
    def keys(self) -> tuple[PublicKey, ...]:
        """The keys of orchestrator and log, whenever they are valid: what a log is read with."""
        return tuple(one.key for one in self.signers if one.roles & {"orchestrator", "log"})
