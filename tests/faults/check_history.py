"""Reads a history of a failover again and says what it proves: `python -m
tests.faults.check_history FILE…` (the standard library alone; it shares no code with what it
judges).

A history is JSON lines, in the order of `t` (monotonic ns), numbered by `seq` from 0:

- `header`: schema, seed, `mode` (synchronous or asynchronous), fault, `sites`, `writers`
- `invoke`, `ack`, `refuse`, `unknown`: what one writer's commit of `key` came to
- `seen` (`site`, `asked`, `writable`), `unseen` (`site`, `asked`): what an observer was told
- `fault`, `promoted`: the moments, by the drill's own journal
- `final`: the `keys` that the primary holds in the end
- `end`: `events` before it, and `reported`: the keys of the writer `drill` that it calls lost

Lost is what was acknowledged and is not there in the end. In doubt is what was neither
acknowledged nor refused: it may be there or not.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCHEMA = "anlan.history/v1"
# A connection may take 2 s before the question goes out.
_BLIND_NS = 3_000_000_000
_KINDS = frozenset(
    {"header", "invoke", "ack", "refuse", "unknown", "seen", "unseen", "fault", "promoted"}
    | {"final", "end"}
)


@dataclass(frozen=True)
class Judgement:
    """What a history comes to: sound if `problems` is empty. Counts are of keys."""

    mode: str
    fault: str
    acknowledged: int
    lost: int
    in_doubt: int
    answers: int
    problems: tuple[str, ...]


def judge(lines: Iterable[str]) -> Judgement:
    """Judge the lines of one history; whatever is wrong with it is a problem, never an error."""
    try:
        events = [json.loads(line) for line in lines]
        return _judge(events)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        return Judgement("", "", 0, 0, 0, 0, (f"no history: {type(error).__name__} {error}",))


def _judge(events: Sequence[Mapping[str, Any]]) -> Judgement:
    header, end = events[0], events[-1]
    problems = _form(events)
    invoked = _times(events, "invoke", problems)
    acked = _times(events, "ack", problems)
    ended = set(acked) | set(_times(events, "refuse", problems))
    finals = [event for event in events if event["kind"] == "final"]
    there = {str(key) for event in finals for key in event["keys"]}
    for what, keys in (
        ("ended but never begun", ended - invoked.keys()),
        ("there but never begun", there - invoked.keys()),
        ("acknowledged before begun", {k for k in acked.keys() & invoked if acked[k] < invoked[k]}),
    ):
        if keys:
            problems.append(f"{len(keys)} keys {what}: {sorted(keys)[:3]}")
    lost = set(acked) - there
    problems += _loss(events, header, end, lost)
    problems += _moments(events, invoked, acked, there, lost)
    problems += _primaries(events, header)
    return Judgement(
        mode=str(header["mode"]),
        fault=str(header["fault"]),
        acknowledged=len(acked),
        lost=len(lost),
        in_doubt=len(invoked.keys() - ended),
        answers=sum(event["kind"] == "seen" for event in events),
        problems=tuple(problems),
    )


def _form(events: Sequence[Mapping[str, Any]]) -> list[str]:
    """A header first, an end last and nothing out of order, unknown or missing between."""
    problems = []
    kinds = [str(event["kind"]) for event in events]
    if kinds[0] != "header" or events[0]["schema"] != SCHEMA or kinds.count("header") != 1:
        problems.append("it does not begin with one header")
    if kinds[-1] != "end" or kinds.count("end") != 1 or kinds.count("final") != 1:
        problems.append("it does not end with what was there in the end")
    elif events[-1]["events"] != len(events) - 1:
        problems.append(f"{events[-1]['events']} events were written, {len(events) - 1} are here")
    if [event["seq"] for event in events] != list(range(len(events))):
        problems.append("events are missing or not in the order in which they were numbered")
    times = [int(event["t"]) for event in events]
    if times != sorted(times):
        problems.append("events are not in the order of time")
    if strange := set(kinds) - _KINDS:
        problems.append(f"unknown events: {sorted(strange)}")
    return problems


def _times(events: Sequence[Mapping[str, Any]], kind: str, problems: list[str]) -> dict[str, int]:
    """When each key had its event of a kind; each has one at most."""
    found: dict[str, int] = {}
    for event in events:
        if event["kind"] == kind:
            if event["key"] in found:
                problems.append(f"key {event['key']} has two events {kind}")
            found[str(event["key"])] = int(event["t"])
    return found


def _loss(
    events: Sequence[Mapping[str, Any]],
    header: Mapping[str, Any],
    end: Mapping[str, Any],
    lost: set[str],
) -> list[str]:
    """Synchronous: nothing is lost. Asynchronous: what the drill reports, key by key."""
    problems = []
    if header["mode"] == "synchronous" and lost:
        problems.append(f"{len(lost)} acknowledged keys are lost: {sorted(lost)[:3]}")
    drill = {str(e["key"]) for e in events if e["kind"] == "invoke" and e["writer"] == "drill"}
    reported = {str(key) for key in end["reported"]}
    if wrong := reported ^ (lost & drill):
        problems.append(
            f"the drill reports {len(reported)} of its keys as lost, {len(lost & drill)} are: "
            f"{sorted(wrong)[:3]}"
        )
    return problems


def _moments(
    events: Sequence[Mapping[str, Any]],
    invoked: Mapping[str, int],
    acked: Mapping[str, int],
    there: set[str],
    lost: set[str],
) -> list[str]:
    """A fault in the midst of writes; and what survives of those before it has no hole."""
    faults = [int(event["t"]) for event in events if event["kind"] == "fault"]
    if len(faults) != 1:
        return [f"it has {len(faults)} faults, one is wanted"]
    promoted = [int(event["t"]) for event in events if event["kind"] == "promoted"]
    after = max([*faults, *promoted])
    problems = []
    if promoted and promoted[0] < faults[0]:
        problems.append("a standby was promoted before the fault")
    if not any(t < faults[0] for t in acked.values()):
        problems.append("nothing was acknowledged before the fault: it proves nothing")
    if not any(t > after and key in there for key, t in acked.items()):
        problems.append("nothing was acknowledged after the recovery: it proves nothing")
    first_lost = min((acked[key] for key in lost), default=None)
    if first_lost is not None:
        late = [k for k, t in acked.items() if k in there and t < faults[0]]
        if holes := [key for key in late if invoked.get(key, 0) > first_lost]:
            problems.append(f"a write survived that began after a lost one's end: {holes[:3]}")
    return problems


def _primaries(events: Sequence[Mapping[str, Any]], header: Mapping[str, Any]) -> list[str]:
    """No two sites writable at once, by observers that never looked away."""
    problems = []
    spans: list[tuple[int, int, str]] = []
    writes = [int(event["t"]) for event in events if event["kind"] == "ack"]
    for site in header["sites"]:
        mine = [e for e in events if e["kind"] in {"seen", "unseen"} and e["site"] == site]
        if not any(event["kind"] == "seen" for event in mine):
            problems.append(f"site {site} was never seen")
            continue
        looks = sorted((int(event["asked"]), int(event["t"])) for event in mine)
        seen_until = min(writes, default=looks[0][0])
        for asked, answered in [*looks, (max(writes, default=0), 0)]:
            if asked - seen_until > _BLIND_NS:
                problems.append(f"site {site} was not watched for {(asked - seen_until) / 1e9:.1f}")
            seen_until = max(seen_until, answered)
        span: tuple[int, int, str] | None = None
        for event in sorted(mine, key=lambda one: int(one["t"])):
            if event["kind"] == "seen" and event["writable"]:
                began = span[0] if span else int(event["asked"])
                span = (began, int(event["t"]), str(site))
            elif span:
                spans.append(span)
                span = None
        if span:
            spans.append(span)
    spans.sort()
    for one, first in enumerate(spans):
        for second in spans[one + 1 :]:
            if second[2] != first[2] and second[0] <= first[1]:
                problems.append(
                    f"two primaries: {first[2]} and {second[2]} for "
                    f"{(min(first[1], second[1]) - second[0]) / 1e9:.3f} s"
                )
    return problems


def main(paths: Sequence[str]) -> int:
    """Print a line for each history; 0 if all are sound, 1 if not, 2 without any."""
    if not paths:
        print("name at least one history file", file=sys.stderr)
        return 2
    found = []
    for path in paths:
        found.append(judge(Path(path).read_text().splitlines()))
        one = found[-1]
        counts = f"{one.acknowledged} acknowledged, {one.lost} lost, {one.in_doubt} in doubt"
        print(f"{path}: {one.mode} {one.fault}: {counts}; {'; '.join(one.problems) or 'sound'}")
    for mode in sorted({one.mode for one in found}):
        those = [one for one in found if one.mode == mode]
        print(
            f"{mode or 'unreadable'}: {len(those)} histories, "
            f"{sum(one.acknowledged for one in those)} acknowledged, "
            f"{sum(one.lost for one in those)} lost, {sum(one.answers for one in those)} answers "
            f"about who is writable, {sum(bool(one.problems) for one in those)} not sound"
        )
    return 1 if any(one.problems for one in found) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
