"""Whose signatures count: by the key's role, and by when it was good. Pure.

A key's own window is held against when the signed thing was there (`trusted_time.Moment`). What a
revoked key signed counts only if witnesses saw the log with it before that: the log's time, and
the text of a checkpoint that somebody had timestamped, can be made by whoever has the key now.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.evidence import dsse
from orchestrator.evidence.bindings import Problem
from orchestrator.evidence.dsse import Envelope, SignatureError, UntrustedError
from orchestrator.evidence.keys import key_id, parse_public_key
from orchestrator.evidence.persons import said
from orchestrator.evidence.tlog import note
from orchestrator.evidence.tlog.note import Checkpoint
from orchestrator.evidence.trust.time import Moment
from orchestrator.evidence.trust.values import COUNTERSIGNERS, Role, Trust, TrustedKey
from orchestrator.model.fact import timestamp


@dataclass(frozen=True)
class Signed:
    """A key whose signature counts, as what, and over which file."""

    key: TrustedKey
    role: Role
    path: str


def against(key: TrustedKey, moment: Moment | None) -> tuple[str, str] | None:
    """Return why a key's signature of that moment does not count: code and words; None if it does.

    Without a moment a key with limits does not count: not observed is never a pass.
    """
    moment = moment or Moment()
    if key.revoked_at is not None:
        seen = moment.witnessed
        if seen is None or seen >= key.revoked_at:
            why = f" ({key.revoked_why})" if key.revoked_why else ""
            known = f"witnesses saw it at {timestamp(seen)}" if seen else "no witness saw it before"
            revoked = f"{key.name} was revoked at {timestamp(key.revoked_at)}{why}"
            return "key-revoked", f"{revoked}; {known}"
    time = moment.time
    if time is None:
        if key.valid_from or key.valid_until:
            return "untrusted-signer", f"{key.name} is valid for a time, and when it signed is open"
        return None
    if key.valid_from and time < key.valid_from and not moment.later:
        begins = timestamp(key.valid_from)
        return "key-not-yet-valid", f"{key.name} is valid from {begins}, signed {timestamp(time)}"
    if key.valid_until and time > key.valid_until:
        ends = timestamp(key.valid_until)
        return "key-expired", f"{key.name} was valid until {ends}, signed {timestamp(time)}"
    return None


def check_envelope(
    envelope: Envelope, payload_type: str, trust: Trust, moment: Moment | None, path: str
) -> tuple[list[Signed], list[Problem]]:
    """Return the orchestrator keys whose signature of an envelope counts, and what is wrong."""
    keys = trust.of_role("orchestrator")
    wanted = trust.thresholds.orchestrator
    try:
        signers = dsse.verify(envelope, payload_type, [one.key for one in keys], wanted)
    except SignatureError as error:
        return [], [Problem("bad-signature", path, str(error))]
    except UntrustedError as error:
        other = _of_another_role(envelope, payload_type, trust, "orchestrator")
        if other is not None:
            return [], [_wrong_role(other, "orchestrator", path)]
        return [], [Problem("untrusted-signer", path, str(error))]
    return _counting(keys, signers, "orchestrator", moment, path=path, wanted=wanted)


def check_checkpoint(
    checkpoint: Checkpoint, trust: Trust, moment: Moment | None, path: str
) -> tuple[list[Signed], list[Problem]]:
    """Return the log keys whose signature of a checkpoint counts, and what is wrong.

    Its log must be one that counts. Raises SignatureError when a signature that names a trusted key
    does not hold.
    """
    problems = []
    if trust.logs and checkpoint.origin not in trust.logs:
        message = f"is proven by the log {checkpoint.origin}, which the trust does not name"
        problems.append(Problem("log-unknown", path, message))
    keys = trust.of_role("log")
    signers = note.signers(checkpoint, [one.key for one in keys])
    if not signers:
        others = note.signers(checkpoint, [one.key for one in trust.signers])
        other = next((one for one in trust.signers if one.id in others), None)
        if other is not None:
            return [], [*problems, _wrong_role(other, "log", path)]
        message = f"the checkpoint of {checkpoint.origin} is signed by no trusted key"
        return [], [*problems, Problem("untrusted-signer", path, message)]
    signed, found = _counting(keys, signers, "log", moment, path=path, wanted=1)
    return signed, problems + found


def check_countersigners(
    envelope: Envelope, payload_type: str, trust: Trust, moment: Moment | None, path: str
) -> tuple[list[Signed], list[Problem]]:
    """Return the persons' keys that signed a manifest too, by role, and which roles are too few.

    When they signed is nowhere proven, but that it was after the run. So a key that was over by
    then does not count, and the word of a revoked key counts for no run.
    """
    when = Moment(moment.logged, moment.proven, later=True) if moment else None
    every: list[Signed] = []
    problems: list[Problem] = []
    for role in COUNTERSIGNERS:
        keys, wanted = trust.of_role(role), getattr(trust.thresholds, role)
        signers: frozenset[str] = frozenset()
        try:
            signers = dsse.verify(envelope, payload_type, [one.key for one in keys])
        except SignatureError as error:
            problems.append(Problem("bad-signature", path, str(error)))
        except UntrustedError:
            pass  # nobody of the role signed: how many had to is asked below
        signed, found = _counting(keys, signers, role, when, path=path, wanted=wanted)
        every += signed
        if len(signed) < wanted and not found:
            message = f"signed by {len(signed)} keys with the role {role}, needed {wanted}"
            found = [Problem("untrusted-signer", path, message)]
        problems += found
    return every, problems


def check_approvers(
    said_by: Mapping[str, str], rule: Mapping[str, Any] | None, trust: Trust, moment: Moment | None
) -> list[Problem]:
    """Who approved or waived has a trusted key with that role, if the trust names any.

    `said_by`: path of a word that counts → the approver's name in the rule.
    """
    trusted = {one.id: one for one in trust.signers}
    if not trust.of_role("approver"):
        return []
    keys = {
        one["name"]: key_id(parse_public_key(one["public_key"].encode()))
        for one in said.approvers(rule)
    }
    problems = []
    for path, name in said_by.items():
        known = trusted.get(keys.get(name, ""))
        if known is None or "approver" not in known.roles:
            message = f"the key {keys.get(name)} of {name} is no trusted approver's"
            problems.append(Problem("wrong-role", path, message))
        elif (reason := against(known, moment)) is not None:
            problems.append(Problem(reason[0], path, reason[1]))
    return problems


def _counting(
    keys: Iterable[TrustedKey],
    signers: frozenset[str],
    role: Role,
    moment: Moment | None,
    *,
    path: str,
    wanted: int,
) -> tuple[list[Signed], list[Problem]]:
    """Of the keys that signed those that were good then; and why the others were not, if wanted."""
    signed, refused = [], []
    for one in keys:
        if one.id not in signers:
            continue
        reason = against(one, moment)
        if reason is None:
            signed.append(Signed(one, role, path))
        else:
            refused.append(Problem(reason[0], path, reason[1]))
    return signed, refused if len(signed) < wanted else []


def _of_another_role(
    envelope: Envelope, payload_type: str, trust: Trust, role: Role
) -> TrustedKey | None:
    """A trusted key without the role that signed the envelope."""
    others = [one for one in trust.signers if role not in one.roles]
    try:
        signers = dsse.verify(envelope, payload_type, [one.key for one in others])
    except (SignatureError, UntrustedError):
        return None
    return next(one for one in others if one.id in signers)


def _wrong_role(key: TrustedKey, role: Role, path: str) -> Problem:
    roles = ", ".join(sorted(key.roles))
    return Problem("wrong-role", path, f"signed by {key.name}, whose role is {roles}, not {role}")
