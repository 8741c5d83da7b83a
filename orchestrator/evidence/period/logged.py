"""What the bundle of one run says of the log, held against the whole log."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from orchestrator.evidence import bundle, dsse, layout, statement
from orchestrator.evidence.bindings import Problem
from orchestrator.evidence.tlog import log, note, proofs
from orchestrator.evidence.tlog.entries import Entry, LogError
from orchestrator.evidence.tlog.note import Checkpoint
from orchestrator.model.canonical import StrictJsonError, sha256, strict_loads

STEPS = "raw/steps.jsonl"
_MEMBERS = {STEPS, layout.MANIFEST, *statement.FILES.values(), *layout.PROOFS.values()}


@dataclass(frozen=True)
class Said:
    """What a bundle says, unverified: what `verify` says of it is said apart.

    `statements`: kind → sha256 of the statement. `heads`: path of a proof → the checkpoint of the
    log that it was made under. `is_missed`: whether it records that the run never began.
    """

    run_id: str
    environment: str
    statements: Mapping[str, str]
    heads: Mapping[str, Checkpoint]
    is_missed: bool


def said_by(content: bytes, limits: bundle.Limits) -> Said:
    """Return what the bundle of a run says of the log.

    Raises PackageError, or another ValueError, when it is none.
    """
    files = bundle.unpack(content, limits, _MEMBERS)
    manifest = strict_loads(files.get(layout.MANIFEST, b""))
    if not isinstance(manifest, dict):
        raise StrictJsonError("the manifest is no object")
    return Said(
        str(manifest.get("run_id")),
        str(manifest.get("environment")),
        {
            kind: sha256(dsse.parse(files[path]).payload)
            for kind, path in statement.FILES.items()
            if path in files
        },
        {
            path: note.parse(proofs.parse_proof(files[path]).checkpoint)
            for path in layout.PROOFS.values()
            if path in files
        },
        any(_is_missed(line) for line in files.get(STEPS, b"").split(b"\n")),
    )


def check_said(
    said: Said,
    logged: Mapping[str, Entry],
    checkpoint: Checkpoint,
    root_at: Callable[[int], bytes],
) -> Iterator[Problem]:
    """The log has the run's statements and no others, and continues what its proofs saw.

    `logged` is the run's entries by kind.
    """
    for kind, path in statement.FILES.items():
        entry, digest = logged.get(kind), said.statements.get(kind)
        if entry is None and digest is not None:
            yield Problem("log-mismatch", path, f"the log does not hold this {kind}")
        elif entry is not None and digest is None:
            message = f"was logged (entry {entry.index}) and is not there"
            yield Problem("missing-statement", path, message)
        elif entry is not None and entry.statement != digest:
            message = f"another {kind} was logged (entry {entry.index})"
            yield Problem("log-mismatch", path, message)
    for path, seen in said.heads.items():
        try:
            log.check_continues(seen, checkpoint, root_at)
        except LogError as error:
            yield Problem(error.code, path, f"the log that it saw, and this one: {error}")


def _is_missed(line: bytes) -> bool:
    if b'"missed"' not in line:
        return False
    try:
        entry = strict_loads(line)
    except StrictJsonError:
        return False
    return isinstance(entry, dict) and entry.get("kind") == "missed"
