"""When a primary counts as failed. Pure: a rule over what questions from the network came to."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.drivers.postgresql import Reach


@dataclass
class Detector:
    """Refused, several times in a row: its machine says that nobody listens, that is certain.

    Silence is not: a frozen process or a cut line may be back in a moment. Nor is a server that
    answers and cannot commit: it may be recovering. Both count only when nothing was committed for
    `grace_seconds`. One answer, and all begins anew.
    """

    misses: int
    grace_seconds: float
    refused: int = 0
    unanswered_since: float | None = None

    def failed(self, seconds: float, reach: Reach) -> bool:
        """Take what a question at a time (monotonic seconds) came to; whether it has failed."""
        if reach is Reach.ANSWERS:
            self.refused, self.unanswered_since = 0, None
            return False
        self.refused = self.refused + 1 if reach is Reach.REFUSED else 0
        if self.unanswered_since is None:
            self.unanswered_since = seconds
        silent = seconds - self.unanswered_since
        return self.refused >= self.misses or silent >= self.grace_seconds


@dataclass
class Absence:
    """When a primary goes on without its standby: not heard from for `grace_seconds`.

    The standby reports every second, so a shorter grace than that would be none. What was before
    the first look does not count: nobody knows it.
    """

    grace_seconds: float
    heard_at: float | None = None

    def lasts(self, seconds: float, heard_ago: float | None) -> bool:
        """Take when (monotonic) the primary last heard from it, None if it is not connected."""
        if self.heard_at is None:
            self.heard_at = seconds
        if heard_ago is not None:
            self.heard_at = max(self.heard_at, seconds - heard_ago)
        return seconds - self.heard_at >= self.grace_seconds
