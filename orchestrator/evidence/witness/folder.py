"""A witness: a folder with its key, the logs that it knows, and what it cosigned last.

| path | content |
| --- | --- |
| `witness.key` | its private key (Ed25519, PEM), 0600 |
| `witness.json` | its name |
| `logs/HASH/origin` | a log that it knows; HASH is the sha256 of the origin |
| `logs/HASH/keys/ID.pub` | a key that may sign that log's checkpoints |
| `logs/HASH/checkpoint` | the last checkpoint that it cosigned, with that cosignature |

A checkpoint is on disk before its cosignature is given out, and both happen while the log is held
alone (flock): neither a kill -9 nor two requests at once make the witness cosign two histories.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from orchestrator.evidence.dsse import SignatureError
from orchestrator.evidence.files import sync_directory, write_atomically
from orchestrator.evidence.keys import (
    LocalSigner,
    PublicKey,
    accepted,
    key_id,
    parse_public_key,
    public_key_pem,
)
from orchestrator.evidence.tlog import note
from orchestrator.evidence.tlog.log import utc_now
from orchestrator.evidence.tlog.note import Checkpoint
from orchestrator.evidence.witness import protocol as witness
from orchestrator.evidence.witness.protocol import Answer, Refusal
from orchestrator.model.canonical import StrictJsonError, canonical, strict_loads
from orchestrator.model.errors import InfrastructureError, InputError, Refused
from orchestrator.model.fact import timestamp

_SCHEMA = "anlan.witness/v1"
_KEY, _ABOUT = "witness.key", "witness.json"
_NAME = re.compile(r"[a-z0-9][a-z0-9./-]{0,100}")


@dataclass(frozen=True)
class Watched:
    """A log that a witness knows: the ids of its keys, and the head that was cosigned last."""

    origin: str
    keys: tuple[str, ...]
    checkpoint: Checkpoint | None
    at: datetime | None
    file: Path

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form; `checkpoint` is the file, None before the first."""
        return {
            "origin": self.origin,
            "keys": list(self.keys),
            "size": self.checkpoint.size if self.checkpoint else None,
            "root": self.checkpoint.root.hex() if self.checkpoint else None,
            "cosigned_at": timestamp(self.at) if self.at else None,
            "checkpoint": str(self.file) if self.checkpoint else None,
        }


