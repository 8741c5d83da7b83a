"""The dual-primary probe: both servers are asked again and again whether they accept writes.

A server counts as writable from the moment the first of consecutive "yes" answers was asked for
to the moment the last came. If such spans of two sites overlap, there were two primaries.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from orchestrator.drivers.credentials import Credentials
from orchestrator.drivers.postgresql_connection import Connection, connection_parameters, value
from orchestrator.model.environment import Environment
from orchestrator.probes.background import Probe, Stopper, run_threads
from orchestrator.probes.journal import Journal, JournalWriter

_QUERY = "SELECT NOT pg_is_in_recovery()"
# A connection may take 2 s (connect_timeout) before the next question goes out.
BLIND_SECONDS = 5.0


@dataclass(frozen=True)
class Span:
    """From when to when (monotonic ns) a site answered that it is writable."""

    site: str
    from_ns: int
    until_ns: int


@dataclass(frozen=True)
class PrimariesVerdict:
    """`answers` per site tell how much was seen: a site that never answered proves nothing.

    `longest_gap_seconds` is the longest time in which no site was seen as writable.
    """

    dual: tuple[tuple[Span, Span], ...]
    spans: tuple[Span, ...]
    answers: dict[str, int]
    longest_gap_seconds: float


def primaries(directory: Path) -> Probe:
    """The dual-primary probe with this directory."""
    return Probe("orchestrator.probes.primaries", directory)


def start(
    directory: Path,
    environment: Environment,
    credentials: Credentials,
    run_id: str,
    *,
    interval_seconds: float = 0.05,
    max_seconds: float = 3600.0,
) -> Probe:
    """Start asking every site's server by TLS. Raises InfrastructureError."""
    probe = primaries(directory)
    sites = [
        {
            "site": name,
            "connection": connection_parameters(
                environment, [site], credentials, read_write=False, timeout_seconds=2
            ),
        }
        for name, site in environment.sites.items()
    ]
    probe.start(
        {
            "run": run_id,
            "threads": len(sites),
            "max_seconds": max_seconds,
            "sites": sites,
            "interval_seconds": interval_seconds,
            "public": {"sites": sorted(environment.sites), "interval_seconds": interval_seconds},
        }
    )
    return probe


def judge(journal: Journal) -> PrimariesVerdict:
    """Whether two sites were writable at the same time."""
    sites = list(journal.header["settings"]["sites"])
    answers = dict.fromkeys(sites, 0)
    spans: list[Span] = []
    for site in sites:
        open_span: Span | None = None
        for entry in journal.entries:
            if entry.get("site") != site:
                continue
            answers[site] += entry["kind"] == "answer"
            if entry["kind"] == "answer" and entry["writable"]:
                began = open_span.from_ns if open_span else int(entry["asked"])
                open_span = Span(site, began, int(entry["t"]))
            elif open_span:
                spans.append(open_span)
                open_span = None
        if open_span:
            spans.append(open_span)
    spans.sort(key=lambda span: span.from_ns)
    dual = [
        (first, second)
        for index, first in enumerate(spans)
        for second in spans[index + 1 :]
        if first.site != second.site and second.from_ns <= first.until_ns
    ]
    gap, seen_until = 0, spans[0].until_ns if spans else 0
    for span in spans[1:]:
        gap = max(gap, span.from_ns - seen_until)
        seen_until = max(seen_until, span.until_ns)
    return PrimariesVerdict(tuple(dual), tuple(spans), answers, max(0, gap) / 1e9)


def blind_seconds(journal: Journal, from_ns: int, until_ns: int) -> float:
    """The longest time between two moments in which one of the sites was not being asked.

    A question that is not answered yet counts as asking: a frozen server is watched.
    """
    longest = 0
    for site in journal.header["settings"]["sites"]:
        asked_until = from_ns
        asks = [(int(e["asked"]), int(e["t"])) for e in journal.entries if e.get("site") == site]
        for asked, answered in sorted(asks):
            longest = max(longest, min(asked, until_ns) - asked_until)
            asked_until = max(asked_until, answered)
        longest = max(longest, until_ns - asked_until)
    return max(0, longest) / 1e9


def ask(settings: dict[str, Any], journal: JournalWriter, stopper: Stopper, number: int) -> None:
    """Ask one site whether it is writable, for ever."""
    site = settings["sites"][number]
    interval = float(settings["interval_seconds"])
    connection: Connection | None = None
    while not stopper.is_set():
        began = time.monotonic_ns()
        try:
            if connection is None:
                connection = psycopg.connect(**site["connection"], autocommit=True)
            # The clock starts when the question goes out: a connection may take long.
            began = time.monotonic_ns()
            writable = bool(value(connection, _QUERY))
            journal.write("answer", site=site["site"], asked=began, writable=writable)
        except psycopg.Error as error:
            if connection is not None:
                connection.close()
                connection = None
            text = str(error).splitlines()[0] if str(error) else type(error).__name__
            journal.write("no_answer", site=site["site"], asked=began, error=text[:200])
        stopper.wait(interval - (time.monotonic_ns() - began) / 1e9)


if __name__ == "__main__":
    run_threads("primaries", ask)
