"""A waiver: a person who may says that a policy need not hold at some subjects, for a while."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from orchestrator.model.fact import timestamp


@dataclass(frozen=True)
class Waiver:
    """A verified waiver; `subjects` are patterns, `digest` that of the signed statement.

    It is in force from `begins` until `ends`, both included. `owner` answers for the risk,
    `approver` signed.
    """

    policy: str
    subjects: tuple[str, ...]
    environment: str
    owner: str
    reason: str
    begins: datetime
    ends: datetime
    approver: str
    digest: str

    def covers(self, policy: str, subject: str, now: datetime) -> bool:
        """Whether the policy is waived at this subject now."""
        return (
            policy == self.policy
            and self.begins <= now <= self.ends
            and any(fnmatchcase(subject, pattern) for pattern in self.subjects)
        )

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form, as schema `waiver` has it, with the digest."""
        return {
            "policy": self.policy,
            "subjects": list(self.subjects),
            "environment": self.environment,
            "owner": self.owner,
            "reason": self.reason,
            "from": timestamp(self.begins),
            "until": timestamp(self.ends),
            "approver": self.approver,
            "digest": self.digest,
        }


@dataclass(frozen=True)
class Waived:
    """A waiver as a finding carries it: at one subject. The subject's status stays what it is."""

    subject: str
    waiver: Waiver

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form (part of schema `finding`)."""
        return {
            "subject": self.subject,
            "owner": self.waiver.owner,
            "reason": self.waiver.reason,
            "until": timestamp(self.waiver.ends),
            "digest": self.waiver.digest,
        }


def waived_at(
    waivers: Iterable[Waiver], policy: str, subject: str, now: datetime
) -> tuple[Waived, ...]:
    """Return the waivers that cover a policy at a subject now, in order of their digests."""
    return tuple(
        Waived(subject, one)
        for one in sorted(waivers, key=lambda one: one.digest)
        if one.covers(policy, subject, now)
    )
