"""Waivers and access reviews in the evidence log, so that none of them can vanish.

What a person signed is kept by its digest beside the log and logged (kinds `waiver`, `review`)
before it is put in force. A waiver counts from then on, until a withdrawal of it, signed by an
approver as well, is logged as a `waiver`, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestrator.evidence import layout, predicates
from orchestrator.evidence.bindings import Problem
from orchestrator.evidence.keys import Signer
from orchestrator.evidence.persons import said, waivers
from orchestrator.evidence.retained import kept
from orchestrator.evidence.tlog.entries import Entry
from orchestrator.model.errors import Refused
from orchestrator.model.fact import timestamp
from orchestrator.model.waiver import Waiver

WAIVER, REVIEW = "waiver", "review"
KINDS = (WAIVER, REVIEW)


def subject_of(kind: str, environment: str) -> str:
    """What the log calls the waivers or reviews of an environment, where a run has its id."""
    return f"{kind}-{environment}"


def withdraw(
    rule: Mapping[str, Any], waiver: Waiver, signer: Signer, *, reason: str, now: datetime
) -> bytes:
    """Return the envelope by which an approver of the rule withdraws a waiver.

    Raises Refused when the key is no approver's, InputError when it is no withdrawal.
    """
    name = said.signer_name(rule, signer)
    if name is None:
        names = ", ".join(one["name"] for one in said.approvers(rule)) or "nobody"
        raise Refused(
            f"this key is of no approver of {waiver.environment}", f"its approvers: {names}"
        )
    about = {
        "runId": subject_of(WAIVER, waiver.environment),
        "environment": waiver.environment,
        "waiver": waiver.digest,
        "approver": name,
        "reason": reason,
        "at": timestamp(now),
    }
    subject = [{"name": "waiver", "digest": {"sha256": waiver.digest}}]
    return said.say(predicates.WAIVER_WITHDRAWAL, subject, about, signer)


def withdrawal_of(content: bytes, rule: Mapping[str, Any]) -> str | None:
    """Return which waiver (sha256) an approver of the rule withdraws; None if none."""
    try:
        found = said.read(content, rule, predicates.WAIVER_WITHDRAWAL)
    except said.NotSaidError:
        return None
    about = found.predicate
    return str(about["waiver"]) if about["approver"] in found.signers else None


def kept_waivers(
    state: Path, rule: Mapping[str, Any], *, withdrawn: bool = False
) -> dict[str, tuple[Waiver, bytes]]:
    """Return digest → waiver and envelope of the kept ones, logged or not.

    Those that an approver withdrew are among them when `withdrawn` asks for them.
    """
    found: dict[str, tuple[Waiver, bytes]] = {}
    gone = set()
    for one in kept.every(state):
        if one.predicate_type == predicates.WAIVER_WITHDRAWAL:
            gone.add(withdrawal_of(one.content, rule))
        elif one.predicate_type == predicates.WAIVER:
            try:
                found[one.digest] = (waivers.read(one.content, rule), one.content)
            except waivers.NotCounted:
                continue
    return {digest: one for digest, one in found.items() if withdrawn or digest not in gone}


def kept_withdrawal(state: Path, digest: str, rule: Mapping[str, Any]) -> bytes | None:
    """Return the envelope that withdraws a waiver, logged or not; None without one."""
    for one in kept.every(state):
        if (
            one.predicate_type == predicates.WAIVER_WITHDRAWAL
            and withdrawal_of(one.content, rule) == digest
        ):
            return one.content
    return None


def standing(state: Path, judged: waivers.Judged, entries: Sequence[Entry]) -> waivers.Judged:
    """Return what counts of judged waivers: those that are logged and were not withdrawn.

    A withdrawal that cannot be read could be any waiver's, so then none counts.
    """
    in_log, withdrawn, lost = _waivers_of(state, entries)
    known = {one.digest for one in judged.waivers.values()}
    unreadable = [why for digest, why in lost.items() if digest not in known]
    problems = list(judged.problems)
    counting = []
    for name, waiver in judged.waivers.items():
        if waiver not in judged.counting:
            continue
        why = _why_not(waiver.digest, in_log, withdrawn, unreadable)
        if why is None:
            counting.append(waiver)
        else:
            problems.append(Problem(why[0], f"{waivers.FOLDER}/{name}", why[1]))
    return replace(judged, counting=tuple(counting), problems=tuple(problems))


def _why_not(
    digest: str, in_log: Mapping[str, int], withdrawn: Mapping[str, int], unreadable: Sequence[str]
) -> tuple[str, str] | None:
    if digest not in in_log:
        return "waiver-unlogged", "the evidence log does not hold it: sign it by `policy waive`"
    if digest in withdrawn:
        return "waiver-withdrawn", f"was withdrawn (entry {withdrawn[digest]} of the log)"
    if unreadable:
        return "waiver-unknown", f"a withdrawal may be lost: {unreadable[0]}"
    return None


def _waivers_of(
    state: Path, entries: Sequence[Entry]
) -> tuple[dict[str, int], dict[str, int], dict[str, str]]:
    """The waivers of a log and its withdrawals (by the waiver's digest), by their first index.

    And by digest why a statement cannot be read.
    """
    in_log: dict[str, int] = {}
    withdrawn: dict[str, int] = {}
    lost: dict[str, str] = {}
    for entry in entries:
        if entry.kind != WAIVER:
            continue
        in_log.setdefault(entry.statement, entry.index)
        try:
            found = kept.read(state, entry)
        except kept.KeptError as error:
            lost[entry.statement] = str(error)
            continue
        if found.predicate_type == predicates.WAIVER_WITHDRAWAL:
            withdrawn.setdefault(str(found.predicate.get("waiver")), entry.index)
    return in_log, withdrawn, lost


def problems_of(state: Path, entries: Sequence[Entry]) -> list[Problem]:
    """Return what is wrong with the logged waivers and reviews: gone, or not what was logged.

    Who signed them is for those to judge who hold the approval rule.
    """
    found = []
    for entry in entries:
        if entry.kind in KINDS:
            try:
                kept.read(state, entry)
            except kept.KeptError as error:
                path = kept.file_of(entry.statement)
                found.append(Problem("bad-statement", path, str(error)))
    return found


def uncounted(state: Path, runs: Sequence[Path], entries: Sequence[Entry]) -> Iterator[Problem]:
    """A waiver that counted in a run was logged before its result, and not withdrawn before it."""
    in_log, withdrawn, _ = _waivers_of(state, entries)
    results = {entry.run_id: entry.index for entry in entries if entry.kind == "run"}
    plans = {entry.run_id: entry.index for entry in entries if entry.kind == "plan"}
    for run in runs:
        if run.name not in results:
            continue
        for file in sorted((run / layout.WAIVERS).glob("[!.]*.json")):
            path = f"runs/{run.name}/{layout.WAIVERS}{file.name}"
            try:
                digest = kept.parse(file.read_bytes()).digest
            except (OSError, ValueError) as error:
                yield Problem("unlogged-waiver", path, f"counted, and is no waiver: {error}")
                continue
            index, end = in_log.get(digest), results[run.name]
            if index is None or index > end:
                message = "counted in this run and was not in the log before its result"
                yield Problem("unlogged-waiver", path, message)
            elif withdrawn.get(digest, end) < plans.get(run.name, end):
                message = f"counted after it was withdrawn (entry {withdrawn[digest]})"
                yield Problem("withdrawn-waiver", path, message)
