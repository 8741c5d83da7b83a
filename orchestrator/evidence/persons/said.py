"""What a person signed: one in-toto statement in a DSSE envelope, by an approver of a rule. Pure.

Approvals, waivers and access reviews are such words; who may say them is in the approval rule of
the environment (schema `approvals`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from orchestrator.evidence import dsse, predicates, redaction, statement
from orchestrator.evidence.keys import Signer, key_id, parse_public_key
from orchestrator.model.canonical import canonical, canonical_loads
from orchestrator.model.errors import InputError

How = Literal["malformed", "signature", "foreign"]


class NotSaidError(ValueError):
    """An envelope that is nobody's word; `how` says why."""

    def __init__(self, how: How, message: str) -> None:
        super().__init__(message)
        self.how = how


@dataclass(frozen=True)
class Said:
    """A verified statement: its subject and predicate, whose keys signed it, and its payload."""

    subject: Sequence[Mapping[str, Any]]
    predicate: Mapping[str, Any]
    signers: frozenset[str]
    payload: bytes


def approvers(rule: Mapping[str, Any] | None) -> Sequence[Mapping[str, Any]]:
    """Return the approvers of a rule; none without a rule."""
    return () if rule is None else tuple(rule.get("approvers", ()))


def approver_of(rule: Mapping[str, Any] | None, key: str) -> str | None:
    """Return the name of the rule's approver whose key has this id, if there is one."""
    for one in approvers(rule):
        if key_id(parse_public_key(one["public_key"].encode())) == key:
            return str(one["name"])
    return None


def signer_name(rule: Mapping[str, Any] | None, signer: Signer) -> str | None:
    """Return the name of the approver whose key signs, if it is one's."""
    return approver_of(rule, key_id(parse_public_key(signer.public_key_pem().encode())))


def say(
    predicate_type: str,
    subject: Sequence[Mapping[str, Any]],
    predicate: Mapping[str, Any],
    signer: Signer,
) -> bytes:
    """Return the envelope over a statement.

    Raises InputError when it does not fit its schema, or has a secret.
    """
    data = {
        "_type": statement.STATEMENT_TYPE,
        "subject": list(subject),
        "predicateType": predicate_type,
        "predicate": dict(predicate),
    }
    predicates.check_statement(data)
    redaction.require_none({"what would be signed": canonical(data)})
    return dsse.sign(canonical(data), statement.PAYLOAD_TYPE, signer).to_bytes()


def read(content: bytes, rule: Mapping[str, Any] | None, predicate_type: str) -> Said:
    """Return what an approver of the rule said in an envelope. Raises NotSaidError."""
    try:
        envelope = dsse.parse(content)
    except dsse.SignatureError as error:
        raise NotSaidError("malformed", str(error)) from error
    keys = [parse_public_key(one["public_key"].encode()) for one in approvers(rule)]
    try:
        signed = dsse.verify(envelope, statement.PAYLOAD_TYPE, keys)
    except dsse.UntrustedError as error:
        raise NotSaidError("foreign", f"is signed by no approver: {error}") from error
    except dsse.SignatureError as error:
        raise NotSaidError("signature", str(error)) from error
    try:
        data = canonical_loads(envelope.payload)
        predicates.check_statement(data)
    except (InputError, ValueError) as error:
        raise NotSaidError("malformed", f"is no statement: {error}") from error
    if data["predicateType"] != predicate_type:
        raise NotSaidError("malformed", f"is a statement of {data['predicateType']}")
    names = frozenset(name for key in signed if (name := approver_of(rule, key)))
    return Said(data["subject"], data["predicate"], names, envelope.payload)
