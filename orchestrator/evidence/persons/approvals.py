"""Approvals: signed statements of persons about one plan, and how many of them count. Pure.

A person says `approve` or `reject` over the digest of the plan's canonical form, with a key of
their own; the rule (schema `approvals`) with the public keys is in the plan itself. A run
keeps one envelope a person, as raw/approvals/NAME.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from orchestrator.evidence import layout, predicates
from orchestrator.evidence.bindings import Problem
from orchestrator.evidence.keys import PublicKey, Signer, key_id, parse_public_key
from orchestrator.evidence.persons import said
from orchestrator.model import change_window
from orchestrator.model.canonical import canonical, digest
from orchestrator.model.errors import InputError, Refused
from orchestrator.model.fact import timestamp
from orchestrator.model.schema import check
from orchestrator.model.yaml_text import load_yaml

Word = Literal["approve", "reject"]


@dataclass(frozen=True)
class Decisions:
    """What was said about a plan, by name.

    `approved` count; `initiator` said yes as well and do not, being who planned; `rejected` maps
    a name to its reason. `problems` are what cannot be taken for anybody's word.
    """

    approved: tuple[str, ...]
    initiator: tuple[str, ...]
    rejected: Mapping[str, str]
    problems: tuple[Problem, ...]

    def lack(self, plan: Mapping[str, Any]) -> str:
        """Return why the plan is not approved, in words; empty when it is."""
        rule = plan["approvals"]
        if self.problems:
            return "; ".join(f"{one.path}: {one.message}" for one in self.problems)
        if self.rejected:
            words = [f"{name}: {reason}" for name, reason in self.rejected.items()]
            return f"rejected by {'; '.join(words)}"
        if len(self.approved) >= rule["required"]:
            return ""
        said = ", ".join(self.approved)
        mine = ", ".join(self.initiator)
        return (
            f"not approved: {len(self.approved)} of {rule['required']}"
            + (f" ({said})" if said else "")
            + (f"; {mine} planned it and does not count" if mine else "")
            + f"; missing: one of {', '.join(sorted(self.open(plan)))}"
        )

    def open(self, plan: Mapping[str, Any]) -> set[str]:
        """The names whose approval would count and is not there."""
        names = {one["name"] for one in plan["approvals"]["approvers"] if not _planned(plan, one)}
        return names - set(self.approved) - set(self.rejected)


_RULE = "give the YAML file that begins with `schema: anlan.approvals/v1`"


def load_rule(path: Path) -> dict[str, Any]:
    """Return the rule of a YAML file. Raises InputError."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"cannot read the approval rule: {error.strerror}",
            "check the path and your rights",
            file=str(path),
        ) from error
    except UnicodeDecodeError as error:
        raise InputError("no approval rule: it is not text", _RULE, file=str(path)) from error
    data = load_yaml(text, file=str(path))
    if not isinstance(data, dict):  # its text is not shown: it may be somebody's private key
        raise InputError("no approval rule: it has no fields", _RULE, file=str(path))
    return check_rule(data, file=str(path))


def check_rule(rule: Any, *, file: str = "", path: str = "$") -> dict[str, Any]:
    """Return the rule if it is one that can be followed. Raises InputError."""
    check(rule, "approvals", file=file)
    approvers = rule["approvers"]
    keys = []
    for number, one in enumerate(approvers):
        where = f"{path}.approvers[{number}]"
        try:
            keys.append(key_id(parse_public_key(one["public_key"].encode())))
        except InputError as error:
            todo = "the public key of `openssl pkey -in KEY -pubout`, an Ed25519 or P-256 one"
            raise InputError(error.reason, todo, file=file, path=f"{where}.public_key") from error
    for title, values in (
        ("name", [one["name"] for one in approvers]),
        ("user", [_user(one) for one in approvers]),
        ("public_key", keys),
    ):
        if twice := sorted({one for one in values if values.count(one) > 1}):
            raise InputError(
                f"two approvers have the {title} {twice[0]!r}",
                "each is a person with a key of their own",
                file=file,
                path=f"{path}.approvers",
            )
    if rule["required"] > len(approvers):
        raise InputError(
            f"{rule['required']} approvals are required of {len(approvers)} approvers",
            "name more approvers, or require fewer",
            file=file,
            path=f"{path}.required",
        )
    for number, window in enumerate(rule.get("change_windows", [])):
        if wrong := change_window.problem(window):
            where = f"{path}.change_windows[{number}]"
            raise InputError(wrong, "correct it", file=file, path=where)
    kept: dict[str, Any] = rule
    return kept


def approver_of(plan: Mapping[str, Any], key: PublicKey) -> str:
    """Return the name of the approver whose key it is. Raises Refused."""
    if name := said.approver_of(plan.get("approvals"), key_id(key)):
        return name
    names = [one["name"] for one in said.approvers(plan.get("approvals"))]
    raise Refused(
        f"the key {key_id(key)} is of no approver of run {plan['run_id']}",
        f"its approvers: {', '.join(names)}" if names else "it needs no approval: begin it",
    )


