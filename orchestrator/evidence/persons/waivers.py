"""Waivers: signed exceptions from a policy, by an approver of the environment.

An approver of the environment's rule (schema `approvals`) signs that a policy need not hold at
some subjects until a day at most `waiver_days` after the first. An environment keeps one envelope
a waiver, as waivers/DIGEST.json. One that is expired, foreign or changed does not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestrator.evidence import dsse, predicates
from orchestrator.evidence.bindings import Problem
from orchestrator.evidence.keys import Signer
from orchestrator.evidence.persons import said
from orchestrator.model.canonical import canonical, sha256
from orchestrator.model.errors import InputError, Refused
from orchestrator.model.fact import parse_timestamp, timestamp
from orchestrator.model.schema import check
from orchestrator.model.waiver import Waiver

SCHEMA = "anlan.waiver/v1"
FOLDER = "waivers"
DEFAULT_DAYS = 365
DAMAGED = frozenset({"waiver-malformed", "waiver-signature"})
"""Codes of problems with a file that was changed or is none."""


@dataclass(frozen=True)
class Judged:
    """`waivers` is what is validly signed, by file: in force if `counting` holds it."""

    waivers: Mapping[str, Waiver]
    counting: tuple[Waiver, ...]
    problems: tuple[Problem, ...]

    @property
    def damaged(self) -> bool:
        """Whether a file was changed, or is no waiver at all."""
        return any(one.code in DAMAGED for one in self.problems)


def longest_days(rule: Mapping[str, Any]) -> int:
    """For how many days the rule lets a waiver be in force."""
    return int(rule.get("waiver_days", DEFAULT_DAYS))


def make(
    rule: Mapping[str, Any], wanted: Mapping[str, Any], signer: Signer, now: datetime
) -> tuple[Waiver, bytes]:
    """Return the waiver and its envelope, signed by an approver of the rule.

    `wanted` is a waiver (schema `waiver`) without `schema` and `approver`. Raises Refused when the
    key is no approver's or the time is longer than the rule allows, InputError when it is over or
    the waiver is none.
    """
    name = said.signer_name(rule, signer)
    if name is None:
        names = ", ".join(one["name"] for one in said.approvers(rule))
        raise Refused(
            f"this key is of no approver of {wanted['environment']}",
            f"its approvers: {names}" if names else "name approvers: `anlan up -c approvals=FILE`",
        )
    record = {"schema": SCHEMA, **wanted, "approver": name}
    check(record, "waiver")
    begins, ends = parse_timestamp(record["from"]), parse_timestamp(record["until"])
    if ends <= now or ends < begins:
        raise InputError(
            f"it would be over at {timestamp(ends)}", "name a later day", path="--until"
        )
    if late := _too_long(rule, begins, ends):
        raise Refused(late, "waive for a shorter time, and again after a review")
    subject = [{"name": "waiver", "digest": {"sha256": sha256(canonical(record))}}]
    about = {"runId": f"waiver-{record['environment']}", "waiver": record}
    envelope = said.say(predicates.WAIVER, subject, about, signer)
    return _waiver(record, sha256(dsse.parse(envelope).payload)), envelope


def read_folder(root: Path) -> dict[str, bytes]:
    """Return file name → envelope of what an environment at `root` keeps. Raises OSError."""
    return {path.name: path.read_bytes() for path in sorted((root / FOLDER).glob("[!.]*.json"))}


def same(one: Waiver, other: Waiver) -> bool:
    """Whether two waivers say the same, whenever they begin."""

    def said(waiver: Waiver) -> tuple[Any, ...]:
        return (
            waiver.policy,
            frozenset(waiver.subjects),
            waiver.environment,
            waiver.owner,
            waiver.reason,
            waiver.ends,
            waiver.approver,
        )

    return said(one) == said(other)


def judge(
    files: Mapping[str, bytes],
    rule: Mapping[str, Any] | None,
    environment: str,
    now: datetime,
    *,
    folder: str = f"{FOLDER}/",
) -> Judged:
    """Return which waivers count for an environment now; `files` maps a name to an envelope.

    One that is not yet in force does not count and is no problem. `folder` is where they are, for
    the problems.
    """
    found: dict[str, Waiver] = {}
    counting: list[Waiver] = []
    problems: list[Problem] = []
    for name, content in sorted(files.items()):
        path = f"{folder}{name}"
        try:
            waiver = read(content, rule or {})
            _check_for(waiver, rule or {}, environment)
        except NotCounted as error:
            problems.append(Problem(error.code, path, str(error)))
            continue
        found[name] = waiver
        if waiver.ends < now:
            told = f"expired {timestamp(waiver.ends)}: policy {waiver.policy}, {waiver.owner}"
            problems.append(Problem("waiver-expired", path, told))
        elif waiver.begins <= now:
            counting.append(waiver)
    return Judged(found, tuple(counting), tuple(problems))


class NotCounted(ValueError):
    """An envelope that is no waiver that counts; `code` names how."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def read(content: bytes, rule: Mapping[str, Any]) -> Waiver:
    """Return the waiver of an envelope that an approver of the rule signed. Raises NotCounted."""
    try:
        found = said.read(content, rule, predicates.WAIVER)
    except said.NotSaidError as error:
        raise NotCounted(f"waiver-{error.how}", str(error)) from error
    try:
        waiver = _waiver(found.predicate["waiver"], sha256(found.payload))
    except ValueError as error:  # a time that there is not
        raise NotCounted("waiver-malformed", f"is no waiver: {error}") from error
    if waiver.approver not in found.signers:
        raise NotCounted("waiver-foreign", f"is not signed by {waiver.approver}")
    return waiver


def _check_for(waiver: Waiver, rule: Mapping[str, Any], environment: str) -> None:
    if waiver.environment != environment:
        raise NotCounted("waiver-other-environment", f"is of environment {waiver.environment!r}")
    if late := _too_long(rule, waiver.begins, waiver.ends):
        raise NotCounted("waiver-too-long", late)


def _too_long(rule: Mapping[str, Any], begins: datetime, ends: datetime) -> str:
    """Why the time (in days of UTC) is longer than the rule allows; empty when it is not."""
    days = longest_days(rule)
    if (ends.date() - begins.date()).days <= days:
        return ""
    return f"from {timestamp(begins)} until {timestamp(ends)} is longer than {days} days"


def _waiver(record: Mapping[str, Any], digest: str) -> Waiver:
    return Waiver(
        policy=record["policy"],
        subjects=tuple(record["subjects"]),
        environment=record["environment"],
        owner=record["owner"],
        reason=record["reason"],
        begins=parse_timestamp(record["from"]),
        ends=parse_timestamp(record["until"]),
        approver=record["approver"],
        digest=digest,
    )
