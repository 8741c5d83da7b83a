"""The evidence of an environment, put back into a state directory from the copies at its sites.

What is there is never lost: a longer or different log refuses, a run's directory that exists is
left alone. It may be killed and called again: each file is written whole, and the log's checkpoint
after its tiles, so that no run can begin a second log meanwhile.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from orchestrator.evidence import bundle, dsse, layout, statement
from orchestrator.evidence.files import sync_directory, write_atomically
from orchestrator.evidence.keys import PublicKey, key_id, parse_public_key, public_key_pem
from orchestrator.evidence.persons import attestations
from orchestrator.evidence.retained import tombstones
from orchestrator.evidence.sites import mirror
from orchestrator.evidence.sites.copies import Copies
from orchestrator.evidence.sites.recover import Recovered
from orchestrator.evidence.tlog import log, merkle, note, tiles
from orchestrator.evidence.tlog.entries import Entry, LogError
from orchestrator.model.canonical import sha256, strict_loads
from orchestrator.model.errors import AnlanError, Refused


@dataclass
class Restoration:
    """What is put back: `written` are paths in the state directory, `missing` what no site has.

    With `dry_run` nothing is written, and `written` is what would be.
    """

    state: Path
    environment: str
    recovered: Recovered
    copies: Copies
    keys: Sequence[PublicKey]
    dry_run: bool = False
    report: Callable[[str], None] = lambda path: None
    written: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    signers: set[str] = field(default_factory=set)
    """Ids of the keys that signed what was put back."""

    def put_back(self) -> None:
        """Put back log, statements, bundles, runs and keys. Raises Refused, OSError."""
        self._log()
        beside = self._keys_beside()
        every = [*self.keys, *map(parse_public_key, beside.values())]
        for entry in self.recovered.entries:
            if entry.kind in mirror.STATEMENTS:
                self._statement(entry, every)
        for run_id, entries in _by_run(self.recovered.entries).items():
            self._run(run_id, entries, every)
        for name, pem in beside.items():
            if name in self.signers:  # who signed nothing of this is nobody
                self._write(f"{layout.KEYS}/{name.removeprefix('sha256:')}.pub", pem)

    def _log(self) -> None:
        journal = log.log_of(self.state, self.environment)
        if self.dry_run:
            self._require_shorter(journal)
            self._write_log()
            return
        with journal.held():
            self._require_shorter(journal)
            self._write_log()
        with journal.locked():  # reads it, and removes what is left of a shorter one
            pass

    def _write_log(self) -> None:
        folder = f"{log.FOLDER}/{self.environment}"
        for path, content in self.recovered.files.items():
            self._write(f"{folder}/{path}", content)
        head = self.state / folder / tiles.CHECKPOINT
        try:
            same = note.verify(head.read_bytes(), self.keys).body == self.recovered.checkpoint.body
        except (OSError, dsse.SignatureError, dsse.UntrustedError):
            same = False
        if not same:  # else the one here stays: it may have signatures of witnesses
            self._write(f"{folder}/{tiles.CHECKPOINT}", self.recovered.head)

    def _require_shorter(self, journal: log.Log) -> None:
        """What is here must be a part of what is put back. Raises Refused."""
        away = f"move {journal.folder} away to keep it, or restore into another state directory"
        content = journal.read(tiles.CHECKPOINT)
        if content is None:
            if any(journal.folder.glob("tile/**/*")) and not self._is_ours(journal.folder):
                raise Refused(f"{journal.folder} has tiles and no checkpoint", f"{away} (--into)")
            return
        try:
            here = note.parse(content)
            subtree = tiles.subtrees(self.recovered.checkpoint.size, self.recovered.files.get)
            root_at = partial(merkle.root, subtree=subtree)
            log.check_continues(here, self.recovered.checkpoint, root_at)
        except (dsse.SignatureError, LogError) as error:
            raise Refused(
                f"{journal.folder} is not a part of what would be put back: that one {error}",
                f"{away} (--into)",
            ) from error

    def _is_ours(self, folder: Path) -> bool:
        """Whether tiles without a checkpoint are those of a restoration that was killed."""
        tops = (path for path in (folder / "tile").rglob("*") if path.is_file())
        return all(
            path.name.startswith(".")
            or self.recovered.files.get(path.relative_to(folder).as_posix()) == path.read_bytes()
            for path in tops
        )

    def _keys_beside(self) -> dict[str, bytes]:
        """Id → PEM, of the keys beside the log whose name is theirs."""
        found = {}
        prefix = f"{mirror.prefix_of(self.recovered.checkpoint.origin)}{mirror.KEYS}/"
        for key in self.copies.there:
            if key.startswith(prefix):
                name = f"sha256:{key.removeprefix(prefix).removesuffix('.pub')}"
                pem = self.copies.first(key, partial(_named_key, name))
                if pem is not None:
                    found[name] = pem
        self.signers |= {key_id(key) for key in self.keys}
        return found

    def _statement(self, entry: Entry, every: Sequence[PublicKey]) -> None:
        folder = mirror.STATEMENTS[entry.kind]
        path = f"{folder}/{entry.statement}.dsse.json"
        check = partial(_signed_statement, entry.statement)
        if entry.kind in attestations.KINDS:  # a person signed it: the log says that it is theirs
            check = partial(_said_statement, entry.statement)
        here = self.state / path
        if here.is_file():
            try:
                check(every, here.read_bytes())
            except ValueError:
                pass  # damaged: what the log names is put in its place
            else:
                return
        prefix = mirror.prefix_of(self.recovered.checkpoint.origin)
        key = f"{prefix}{Path(folder).name}/{entry.statement}.dsse.json"
        found = self.copies.first(key, partial(check, self.keys), partial(check, every))
        if found is None:
            self.missing.append(path)
            return
        content, signers = found
        self.signers |= signers
        self._write(path, content)

    def _run(self, run_id: str, entries: Mapping[str, str], every: Sequence[PublicKey]) -> None:
        """Put back the bundle of a run and its directory; what exists is left as it is."""
        if tombstones.KIND in entries:
            return  # its retention was over
        directory, packed = f"runs/{run_id}", f"{layout.BUNDLES}/{run_id}.zip"
        has_directory, has_bundle = (self.state / path for path in (directory, packed))
        if has_directory.is_dir() and (has_bundle.is_file() or "run" not in entries):
            return
        check = partial(_bundle_of, run_id, self.environment, entries)
        found = None
        if has_bundle.is_file():
            try:
                found = check(every, has_bundle.read_bytes())
            except ValueError:
                found = None
        if found is None and "run" in entries:
            key = f"{run_id}.zip"
            found = self.copies.first(key, partial(check, self.keys), partial(check, every))
        if found is None:
            self.missing.append(packed if has_directory.is_dir() else directory)
            return
        content, files, signers = found
        self.signers |= signers
        if not has_bundle.is_file():
            self._write(packed, content)
        if not has_directory.is_dir():
            self._directory(directory, layout.run_directory_of(files))

    def _directory(self, directory: str, files: Mapping[str, bytes]) -> None:
        final = self.state / directory
        self.written.append(directory)
        if not self.dry_run:
            fresh = final.with_name(f".restoring-{final.name}")
            shutil.rmtree(fresh, ignore_errors=True)
            for name, content in files.items():
                write_atomically(fresh / name, content)
            fresh.rename(final)
            sync_directory(final.parent)
        self.report(directory)

    def _write(self, path: str, content: bytes) -> None:
        target = self.state / path
        if target.is_file() and target.read_bytes() == content:
            return
        self.written.append(path)
        if not self.dry_run:
            write_atomically(target, content)
        self.report(path)


def _by_run(entries: Sequence[Entry]) -> dict[str, dict[str, str]]:
    """Run id → kind → statement, of the entries about runs."""
    found: dict[str, dict[str, str]] = {}
    for entry in entries:
        if entry.kind in statement.FILES or entry.kind == tombstones.KIND:
            found.setdefault(entry.run_id, {})[entry.kind] = entry.statement
    return found


def _named_key(name: str, pem: bytes) -> bytes:
    try:
        key = parse_public_key(pem)
        if key_id(key) != name or public_key_pem(key).encode() != pem:
            raise ValueError("is not the key that its name says")
    except AnlanError as error:
        raise ValueError(error.what) from error
    return pem


def _signed_statement(
    digest: str, keys: Sequence[PublicKey], content: bytes
) -> tuple[bytes, frozenset[str]]:
    envelope = dsse.parse(content)
    if sha256(envelope.payload) != digest:
        raise ValueError("is not the statement that was logged")
    return content, dsse.verify(envelope, statement.PAYLOAD_TYPE, keys)


def _said_statement(
    digest: str, _: Sequence[PublicKey], content: bytes
) -> tuple[bytes, frozenset[str]]:
    if sha256(dsse.parse(content).payload) != digest:
        raise ValueError("is not the statement that was logged")
    return content, frozenset()


def _bundle_of(
    run_id: str,
    environment: str,
    entries: Mapping[str, str],
    keys: Sequence[PublicKey],
    content: bytes,
) -> tuple[bytes, dict[str, bytes], frozenset[str]]:
    """A bundle, its files, and who signed it, when it is of this run and holds what was logged."""
    files = bundle.unpack(content)
    names = (layout.MANIFEST, layout.MANIFEST_ENVELOPE)
    listed, envelope = (files.pop(name, b"") for name in names)
    signed = dsse.parse(envelope)
    signers = dsse.verify(signed, bundle.MANIFEST_TYPE, keys)
    try:
        if not signed.payload == listed == bundle.manifest(files):
            raise ValueError("its files are not those of its manifest")
        plan = statement.need(files, layout.PLAN)
    except AnlanError as error:
        raise ValueError(error.what) from error
    if (plan["run_id"], plan["environment"]["name"]) != (run_id, environment):
        raise ValueError("is about another run")
    for kind, path in statement.FILES.items():
        said = dsse.parse(files[path]) if path in files else None
        if (sha256(said.payload) if said else None) != entries.get(kind):
            raise ValueError(f"its {kind} is not the one that was logged")
        if said:
            signers |= dsse.verify(said, statement.PAYLOAD_TYPE, keys)
            if strict_loads(said.payload)["subject"] != statement.subjects(kind, files):
                raise ValueError(f"its {kind} is about other files")
    return content, files, signers
