"""RPO: the ledger's journal against the keys that the recovered database holds. Pure.

A key that was acknowledged and is not there is lost. A key that was sent and neither acknowledged
nor refused is in doubt: it may be there or not, and is not counted as lost.

RPO in transactions is the number of lost keys. RPO in seconds is the age of the oldest lost
acknowledged write at the moment of the fault; 0 when none is lost.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from orchestrator.model.errors import InfrastructureError
from orchestrator.verdict.journal import Journal


@dataclass(frozen=True)
class Reconciliation:
    """Journal against table. Counts are of keys; `lost` lists every lost key."""

    acknowledged: int
    recovered: int
    lost: tuple[str, ...]
    in_doubt_committed: tuple[str, ...]
    in_doubt_absent: tuple[str, ...]
    rpo_transactions: int
    rpo_seconds: float


def reconcile(
    journal: Journal,
    recovered: Collection[str],
    fault_ns: int | None,
    *,
    until_ns: int | None = None,
) -> Reconciliation:
    """Compare a journal with the keys that were found in the recovered database. Pure.

    `fault_ns` is the monotonic time of the fault; without one the last entry's time is taken.
    With `until_ns` (a point-in-time target) a write counts as acknowledged only up to then, and
    one that was sent later counts not at all. Raises InfrastructureError for a journal without
    an acknowledged write.
    """
    sent: dict[str, int] = {}
    acknowledged: dict[str, int] = {}
    refused = set()
    for entry in journal.entries:
        if entry["kind"] == "sent" and (until_ns is None or entry["t"] <= until_ns):
            sent[entry["key"]] = entry["t"]
        elif entry["kind"] == "acknowledged" and (until_ns is None or entry["t"] <= until_ns):
            acknowledged[entry["key"]] = entry["t"]
        elif entry["kind"] == "refused":
            refused.add(entry["key"])
    if not acknowledged:
        raise InfrastructureError(
            "the ledger has no acknowledged write: it proves nothing about loss",
            "see in its journal and log why no write succeeded",
        )
    there = set(recovered)
    lost = sorted(acknowledged.keys() - there, key=acknowledged.__getitem__)
    doubtful = sorted(sent.keys() - acknowledged.keys() - refused, key=sent.__getitem__)
    fault = fault_ns if fault_ns is not None else int(journal.entries[-1]["t"])
    return Reconciliation(
        acknowledged=len(acknowledged),
        recovered=len(acknowledged) - len(lost),
        lost=tuple(lost),
        in_doubt_committed=tuple(key for key in doubtful if key in there),
        in_doubt_absent=tuple(key for key in doubtful if key not in there),
        rpo_transactions=len(lost),
        rpo_seconds=max(0.0, (fault - acknowledged[lost[0]]) / 1e9) if lost else 0.0,
    )


def sent_after(journal: Journal, t_ns: int) -> frozenset[str]:
    """The keys whose write was begun after `t_ns`."""
    return frozenset(
        str(entry["key"])
        for entry in journal.entries
        if entry["kind"] == "sent" and entry["t"] > t_ns
    )


def first_acknowledged_after(journal: Journal, t_ns: int) -> int | None:
    """When the first write that was sent after `t_ns` was acknowledged; None if none was."""
    sent = sent_after(journal, t_ns)
    times = [
        int(entry["t"])
        for entry in journal.entries
        if entry["kind"] == "acknowledged" and entry["key"] in sent
    ]
    return min(times, default=None)


def rate_per_second(journal: Journal, from_ns: int, to_ns: int) -> float:
    """Acknowledged writes per second between two monotonic times."""
    count = sum(
        entry["kind"] == "acknowledged" and from_ns <= entry["t"] < to_ns
        for entry in journal.entries
    )
    return count / ((to_ns - from_ns) / 1e9) if to_ns > from_ns else 0.0
