"""Who vouches for a log, as the evidence settings of an environment name them.

The values of the schema `evidence-settings` that it cannot check: keys, certificates, names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from orchestrator.evidence.keys import parse_public_key
from orchestrator.evidence.timestamp import timestamps
from orchestrator.model.errors import InputError


@dataclass(frozen=True)
class NamedWitness:
    """A witness: where it is, and the key that its cosignatures must be of."""

    name: str
    url: str
    public_key: Ed25519PublicKey


@dataclass(frozen=True)
class NamedAuthority:
    """A timestamp authority: where it is, and what its tokens must lead to."""

    url: str
    authority: timestamps.Authority


def witnesses_of(settings: Mapping[str, Any], *, file: str = "") -> tuple[NamedWitness, ...]:
    """Return the witnesses of evidence settings. Raises InputError."""
    found: list[NamedWitness] = []
    entries = settings.get("witnesses", [])
    _check_names(entries, "witnesses", file)
    for index, one in enumerate(entries):
        where = f"$.witnesses[{index}].public_key"
        try:
            key = parse_public_key(one["public_key"].encode())
        except InputError as error:
            raise InputError(error.reason, error.todo, file=file, path=where) from error
        if not isinstance(key, Ed25519PublicKey):
            raise InputError("a witness has an Ed25519 key", file=file, path=where)
        found.append(NamedWitness(one["name"], one["url"], key))
    return tuple(found)


def authorities_of(settings: Mapping[str, Any], *, file: str = "") -> tuple[NamedAuthority, ...]:
    """Return the timestamp authorities of evidence settings. Raises InputError."""
    found: list[NamedAuthority] = []
    entries = settings.get("timestamp_authorities", [])
    _check_names(entries, "timestamp_authorities", file)
    for index, one in enumerate(entries):
        roots, between = one["roots"].encode(), one.get("intermediates", "").encode()
        try:
            authority = timestamps.authority(one["name"], roots, intermediates=between)
        except InputError as error:
            where = f"$.timestamp_authorities[{index}]"
            raise InputError(str(error), file=file, path=where) from error
        found.append(NamedAuthority(one["url"], authority))
    return tuple(found)


def _check_names(entries: Sequence[Mapping[str, Any]], path: str, file: str) -> None:
    """Raises InputError for a name that is there twice: what each gave is kept by its name."""
    for name, count in Counter(one["name"] for one in entries).items():
        if count > 1:
            raise InputError(f"{name} is there {count} times", file=file, path=f"$.{path}")
