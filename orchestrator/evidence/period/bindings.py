"""What the parts of a period's bundle must say about one another: pure checks, as `bindings`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from orchestrator.evidence import bindings, layout, predicates, statement
from orchestrator.evidence.bindings import Problem
from orchestrator.evidence.period import layout as period_layout
from orchestrator.evidence.period.layout import Selection
from orchestrator.evidence.tlog import tiles
from orchestrator.evidence.tlog.entries import RUN_KINDS, Entry
from orchestrator.evidence.tlog.note import Checkpoint
from orchestrator.evidence.trust.values import Trust
from orchestrator.evidence.verification import Expectation
from orchestrator.model.canonical import StrictJsonError, canonical_loads, sha256
from orchestrator.model.errors import InputError
from orchestrator.model.fact import parse_timestamp, timestamp

HEAD = f"{period_layout.LOG}{tiles.CHECKPOINT}"


@dataclass(frozen=True)
class Asked:
    """What the auditor asked for besides `Expectation`: exactly this period, of the log that
    `known`, a checkpoint that he kept, is of.
    """

    since: datetime | None = None
    until: datetime | None = None
    known: Checkpoint | None = None


def check_head(
    manifest: Mapping[str, Any], head: Checkpoint, entries: Sequence[Entry]
) -> Iterator[Problem]:
    """The log is the one of the manifest and of its environment, and logs nothing twice."""
    if (head.origin, head.size, head.root.hex()) != tuple(
        manifest[key] for key in ("origin", "log_size", "root")
    ):
        yield Problem("log-mismatch", HEAD, "is not the head that the manifest names")
    if not head.origin.startswith(f"anlan.dev/log/{manifest['environment']}/"):
        yield Problem("other-environment", HEAD, f"is the log {head.origin}")
    times = Counter((e.kind, e.run_id) for e in entries if e.kind in RUN_KINDS)
    for (kind, run_id), count in times.items():
        if count > 1:
            message = f"the {kind} of {run_id} was logged {count} times"
            yield Problem("duplicate-log-entry", HEAD, message)
        if ("plan", run_id) not in times:
            message = f"the {kind} of {run_id} was logged without a plan"
            yield Problem("log-mismatch", HEAD, message)


def check_lists(
    manifest: Mapping[str, Any],
    selection: Selection,
    entries: Sequence[Entry],
    members: Set[str],
) -> Iterator[Problem]:
    """The runs and files are those that the log and the period call for."""
    for key, runs, path_of in (
        ("runs", selection.finished, period_layout.run_path),
        ("unfinished", selection.unfinished, period_layout.plan_path),
        ("removed", selection.removed, period_layout.run_path),
    ):
        stated: list[str] = manifest[key]
        listed = set(stated)
        for run_id, entry in runs.items():
            if run_id not in listed:
                message = (
                    f"belongs to the period (log entry {entry.index}) and is not among its {key}"
                )
                yield Problem("missing-run", path_of(run_id), message)
        for run_id in stated:
            if run_id not in runs:
                message = f"the log does not have it among the {key} of the period"
                yield Problem("unlogged-run", path_of(run_id), message)
        if listed == set(runs) and stated != list(runs):
            message = f"its {key} are not, once each, in the order of their plans"
            yield Problem("malformed", layout.MANIFEST, message)
    wanted = period_layout.paths_of(entries, selection)
    there = members - period_layout.OWN
    for path in sorted(wanted - there):
        code = "missing-run" if path.startswith(period_layout.RUNS) else "missing-file"
        yield Problem(code, path, "the log says that it must be there")
    for path in sorted(there - wanted):
        code = "unlogged-run" if path.startswith(period_layout.RUNS) else "extra-file"
        yield Problem(code, path, "nothing in the log calls for it")


def check_plan(payload: bytes, path: str, entry: Entry, environment: str) -> Iterator[Problem]:
    """The statement is the plan that was logged, of that run and for this environment."""
    if sha256(payload) != entry.statement:
        message = f"another plan was logged (entry {entry.index})"
        yield Problem("log-mismatch", path, message)
    try:
        data = canonical_loads(payload)
        predicates.check_statement(data)
        plan = data["predicate"]["plan"]
        run_id, name = plan["run_id"], plan["environment"]["name"]
        period_layout.drill_of(payload)
    except (StrictJsonError, InputError, KeyError, TypeError) as error:
        yield Problem("malformed", path, f"is no statement of a plan: {error}")
        return
    if data["predicateType"] != statement.PREDICATES["plan"]:
        yield Problem("wrong-predicate", path, "is no statement of a plan")
    if run_id != entry.run_id:
        yield Problem("other-run", path, f"is the plan of {run_id!r}")
    if name != environment:
        yield Problem("other-environment", path, f"is a plan for {name!r}")


def check_asked(
    manifest: Mapping[str, Any],
    expect: Expectation | None,
    asked: Asked,
    trust: Trust,
    seen_at: datetime | None,
) -> Iterator[Problem]:
    """The bundle is of the environment and the period that the auditor asked for, and fresh.

    `seen_at` is when its log was there at the latest: what was in it is as old as that.
    """
    since, until = parse_timestamp(manifest["since"]), parse_timestamp(manifest["until"])
    environment = manifest["environment"]
    for wanted_of in dict.fromkeys((expect.environment if expect else "", trust.environment)):
        if wanted_of and environment != wanted_of:
            message = f"is of {environment!r}, asked for {wanted_of!r}"
            yield Problem("other-environment", layout.MANIFEST, message)
    if trust.max_age_days is not None:
        ended, now = min(until, seen_at or until), (expect and expect.at) or datetime.now(UTC)
        yield from bindings.too_old(ended, trust.max_age_days, now, layout.MANIFEST)
    if expect and expect.not_before and since < expect.not_before:
        message = f"begins at {timestamp(since)}, before {timestamp(expect.not_before)}"
        yield Problem("too-old", layout.MANIFEST, message)
    for word, border, wanted in (("begins", since, asked.since), ("ends", until, asked.until)):
        if wanted is not None and timestamp(border) != timestamp(wanted):
            message = f"{word} at {timestamp(border)}, asked for {timestamp(wanted)}"
            yield Problem("other-period", layout.MANIFEST, message)