def init(folder: Path, name: str) -> WitnessFolder:
    """Make a witness with a key of its own, or return the one of this name that is there.

    Raises InputError for a name that is none, Refused when the folder has a witness of another
    name or holds something else.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{name!r} is no name of a witness",
            "lower case, such as auditor.example/witness-1 (digits, dots, slashes and hyphens too)",
            path="--name",
        )
    if (folder / _ABOUT).exists():
        there = WitnessFolder(folder)
        if there.name != name:
            raise Refused(
                f"{folder} is the witness {there.name}: what it remembers is not {name}'s",
                "take another folder",
            )
        return there
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(not path.name.startswith((".", _KEY)) for path in folder.iterdir()):
            raise Refused(f"{folder} holds something else", "take a folder of its own")
        if not (folder / _KEY).exists():
            _write_key(folder / _KEY)
        write_atomically(folder / _ABOUT, canonical({"schema": _SCHEMA, "name": name}))
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", file=str(folder)) from error
    return WitnessFolder(folder)


class WitnessFolder:
    """The witness in a folder; several processes and threads may ask it at once."""

    def __init__(self, folder: Path, clock: Callable[[], datetime] = utc_now) -> None:
        """Raises InputError when the folder holds no witness, or its key is open to others."""
        self.folder = folder
        self._clock = clock
        try:
            about = strict_loads((folder / _ABOUT).read_bytes())
            self.name = str(about["name"])
        except OSError as error:
            raise InputError(
                f"no witness is here: {error.strerror}",
                f"make one: `anlan witness init {folder} --name NAME`",
                file=str(folder / _ABOUT),
            ) from error
        except (StrictJsonError, KeyError, TypeError) as error:
            raise InputError(
                "the file with the witness's name is damaged",
                "put that file back from a copy, and leave the folder's others as they are",
                file=str(folder / _ABOUT),
            ) from error
        self._signer = LocalSigner.from_file(folder / _KEY, lambda: "")
        key = self._signer.public_key
        if not isinstance(key, Ed25519PublicKey):
            raise InputError("a witness has an Ed25519 key", file=str(folder / _KEY))
        self.public_key = key

    def add_checkpoint(self, request: bytes) -> Answer:
        """Return the cosignature over the checkpoint of a request, or the refusal.

        Raises InfrastructureError when what it remembers cannot be read or written: then nothing
        was given out.
        """
        about = ""
        try:
            growth, claimed = witness.parse(request)
            about = f"{claimed.origin} {claimed.size}"
            place = self._place(claimed.origin)
            if not place.is_dir():
                raise Refusal(witness.NOT_FOUND, "this log is unknown here")
            with self._held(place):
                checkpoint = witness.decide(growth, self._keys(place), self._last(place))
                cosignature = note.cosign(checkpoint, self.name, self._signer, self._clock())
                kept = checkpoint.with_signatures([cosignature])
                # Also when it is the same again: a killed process may have left it not yet on disk.
                write_atomically(place / "checkpoint", kept.to_bytes())
        except Refusal as refusal:
            return refusal.answer(about)
        except OSError as error:
            raise self._broken(str(error)) from error
        return Answer(witness.OK, cosignature.to_text().encode(), about=about)

    def trust(self, origin: str, key: PublicKey) -> bool:
        """Accept a key for a log; whether that is new. Raises InputError for a bad origin."""
        empty = Checkpoint(origin, 0, b"\0" * 32)
        try:
            note.parse(empty.to_bytes())
        except SignatureError as error:
            raise InputError(
                f"{origin!r} is no origin of a log",
                "it is the first line of `anlan evidence log checkpoint`",
                path="ORIGIN",
            ) from error
        place = self._place(origin)
        path = place / "keys" / f"{key_id(key).removeprefix('sha256:')}.pub"
        if path.exists():
            return False
        try:
            write_atomically(place / "origin", origin.encode())
            write_atomically(path, public_key_pem(accepted(key)).encode())
            for folder in (place, place.parent, self.folder):
                sync_directory(folder)
        except OSError as error:
            raise self._broken(str(error)) from error
        return True

    def logs(self) -> list[Watched]:
        """Return the logs that it knows, by origin. Raises InfrastructureError."""
        try:
            places = [path for path in self.folder.glob("logs/*") if (path / "keys").is_dir()]
            found = [self._watched(place) for place in places]
        except OSError as error:
            raise self._broken(str(error)) from error
        return sorted(found, key=lambda one: one.origin)

    def public_key_pem(self) -> str:
        """Return its public key as PEM text."""
        return public_key_pem(self.public_key)

    def _watched(self, place: Path) -> Watched:
        last = self._last(place)
        at = note.witnessed(last, {self.name: self.public_key}).get(self.name) if last else None
        keys = tuple(sorted(key_id(key) for key in self._keys(place)))
        origin = (place / "origin").read_bytes().decode(errors="replace")
        if self._place(origin) != place:
            raise self._broken(f"{place / 'origin'} is not the origin that its folder is of")
        return Watched(origin, keys, last, at, place / "checkpoint")

    def _place(self, origin: str) -> Path:
        return self.folder / "logs" / hashlib.sha256(origin.encode()).hexdigest()

    def _keys(self, place: Path) -> list[PublicKey]:
        files = sorted((place / "keys").glob("[!.]*.pub"))
        return [parse_public_key(path.read_bytes(), file=str(path)) for path in files]

    def _last(self, place: Path) -> Checkpoint | None:
        """What was cosigned last; never taken for nothing when it cannot be read."""
        try:
            return note.parse((place / "checkpoint").read_bytes())
        except FileNotFoundError:
            return None
        except SignatureError as error:
            raise self._broken(f"{place / 'checkpoint'}: {error}") from error

    @contextmanager
    def _held(self, place: Path) -> Iterator[None]:
        """Hold a log alone until the block ends."""
        import fcntl  # noqa: PLC0415  (not on Windows, where no witness runs)

        descriptor = os.open(place / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _broken(self, why: str) -> InfrastructureError:
        return InfrastructureError(
            f"the witness {self.name} cannot use its folder: {why}",
            "nothing was cosigned; repair the folder, and do not restore it from an older copy: a "
            "witness that forgets may be made to cosign another history",
        )


def _write_key(path: Path) -> None:
    """Make a private key; after a crash it is whole or not there. Raises OSError."""
    pem = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(pem)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
    sync_directory(path.parent)
