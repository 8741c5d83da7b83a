"""Availability as the ERP's clients saw it: the first write after a fault, the outages. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.verdict.journal import Journal


@dataclass(frozen=True)
class Outage:
    """A time without acknowledged writes, between two of them: monotonic ns, and its seconds.

    `until_ns` is None for an outage that had not ended when the journal did.
    """

    from_ns: int
    until_ns: int | None
    seconds: float
    failures: int


def first_ok_after(journal: Journal, t_ns: int) -> int | None:
    """When the first write that was begun after `t_ns` was acknowledged; None if none was."""
    times = [
        int(entry["t"])
        for entry in journal.entries
        if entry["kind"] == "ok" and entry["began"] > t_ns
    ]
    return min(times, default=None)


def first_failure_after(journal: Journal, t_ns: int) -> int | None:
    """When the first failure at or after `t_ns` was seen (detection by a client)."""
    times = [int(e["t"]) for e in journal.entries if e["kind"] == "error" and e["t"] >= t_ns]
    return min(times, default=None)


def outages(journal: Journal, *, longer_than_seconds: float = 1.0) -> tuple[Outage, ...]:
    """The times without an acknowledged write that were longer than that, or saw a failure."""
    found = []
    last: int | None = None
    failures = 0
    for entry in sorted(journal.entries, key=lambda entry: int(entry["t"])):
        now = int(entry["t"])
        if entry["kind"] == "error":
            failures += 1
        elif entry["kind"] == "ok":
            if last is not None and (failures or (now - last) / 1e9 > longer_than_seconds):
                found.append(Outage(last, now, (now - last) / 1e9, failures))
            last, failures = now, 0
    if last is not None and failures:
        end = int(journal.entries[-1]["t"])
        found.append(Outage(last, None, (end - last) / 1e9, failures))
    return tuple(found)
