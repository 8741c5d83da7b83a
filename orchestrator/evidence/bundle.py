"""The evidence bundle: a deterministic zip with a signed manifest, and a wary reader for it."""

from __future__ import annotations

import io
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from orchestrator.evidence import dsse, layout, redaction, statement
from orchestrator.evidence.keys import Signer
from orchestrator.model.canonical import canonical, sha256
from orchestrator.model.errors import InputError
from orchestrator.model.schema import check

MANIFEST_TYPE = "application/vnd.anlan.bundle-manifest+json"
_EPOCH = (1980, 1, 1, 0, 0, 0)
# Sizes of the fixed parts of a zip's records (APPNOTE 4.3.7, 4.3.12, 4.3.16).
_LOCAL_HEADER_BYTES, _CENTRAL_HEADER_BYTES, _END_BYTES = 30, 46, 22
_MOST_DIRECTORY_BYTES = 1_000
"""Of a member's entry in the directory, its name included."""
_NAME_IS_UTF8 = 0x800
_END = b"PK\5\6"
_PACKINGS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_DAMAGES = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
)


@dataclass(frozen=True)
class Limits:
    """What a bundle may hold and cost at most; sizes are uncompressed, but that of the archive."""

    archive_bytes: int = 512 * 2**20
    files: int = 2_000
    file_bytes: int = 256 * 2**20
    total_bytes: int = 1024 * 2**20
    ratio: int = 250
    ratio_free_bytes: int = 2**20
    seconds: float = 300.0


