"""Statements that the log names and the state directory keeps, one file each, by their digest.

Waivers, access reviews, legal holds and tombstones are about an environment, or outlive the
directory of their run: they are kept beside the log.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.evidence import dsse, predicates, statement
from orchestrator.evidence.keys import PublicKey
from orchestrator.evidence.tlog.entries import Entry
from orchestrator.model.canonical import canonical, canonical_loads, sha256
from orchestrator.model.errors import InputError

FOLDER = "evidence/statements"
_SUFFIX = ".dsse.json"


class KeptError(ValueError):
    """A kept statement that is gone, or is not what was logged."""


@dataclass(frozen=True)
class Kept:
    """A statement as it is kept: its predicate, its type, its digest, and the file's content."""

    predicate_type: str
    predicate: dict[str, Any]
    digest: str
    content: bytes


@dataclass(frozen=True)
class ToLog:
    """A statement to be kept in `folder` and logged: `subject` stands where a run has its id.

    `envelope` holds a person's signature; without one the environment's signer signs the payload.
    """

    kind: str
    subject: str
    payload: bytes
    envelope: bytes | None = None
    folder: str = FOLDER


def file_of(digest: str, folder: str = FOLDER) -> str:
    """Where the statement of this digest is, from the state directory on."""
    return f"{folder}/{digest}{_SUFFIX}"


def payload_of(predicate_type: str, subject: tuple[str, str], predicate: dict[str, Any]) -> bytes:
    """Return the canonical statement about one subject (name, sha256).

    Raises InputError when the predicate does not fit its schema.
    """
    data = {
        "_type": statement.STATEMENT_TYPE,
        "subject": [{"name": subject[0], "digest": {"sha256": subject[1]}}],
        "predicateType": predicate_type,
        "predicate": predicate,
    }
    predicates.check_statement(data)
    return canonical(data)


def read(
    state: Path, entry: Entry, keys: Sequence[PublicKey] | None = None, folder: str = FOLDER
) -> Kept:
    """Return the statement of a log entry. With `keys` one of them must have signed it.

    Raises KeptError when it is missing, changed, or signed by nobody of them.
    """
    name = file_of(entry.statement, folder)
    try:
        found = parse((state / name).read_bytes(), keys)
    except FileNotFoundError as error:
        raise KeptError(f"entry {entry.index}: its statement is gone: put {name} back") from error
    except (OSError, ValueError) as error:
        raise KeptError(f"entry {entry.index}: {name}: {error}") from error
    if found.digest != entry.statement:
        raise KeptError(f"entry {entry.index}: {name} is not what was logged")
    return found


def parse(content: bytes, keys: Sequence[PublicKey] | None = None) -> Kept:
    """Return the statement of an envelope. Raises ValueError, of which all of its errors are."""
    envelope = dsse.parse(content)
    if keys is not None:
        try:
            dsse.verify(envelope, statement.PAYLOAD_TYPE, keys)
        except dsse.UntrustedError as error:
            raise KeptError(str(error)) from error
    try:
        data = canonical_loads(envelope.payload)
        predicates.check_statement(data)
    except InputError as error:
        raise KeptError(f"is no statement: {error.what}") from error
    digest = sha256(envelope.payload)
    return Kept(data["predicateType"], data["predicate"], digest, content)


def every(state: Path, folder: str = FOLDER, but: frozenset[str] = frozenset()) -> Iterator[Kept]:
    """Yield what can be read of the kept statements, logged or not, in order of their names.

    Those whose digests are in `but` are left out, unread.
    A writer that died between a statement and its log entry left one that is not logged.
    """
    for path in sorted((state / folder).glob(f"[!.]*{_SUFFIX}")):
        if path.name.removesuffix(_SUFFIX) in but:
            continue
        try:
            yield parse(path.read_bytes())
        except (OSError, ValueError):
            continue
