"""Whether two sites accepted writes at the same time, by their answers in a journal. Pure.

A server counts as writable from the moment the first of consecutive "yes" answers was asked for
to the moment the last came. If such spans of two sites overlap, there were two primaries.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.verdict.journal import Journal

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