class PackageError(ValueError):
    """An archive that is refused as a whole; `code` names why, `path` the member."""

    def __init__(self, code: str, path: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.path = path


def unreadable(file: Path, error: OSError) -> InputError:
    """Return what to raise about a bundle, of a run or of a period, that cannot be read."""
    what = f"cannot read the bundle: {error.strerror}"
    return InputError(what, "check the path and your rights", file=str(file))


def manifest(contents: Mapping[str, bytes]) -> bytes:
    """Return the canonical manifest of a bundle's files. Raises InputError."""
    plan = statement.need(contents, layout.PLAN)
    environment = statement.need(contents, layout.ENVIRONMENT)
    data = {
        "schema": "anlan.bundle/v1",
        "run_id": plan["run_id"],
        "environment": environment["name"],
        "files": [
            {"path": path, "size_bytes": len(content), "sha256": sha256(content)}
            for path, content in sorted(contents.items())
        ],
    }
    check(data, "manifest", file=layout.MANIFEST)
    return canonical(data)


def pack(contents: Mapping[str, bytes], signer: Signer) -> bytes:
    """Return the zip of these files, their manifest and its signature.

    Raises InputError; Refused when a secret is in one of them.
    """
    redaction.refuse(contents)
    listed = manifest(contents)
    envelope = dsse.sign(listed, MANIFEST_TYPE, signer)
    return archive(
        {**contents, layout.MANIFEST: listed, layout.MANIFEST_ENVELOPE: envelope.to_bytes()}
    )


def archive(contents: Mapping[str, bytes]) -> bytes:
    """Return a zip with fixed order, times and modes: the same files give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as target:
        for path, content in sorted(contents.items()):
            info = zipfile.ZipInfo(path, _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            target.writestr(info, content)
    return buffer.getvalue()


def check_name(name: str) -> None:
    """Refuse the name of a member that could escape or deceive. Raises PackageError."""
    parts = PurePosixPath(name).parts
    unsafe = (
        not name
        or name.startswith("/")
        or any(part in {"..", "."} for part in name.split("/"))
        or "\\" in name
        or ":" in name
        or not name.isprintable()
        or str(PurePosixPath(*parts)) != name
    )
    if unsafe:
        raise PackageError("unsafe-path", name, f"member name {name!r} is not allowed")


def alias_of(name: str) -> str:
    """Return what some file systems take a name for: two of one alias are one file there."""
    return unicodedata.normalize("NFC", name).casefold()


def _check_member(info: zipfile.ZipInfo, limits: Limits) -> None:
    """Refuse what could escape, deceive or exhaust. Raises PackageError."""
    name = info.orig_filename
    check_name(name)
    if name != info.filename:
        raise PackageError("unsafe-path", name, f"member name {name!r} is not allowed")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in {0, stat.S_IFREG}:
        raise PackageError("not-a-file", name, f"{name} is a link or special file")
    if info.flag_bits & ~_NAME_IS_UTF8 or info.compress_type not in {
        zipfile.ZIP_STORED,
        zipfile.ZIP_DEFLATED,
    }:
        raise PackageError(
            "unsupported-member", name, f"{name} is encrypted, streamed or oddly compressed"
        )
    swollen = info.file_size > limits.ratio * max(info.compress_size, 1)
    if info.file_size > limits.file_bytes or (swollen and info.file_size > limits.ratio_free_bytes):
        raise PackageError(
            "zip-bomb", name, f"{name} would unpack to {info.file_size} bytes: over the limits"
        )


def _check_nothing_else(
    content: bytes, members: Sequence[zipfile.ZipInfo], directory_start: int
) -> None:
    """Refuse bytes that belong to no member or to two, in comments, or said twice differently.

    The members lie one behind the other, then their directory, then the end record: what any
    reader of zips takes for the archive is what is verified here.
    """
    at = 0
    for info in sorted(members, key=lambda one: one.header_offset):
        if info.header_offset != at:
            raise PackageError("hidden-data", info.filename, f"{info.filename} is not at byte {at}")
        name = info.orig_filename.encode()
        local = struct.unpack_from("<4s2xHH4xLLLHH", content, at)
        said = (b"PK\3\4", info.flag_bits, info.compress_type, info.CRC)
        sizes = (info.compress_size, info.file_size, len(name), 0)
        if local != said + sizes or content[at + _LOCAL_HEADER_BYTES :][: len(name)] != name:
            message = f"{info.filename} has two headers that differ"
            raise PackageError("hidden-data", info.filename, message)
        at += _LOCAL_HEADER_BYTES + len(name) + info.compress_size
    directory = sum(_CENTRAL_HEADER_BYTES + len(info.orig_filename.encode()) for info in members)
    count = len(members)
    end = struct.pack("<4sHHHHLLH", _END, 0, 0, count, count, directory, directory_start, 0)
    if content[-_END_BYTES:] != end:
        raise PackageError("hidden-data", "", "the archive's end says something else")
    if at != directory_start or at + directory + _END_BYTES != len(content):
        size = at + directory + _END_BYTES
        message = f"the archive has {len(content)} bytes, its members account for {size}"
        raise PackageError("hidden-data", "", message)


def _check_directory(content: bytes, limits: Limits) -> None:
    """Refuse a directory that is too large before its members are made of it."""
    if content[-_END_BYTES:][:4] != _END:
        if _END in content:
            raise PackageError("hidden-data", "", "the archive has bytes behind its end")
        raise PackageError("damaged-archive", "", "the archive is damaged: it has no end")
    size = int.from_bytes(content[-_END_BYTES:][12:16], "little")
    if size > limits.files * _MOST_DIRECTORY_BYTES:
        raise PackageError("zip-bomb", "", f"a directory of {size} bytes: over the limits")


def unpack(
    content: bytes, limits: Limits | None = None, only: Set[str] | None = None
) -> dict[str, bytes]:
    """Return path → content of a bundle, in memory; nothing is written to disk.

    With `only`, of these members alone; the archive is checked as a whole all the same.
    Raises PackageError: no zip, unsafe or duplicate names, links, more than the limits allow, or
    bytes that belong to no member.
    """
    limits = limits or Limits()
    files: dict[str, bytes] = {}
    known: set[str] = set()  # names that some file systems take for one
    if len(content) > limits.archive_bytes:
        raise PackageError("zip-bomb", "", f"{len(content)} bytes: over the limits")
    _check_directory(content, limits)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as source:
            members = source.infolist()
            if len(members) > limits.files:
                raise PackageError("zip-bomb", "", f"{len(members)} members: over the limits")
            total = sum(info.file_size for info in members)
            if total > limits.total_bytes:
                raise PackageError("zip-bomb", "", f"unpacks to {total} bytes: over the limits")
            for info in members:
                _check_member(info, limits)
                alias = alias_of(info.filename)
                if alias in known:
                    raise PackageError(
                        "duplicate-member", info.filename, f"{info.filename} is there twice"
                    )
                known.add(alias)
                if only is not None and info.filename not in only:
                    continue
                with source.open(info) as stream:
                    files[info.filename] = stream.read(info.file_size + 1)
                if len(files[info.filename]) != info.file_size:
                    raise PackageError(
                        "zip-bomb", info.filename, f"{info.filename} is larger than it declares"
                    )
            _check_nothing_else(content, members, source.start_dir)
    except PackageError:
        raise
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        ValueError,
        OSError,
        RuntimeError,
        struct.error,
    ) as error:
        raise PackageError("damaged-archive", "", f"the archive is damaged: {error}") from error
    return files
