"""When something was there, by the word of others than its log: witnesses and timestamps. Pure.

A cosignature and a timestamp over a checkpoint say that it existed by their time: bounds from
above. A witness says more: it saw the log's signature, and that the log only grew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from orchestrator.evidence import layout
from orchestrator.evidence.bindings import Problem
from orchestrator.evidence.dsse import SignatureError
from orchestrator.evidence.tlog import note
from orchestrator.evidence.tlog.entries import Entry
from orchestrator.evidence.tlog.note import Checkpoint
from orchestrator.evidence.trust.values import Thresholds, Trust
from orchestrator.model.fact import timestamp

CLOCK_TOLERANCE = timedelta(seconds=5)
"""By how much the clocks of honest parties may differ. A cosignature has whole seconds."""


@dataclass(frozen=True)
class Moment:
    """When something was signed: `logged` by the log's own word, the rest by the word of others.

    `proven` is when it existed at the latest; `witnessed` when its log's signature did. With
    `later` it was signed then or at any time since: a manifest, whose run these times are of.
    """

    logged: datetime | None = None
    proven: datetime | None = None
    witnessed: datetime | None = None
    later: bool = False

    @property
    def time(self) -> datetime | None:
        """The time to judge it by: that of others if there is one."""
        return self.proven or self.logged


@dataclass(frozen=True)
class Vouched:
    """Who vouches for one checkpoint, by name, and when each did (UTC)."""

    witnesses: Mapping[str, datetime] = field(default_factory=dict)
    timestamps: Mapping[str, datetime] = field(default_factory=dict)

    def witnessed(self, thresholds: Thresholds) -> datetime | None:
        """When it was there by as many witnesses as are asked for, at least one."""
        return _nth(self.witnesses.values(), thresholds.witnesses)

    def proven(self, thresholds: Thresholds) -> datetime | None:
        """The earlier of that and the same of the timestamp authorities."""
        stamped = _nth(self.timestamps.values(), thresholds.timestamps)
        return earliest(self.witnessed(thresholds), stamped)


def earliest(*times: datetime | None) -> datetime | None:
    """Return the earliest of the times that there are."""
    return min((one for one in times if one is not None), default=None)


def _nth(times: Iterable[datetime], wanted: int) -> datetime | None:
    """When the last of so many had vouched: no single one is believed where more are asked for."""
    ordered = sorted(times)
    wanted = max(wanted, 1)
    return ordered[wanted - 1] if len(ordered) >= wanted else None


def witnesses_of(
    checkpoint: Checkpoint, trust: Trust, path: str
) -> tuple[dict[str, datetime], list[Problem]]:
    """Return the trusted witnesses that cosigned, each with its time, and what is wrong."""
    try:
        found = note.witnessed(checkpoint, {one.name: one.key for one in trust.witnesses})
    except SignatureError as error:
        return {}, [Problem("log-signature", path, str(error))]
    windows = {one.name: (one.valid_from, one.valid_until) for one in trust.witnesses}
    counting = {name: time for name, time in found.items() if _within(time, *windows[name])}
    if len(counting) >= trust.thresholds.witnesses:
        return counting, []
    late = ", ".join(
        f"{name} at {timestamp(found[name])}" for name in sorted(found.keys() - counting)
    )
    names = ", ".join(sorted(counting)) or "none"
    message = (
        f"cosigned by {len(counting)} trusted witnesses ({names}), "
        f"needed {trust.thresholds.witnesses}"
    ) + (f"; not trusted at the time: {late}" if late else "")
    return counting, [Problem("witness-quorum", path, message)]


def timestamps_of(
    checkpoint: Checkpoint, kind: str, contents: Mapping[str, bytes], trust: Trust
) -> tuple[dict[str, datetime], list[Problem]]:
    """Return the trusted authorities whose tokens in the bundle hold, and what is wrong."""
    if not trust.authorities:
        return {}, []
    # certificates take a while to import, and most evidence has no timestamps
    from orchestrator.evidence.timestamp import timestamps  # noqa: PLC0415

    digest = hashlib.sha256(checkpoint.body).digest()
    found: dict[str, datetime] = {}
    problems: list[Problem] = []
    for one in trust.authorities:
        path = layout.timestamp_path(kind, one.name)
        if path not in contents:
            continue
        try:
            token = timestamps.verify(contents[path], digest, [one])
        except timestamps.TimestampError as error:
            problems.append(Problem(error.code, path, str(error)))
            continue
        found[one.name] = token.time + timedelta(seconds=token.accuracy_seconds or 0)
    if len(found) < trust.thresholds.timestamps:
        names = ", ".join(sorted(found)) or "none"
        message = (
            f"timestamped by {len(found)} trusted authorities ({names}), "
            f"needed {trust.thresholds.timestamps}"
        )
        problems.append(Problem("timestamp-quorum", layout.PROOFS[kind], message))
    return found, problems


def check_order(
    entries: Mapping[str, Entry],
    vouched: Mapping[str, Vouched],
    thresholds: Thresholds,
    started: datetime | None,
) -> list[Problem]:
    """What others say of the time fits what the log says, and the plan was there before the run.

    `started` is when the run says that it started. Who sets the clock back, or dates a plan back,
    is found out by the time that others give its checkpoint.
    """
    problems = []
    for kind, one in vouched.items():
        proven = one.proven(thresholds)
        if proven and kind in entries and entries[kind].time > proven + CLOCK_TOLERANCE:
            message = (
                f"the {kind} was logged at {timestamp(entries[kind].time)}, and its checkpoint was "
                f"there at {timestamp(proven)}"
            )
            problems.append(Problem("impossible-time", layout.PROOFS[kind], message))
    plan = vouched["plan"].proven(thresholds) if "plan" in vouched else None
    if plan and started and plan > started + CLOCK_TOLERANCE:
        message = (
            f"is there since {timestamp(plan)} by the word of others, and the run says that it "
            f"started at {timestamp(started)}"
        )
        problems.append(Problem("plan-after-run", layout.PROOFS["plan"], message))
    return problems


def moments(
    entries: Mapping[str, Entry], vouched: Mapping[str, Vouched], thresholds: Thresholds
) -> dict[str, Moment]:
    """Return when each kind of statement was signed.

    Findings and result are under one checkpoint. It holds the plan too: whoever vouches for it
    vouches for the plan by then.
    """
    nobody = Vouched()
    run, plan = vouched.get("run", nobody), vouched.get("plan", nobody)
    found = {}
    for kind, entry in entries.items():
        own = plan if kind == "plan" else nobody
        found[kind] = Moment(
            entry.time,
            earliest(own.proven(thresholds), run.proven(thresholds)),
            earliest(own.witnessed(thresholds), run.witnessed(thresholds)),
        )
    return found


def _within(time: datetime, begins: datetime | None, ends: datetime | None) -> bool:
    return (begins is None or time >= begins) and (ends is None or time <= ends)
