"""Exposure: what was acknowledged while one site alone had it. Pure.

A primary whose standby is out of reach first promises nothing (commits wait), then, by rule, goes
on alone. From then until the standby has everything and commits wait for it again, the loss of the
primary would lose what was acknowledged meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.verdict.journal import Journal


@dataclass(frozen=True)
class Exposure:
    """Its seconds, and how much was acknowledged in it: the ledger's keys and the ERP's writes."""

    seconds: float
    transactions: int
    erp_writes: int


def exposure(
    from_ns: int, until_ns: int, written: Journal | None, clients: Journal | None
) -> Exposure:
    """Count what the journals acknowledged between two monotonic times."""

    def count(journal: Journal | None, kind: str) -> int:
        entries = journal.entries if journal else []
        return sum(one["kind"] == kind and from_ns <= one["t"] <= until_ns for one in entries)

    return Exposure(
        (until_ns - from_ns) / 1e9, count(written, "acknowledged"), count(clients, "ok")
    )


def acknowledged_between(written: Journal, sent_after_ns: int, until_ns: int) -> int:
    """How many keys that were sent after one time were acknowledged before the other."""
    sent = {
        one["key"] for one in written.entries if one["kind"] == "sent" and one["t"] > sent_after_ns
    }
    return sum(
        one["kind"] == "acknowledged" and one["key"] in sent and one["t"] < until_ns
        for one in written.entries
    )