def decide(
    plan: Mapping[str, Any], word: Word, signer: Signer, reason: str, now: datetime
) -> tuple[str, bytes]:
    """Return the name of the approver whose key signs, and the envelope with their word.

    Raises Refused when the key is no approver's.
    """
    name = approver_of(plan, parse_public_key(signer.public_key_pem().encode()))
    about = {
        "runId": plan["run_id"],
        "approver": name,
        "decision": word,
        "reason": reason,
        "at": timestamp(now),
    }
    return name, said.say(predicates.APPROVAL, _subject(plan), about, signer)


def _subject(plan: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"name": layout.PLAN, "digest": {"sha256": digest(plan)}}]


def decisions_of(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return name → parsed envelope, of a run's raw data (as `verify.raw_of` returns it)."""
    prefix = layout.APPROVALS.removeprefix(layout.RAW)
    return {
        stem.removeprefix(prefix): content
        for stem, content in raw.items()
        if stem.startswith(prefix)
    }


def judge(plan: Mapping[str, Any], envelopes: Mapping[str, Any]) -> Decisions:
    """Return whose word counts for a plan with a rule; `envelopes` maps a name to one, parsed.

    Raises InputError when the rule in the plan is none.
    """
    rule = check_rule(plan["approvals"], path="$.approvals")
    approvers = {one["name"]: one for one in rule["approvers"]}
    approved, initiator, rejected, problems = [], [], {}, []
    for name, envelope in sorted(envelopes.items()):
        path = f"{layout.APPROVALS}{name}.json"
        if name not in approvers:
            message = f"{name!r} is no approver of the plan's rule"
            problems.append(Problem("approval-unlisted", path, message))
            continue
        try:
            said = _word(plan, approvers[name], envelope)
        except _NotTheirs as error:
            problems.append(Problem(error.code, path, str(error)))
            continue
        if said["decision"] == "reject":
            rejected[name] = str(said["reason"])
        elif _planned(plan, approvers[name]):
            initiator.append(name)
        else:
            approved.append(name)
    return Decisions(tuple(approved), tuple(initiator), rejected, tuple(problems))


def check_approvals(
    plan: Mapping[str, Any], raw: Mapping[str, Any], expected: Mapping[str, Any] | None
) -> list[Problem]:
    """Every word is of who it says, about this plan; the rule is no weaker than the `expected`."""
    said = decisions_of(raw)
    if "approvals" not in plan:
        problems = [
            Problem("approval-unlisted", f"{layout.APPROVALS}{name}.json", "the plan has no rule")
            for name in said
        ]
    else:
        problems = list(judge(plan, said).problems)
    if expected is not None and plan["impact"] == "production":
        problems += _weaker(plan.get("approvals"), expected)
    return problems


def _weaker(rule: Mapping[str, Any] | None, expected: Mapping[str, Any]) -> list[Problem]:
    """In what a plan's rule asks for less than the one that the auditor holds."""

    def said(message: str) -> Problem:
        return Problem("approval-rule", layout.PLAN, message)

    if rule is None:
        return [said("has no approval rule")]
    problems = []
    if rule["required"] < expected["required"]:
        problems.append(said(f"wants {rule['required']} approvals, not {expected['required']}"))
    wanted = {one["name"]: _identity(one) for one in expected["approvers"]}
    problems += [
        said(f"lets {one['name']} approve, with a key that is not expected of anybody so named")
        for one in rule["approvers"]
        if wanted.get(one["name"]) != _identity(one)
    ]
    allowed = expected.get("change_windows", [])
    windows = rule.get("change_windows", [])
    if allowed and (not windows or any(one not in allowed for one in windows)):
        problems.append(said("may begin outside of the expected change windows"))
    return problems


def _identity(approver: Mapping[str, Any]) -> tuple[str, str]:
    return _user(approver), key_id(parse_public_key(approver["public_key"].encode()))


class _NotTheirs(ValueError):
    """An envelope that is not the approver's word about the plan; `code` names how."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def _word(plan: Mapping[str, Any], approver: Mapping[str, Any], envelope: Any) -> Mapping[str, Any]:
    """What an approver says in an envelope about this plan. Raises _NotTheirs."""
    try:
        found = said.read(canonical(envelope), {"approvers": [approver]}, predicates.APPROVAL)
    except said.NotSaidError as error:
        raise _NotTheirs(f"approval-{error.how}", str(error)) from error
    except ValueError as error:  # a number that has no canonical form
        raise _NotTheirs("approval-malformed", str(error)) from error
    about = found.predicate
    if found.subject != _subject(plan) or about["runId"] != plan["run_id"]:
        message = f"is about another plan, of run {about['runId']!r}"
        raise _NotTheirs("approval-other-plan", message)
    if about["approver"] != approver["name"]:
        raise _NotTheirs("approval-malformed", f"is no word of {approver['name']} on a plan")
    return about


def _user(approver: Mapping[str, Any]) -> str:
    return str(approver.get("user", approver["name"]))


def _planned(plan: Mapping[str, Any], approver: Mapping[str, Any]) -> bool:
    """Whether an approver planned the run, or its schedule: by name, or by their account."""
    initiators = {plan["operator"], plan.get("scheduled", {}).get("applied_by")}
    return not initiators.isdisjoint({approver["name"], _user(approver)})
