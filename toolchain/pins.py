"""The data file `toolchain.toml` as checked, frozen values."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from toolchain.errors import PinError

HOME = Path(__file__).resolve().parent
PLACES = ("bin", "plugins")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True)
class Package:
    """A Debian package; `provides` are commands or absolute paths that show it is there."""

    name: str
    minimum: str
    purpose: str
    provides: tuple[str, ...]


@dataclass(frozen=True)
class Machine:
    """A tool that may be on PATH already.

    `provides` maps our file names to the commands found there; `version` are the arguments that
    make the first of them print its version.
    """

    minimum: str
    version: tuple[str, ...]
    provides: dict[str, str]


@dataclass(frozen=True)
class Download:
    """An official archive; `members` maps our file names to paths in it (or to "" for itself)."""

    url: str
    sha256: str
    members: dict[str, str]


@dataclass(frozen=True)
class Build:
    """One `go build` of a command."""

    file: str
    package: str
    ldflags: str = "-s -w"
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Copy:
    """One script copied out of a Go module's source."""

    file: str
    module: str
    path: str


@dataclass(frozen=True)
class GoModule:
    """A folder with a pinned go.mod and go.sum, and what is made from it."""

    directory: Path
    builds: tuple[Build, ...]
    copies: tuple[Copy, ...]


@dataclass(frozen=True)
class Tool:
    """A tool, the files it places (`files`: name → bin or plugins), and where they come from.

    An `optional` one is installed when it is asked for by its name alone.
    """

    name: str
    version: str
    licence: str
    purpose: str
    homepage: str
    optional: bool
    files: dict[str, str]
    machine: tuple[Machine, ...]
    downloads: dict[str, Download]
    requirements: Path | None
    modules: tuple[GoModule, ...]

    @property
    def digest(self) -> str:
        """Twelve hex digits over everything that decides what the files will be."""
        whole = asdict(self)
        decides = {key: whole[key] for key in ("version", "files", "downloads", "modules")}
        digest = hashlib.sha256(json.dumps(decides, sort_keys=True, default=_name).encode())
        pinned = [m.directory / n for m in self.modules for n in ("go.mod", "go.sum")]
        for path in [*pinned, *([self.requirements] if self.requirements else [])]:
            digest.update(path.read_bytes())
        return digest.hexdigest()[:12]


@dataclass(frozen=True)
class Go:
    """The Go that builds: on the machine from `minimum` on, otherwise the pinned wheel."""

    minimum: str
    bootstrap: str
    version: str
    licence: str
    requirements: Path
    command: str


@dataclass(frozen=True)
class Pins:
    """Everything in the data file."""

    release: str
    packages: tuple[Package, ...]
    go: Go
    tools: tuple[Tool, ...]


def load(path: Path = HOME / "toolchain.toml") -> Pins:
    """Return the pins in `path`; raises PinError naming the entry that is wrong."""
    try:
        data = tomllib.loads(path.read_text("utf-8"))
        home = path.resolve().parent
        debian = data["debian"]
        pins = Pins(
            release=debian["release"],
            packages=tuple(
                Package(**{**p, "provides": tuple(p["provides"])}) for p in debian["package"]
            ),
            go=Go(**{**data["go"], "requirements": home / data["go"]["requirements"]}),
            tools=tuple(_tool(t, home) for t in data["tool"]),
        )
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise PinError(f"{path}: {type(error).__name__}: {error}") from error
    for tool in pins.tools:
        for problem in _problems(tool):
            raise PinError(f"{path}: tool {tool.name}: {problem}")
    return pins


def numbers(version: str) -> tuple[int, ...]:
    """Return the first dotted number in `version` as integers; empty when there is none."""
    found = re.search(r"\d+(?:\.\d+)+", version)
    return tuple(int(part) for part in found.group().split(".")) if found else ()


def _tool(data: dict[str, Any], home: Path) -> Tool:
    return Tool(
        name=data["name"],
        version=data["version"],
        licence=data["licence"],
        purpose=data["purpose"],
        homepage=data["homepage"],
        optional=data.get("optional", False),
        files=data["files"],
        machine=tuple(
            Machine(m["minimum"], tuple(m["version"]), m["provides"])
            for m in data.get("machine", [])
        ),
        downloads={name: Download(**d) for name, d in data.get("download", {}).items()},
        requirements=home / data["wheel"]["requirements"] if "wheel" in data else None,
        modules=tuple(_module(m, home) for m in data.get("go", [])),
    )


def _module(data: dict[str, Any], home: Path) -> GoModule:
    return GoModule(
        directory=home / data["directory"],
        builds=tuple(Build(**{**b, "tags": tuple(b.get("tags", ()))}) for b in data["build"]),
        copies=tuple(Copy(**c) for c in data.get("copy", [])),
    )


def _problems(tool: Tool) -> Iterator[str]:
    if not numbers(tool.version):
        yield f"version {tool.version!r} is no dotted number"
    if not tool.files or any(place not in PLACES for place in tool.files.values()):
        yield f"files must map names to one of {', '.join(PLACES)}"
    for platform, download in tool.downloads.items():
        if not _SHA256.match(download.sha256):
            yield f"download {platform}: sha256 must be 64 lower-case hex digits"
        if set(download.members) != set(tool.files):
            yield f"download {platform}: members must be {', '.join(tool.files)}"
    for candidate in tool.machine:
        if not set(candidate.provides) <= set(tool.files):
            yield f"machine {candidate.provides}: provides a file that the tool has not"
    if not (tool.downloads or tool.requirements or tool.modules):
        yield "has no source but the machine"
    if tool.requirements and "--hash=sha256:" not in tool.requirements.read_text("utf-8"):
        yield f"{tool.requirements} pins no hash"
    yield from _module_problems(tool)


def _module_problems(tool: Tool) -> Iterator[str]:
    made = {b.file for m in tool.modules for b in m.builds}
    made |= {c.file for m in tool.modules for c in m.copies}
    if tool.modules and made != set(tool.files):
        yield f"go makes {sorted(made)}, files lists {sorted(tool.files)}"
    for module in tool.modules:
        for name in ("go.mod", "go.sum"):
            if not (module.directory / name).is_file():
                yield f"{module.directory / name} is not there"


def _name(value: object) -> str:
    """Stand for a path in the digest by its last name, so that checkouts share a cache."""
    return value.name if isinstance(value, Path) else str(value)
