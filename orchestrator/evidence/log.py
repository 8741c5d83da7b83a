"""The append-only evidence log: one signed line a statement, each chained to the one before.

A line is canonical JSON `{"entry": {…}, "keyid", "sig"}`. `entry.previous` is the sha256 of the
whole previous line, so that a line can be neither removed, moved, renumbered nor changed without
breaking the chain; the signature is a DSSE one over the entry. Appending is safe under kill -9: a
line counts once its newline is on disk; a torn last line is cut off by the next writer.
"""

from __future__ import annotations

import base64
import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestrator.evidence import dsse
from orchestrator.evidence.keys import PublicKey, Signer
from orchestrator.model.canonical import canonical, canonical_loads, sha256
from orchestrator.model.errors import InfrastructureError, InputError
from orchestrator.model.fact import parse_timestamp, timestamp
from orchestrator.model.schema import check

ENTRY_TYPE = "application/vnd.anlan.log-entry+json"
GENESIS = "0" * 64
SCHEMA = "anlan.log/v1"


def utc_now() -> datetime:
    """The time now, aware, UTC."""
    return datetime.now(UTC)


class LogError(ValueError):
    """A log that was changed; `code` names how, `line` is the position in what was read."""

    def __init__(self, code: str, line: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.line = line


@dataclass(frozen=True)
class Entry:
    """One line; `digest` is the sha256 of the line, `statement` that of the signed statement."""

    index: int
    previous: str
    statement: str
    kind: str
    run_id: str
    time: datetime
    digest: str
    line: bytes


def _entry(line: bytes, data: dict[str, Any]) -> Entry:
    entry = data["entry"]
    return Entry(
        entry["index"],
        entry["previous"],
        entry["statement"],
        entry["kind"],
        entry["run_id"],
        parse_timestamp(entry["time"]),
        sha256(line),
        line,
    )


def _parse_line(line: bytes, number: int) -> tuple[Entry, dsse.Envelope]:
    try:
        data = canonical_loads(line)
        check(data, "log-entry")
        envelope = dsse.Envelope(
            canonical(data["entry"]),
            ENTRY_TYPE,
            (dsse.Signature(data["keyid"], dsse.decode(data["sig"])),),
        )
    except (InputError, ValueError) as error:
        raise LogError("log-line", number, f"line {number}: {error}") from error
    return _entry(line, data), envelope


def parse(content: bytes) -> list[Entry]:
    """Return the entries of whole lines, unverified. Raises LogError for a malformed line."""
    return [_parse_line(line, n)[0] for n, line in enumerate(content.split(b"\n")[:-1], 1)]


def verify(
    content: bytes,
    keys: Sequence[PublicKey],
    *,
    whole: bool = False,
    run_id: str | None = None,
) -> list[Entry]:
    """Return the entries of a log, or of a contiguous part of one, after checking all of it.

    A `whole` log must begin with entry 0. Checks signatures, the chain, numbering and that time
    never goes back. With `run_id` lines of other runs may be signed by other keys (several
    environments share a log) if a trusted line follows: through the chain it vouches for them.
    Raises LogError, or dsse.UntrustedError when a line is signed by no trusted key.
    """
    entries: list[Entry] = []
    foreign: dsse.UntrustedError | None = None
    if content and not content.endswith(b"\n"):
        raise LogError("log-torn", content.count(b"\n") + 1, "the last line is torn")
    for number, line in enumerate(content.split(b"\n")[:-1], 1):
        entry, envelope = _parse_line(line, number)
        try:
            dsse.verify(envelope, ENTRY_TYPE, keys)
            foreign = None
        except dsse.UntrustedError as error:
            foreign = dsse.UntrustedError(f"line {number} (run {entry.run_id}): {error}")
            if run_id in {None, entry.run_id}:
                raise foreign from error
        except dsse.SignatureError as error:
            raise LogError("log-signature", number, f"line {number}: {error}") from error
        last = entries[-1] if entries else None
        if last is None and whole and entry.index != 0:
            raise LogError("log-index", number, f"begins with {entry.index}: its head was cut off")
        if last is None and entry.index == 0 and entry.previous != GENESIS:
            raise LogError("log-chain", number, "the first entry has a predecessor")
        if last and entry.index != last.index + 1:
            raise LogError(
                "log-index",
                number,
                f"line {number}: index {entry.index} follows {last.index}: "
                "an entry was removed, inserted, moved or renumbered",
            )
        if last and entry.previous != last.digest:
            raise LogError(
                "log-chain", number, f"line {number}: does not continue the line before it"
            )
        if last and entry.time < last.time:
            raise LogError("log-time", number, f"line {number}: is dated before the line above")
        entries.append(entry)
    if foreign is not None:
        raise foreign
    return entries


class Log:
    """The log file of one state directory; several processes may append."""

    def __init__(self, path: Path, clock: Callable[[], datetime] = utc_now) -> None:
        self.path = path
        self._clock = clock

    @contextmanager
    def locked(self) -> Iterator[LockedLog]:
        """Hold the log alone (flock), a torn last line cut off, until the block ends."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield LockedLog(descriptor, self.path, self._clock)
        finally:
            os.close(descriptor)


class LockedLog:
    """The log while this process alone may append."""

    def __init__(self, descriptor: int, path: Path, clock: Callable[[], datetime]) -> None:
        self._descriptor = descriptor
        self._clock = clock
        with os.fdopen(os.dup(descriptor), "rb") as stream:
            stream.seek(0)
            content = stream.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.ftruncate(descriptor, whole)
            os.fsync(descriptor)
        try:
            self.entries = parse(content[:whole])
        except LogError as error:
            raise InfrastructureError(
                f"the evidence log {path} is damaged: {error}",
                "keep the file as it is; restore it from the evidence bucket, or move it away "
                "and begin a new log (its bundles stay verifiable)",
            ) from error
        if whole == 0:
            sync_directory(path.parent)

    def find(self, kind: str, run_id: str) -> Entry | None:
        """Return the entry of this kind for this run, if it was logged."""
        return next((e for e in self.entries if (e.kind, e.run_id) == (kind, run_id)), None)

    def append(self, kind: str, run_id: str, statement: str, signer: Signer) -> Entry:
        """Sign and append an entry; on return it is on disk. `statement` is a sha256."""
        last = self.entries[-1] if self.entries else None
        now = self._clock()
        entry = {
            "schema": SCHEMA,
            "index": last.index + 1 if last else 0,
            "previous": last.digest if last else GENESIS,
            "statement": statement,
            "kind": kind,
            "run_id": run_id,
            "time": timestamp(max(now, last.time) if last else now),
        }
        signature = dsse.sign(canonical(entry), ENTRY_TYPE, signer).signatures[0]
        line = canonical(
            {
                "entry": entry,
                "keyid": signature.keyid,
                "sig": base64.b64encode(signature.value).decode(),
            }
        )
        written = _parse_line(line, len(self.entries) + 1)[0]
        os.lseek(self._descriptor, 0, os.SEEK_END)
        pending = memoryview(line + b"\n")
        while pending:
            pending = pending[os.write(self._descriptor, pending) :]
        os.fsync(self._descriptor)
        self.entries.append(written)
        return written


def sync_directory(path: Path) -> None:
    """Put the names that a directory holds on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
