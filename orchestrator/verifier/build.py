"""Pack `anlan evidence verify` and all that it needs into one file that Python runs: a zipapp.

It is the installed code itself, byte for byte, so the two cannot disagree. Compiled extensions are
left out: PyYAML and markupsafe work without theirs, and for `rpds` there is a stand-in. Members
have a fixed order, time and mode and are not compressed: the same packages give the same bytes on
every machine, whatever its zlib.
"""

from __future__ import annotations

import io
import stat
import zipfile
from dataclasses import dataclass
from importlib.metadata import Distribution, distribution
from pathlib import Path, PurePosixPath

import orchestrator
from orchestrator.model.canonical import sha256
from orchestrator.verifier.modules import needed

COMMAND = "orchestrator.cli.verify"
PACKAGES = (
    "attrs",
    "click",
    "croniter",
    "jinja2",
    "jsonschema",
    "jsonschema-specifications",
    "markupsafe",
    "python-dateutil",
    "pyyaml",
    "referencing",
    "rfc8785",
    "six",
    "typing-extensions",
)
"""Distributions that the command needs, besides `cryptography`, which the auditor installs."""
_SHEBANG = b"#!/usr/bin/env python3\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_LEFT_OUT_FOLDERS = {"tests", "benchmarks", "__pycache__", "__pyinstaller"}
_LEFT_OUT_ENDINGS = {".so", ".pyd", ".dylib", ".pyc", ".pyi", ".c", ".h", ".pyx"}
_README = """\
anlan-verify {version}

The verifier of Anlan's evidence bundles as one file: the code of `anlan evidence verify` of
anlan {version}, with the packages that it needs. It needs Python 3.11 or newer and the Python
package `cryptography`; no network, no state, and it writes nothing.

  python3 -m pip install cryptography
  python3 anlan-verify.pyz BUNDLE --trust KEYFILE [--json]
  python3 anlan-verify.pyz --help

Exit code 0: VALID; 1: INVALID, UNTRUSTED, INCOMPLETE or STALE; 2: unusable input.

KEYFILE is a public key, or a trust file. A key must come from the owner of the environment by a way
that you trust, never with the bundle. Get this file by a way that you trust too, or make it
yourself: whoever has anlan {version} with these packages makes the same bytes by `anlan evidence
verifier`, and compares the sha256 of the whole file.

It is a zip archive: `unzip anlan-verify.pyz -d folder` to read it. SHA256SUMS lists every file of
it. Below orchestrator/ is Anlan; rpds.py is Anlan's stand-in for a package written in Rust. The
other packages are the published ones, without their compiled parts and tests:

{packages}
Licences are in the folders *.dist-info.
"""


@dataclass(frozen=True)
class Archive:
    """The verifier: its bytes, what it holds, and the version of Anlan in it."""

    content: bytes
    names: tuple[str, ...]
    version: str

    @property
    def sha256(self) -> str:
        """The digest of the whole file."""
        return sha256(self.content)


def build() -> Archive:
    """Return the verifier, made of the packages that are installed here.

    Raises PackageNotFoundError when one of them is not.
    """
    own = distribution("anlan")
    files = _own_files() | _metadata(own)
    packed = [distribution(name) for name in PACKAGES]
    for one in packed:
        files |= _files(one) | _metadata(one)
    listed = "".join(f"  {one.metadata['Name']} {one.version}\n" for one in packed)
    files["README.txt"] = _README.format(version=own.version, packages=listed).encode()
    sums = "".join(f"{sha256(content)}  {name}\n" for name, content in sorted(files.items()))
    files["SHA256SUMS"] = sums.encode()
    return Archive(_zip(files), tuple(sorted(files)), own.version)


def _own_files() -> dict[str, bytes]:
    """The modules of the command, the data of their packages, and what the archive begins with."""
    root = Path(orchestrator.__file__).parent
    modules = needed(root, COMMAND)
    paths = set(modules.values())
    for package in {path.parent for path in paths if path.name == "__init__.py"} - {root}:
        paths |= {path for path in package.rglob("*") if path.is_file() and _is_data(path)}
    files = {path.relative_to(root.parent).as_posix(): path.read_bytes() for path in paths}
    files["__main__.py"] = (root / "verifier" / "main.py").read_bytes()
    files["rpds.py"] = (root / "verifier" / "rpds.py").read_bytes()
    return files


def _is_data(path: Path) -> bool:
    return path.suffix not in {".py", *_LEFT_OUT_ENDINGS} and not path.name.startswith(".")


def _files(package: Distribution) -> dict[str, bytes]:
    """The Python files of a distribution, and the data beside them."""
    found: dict[str, bytes] = {}
    for one in package.files or ():
        path = PurePosixPath(one.as_posix())
        is_part = not path.parts[0].endswith(".dist-info") and ".." not in path.parts
        left_out = path.suffix in _LEFT_OUT_ENDINGS or _LEFT_OUT_FOLDERS & set(path.parts)
        if is_part and not left_out:
            found[path.as_posix()] = Path(str(one.locate())).read_bytes()
    return found


def _metadata(package: Distribution) -> dict[str, bytes]:
    """What says which distribution it is, and its licences."""
    folder = f"{package.metadata['Name'].lower().replace('-', '_')}-{package.version}.dist-info"
    found = {f"{folder}/METADATA": (package.read_text("METADATA") or "").encode()}
    for one in package.files or ():
        path = PurePosixPath(one.as_posix())
        if len(path.parts) > 1 and path.parts[0].endswith(".dist-info"):
            inner = path.relative_to(path.parts[0])
            if inner.parts[0] == "licenses" or inner.name.startswith(("LICENSE", "COPYING")):
                found[f"{folder}/{inner.as_posix()}"] = Path(str(one.locate())).read_bytes()
    return found


def _zip(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    buffer.write(_SHEBANG)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_STORED) as target:
        for name, content in sorted(files.items()):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system = 3
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            target.writestr(info, content)
    return buffer.getvalue()
