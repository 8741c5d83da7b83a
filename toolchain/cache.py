"""The store of finished tools, outside the checkout.

A tool is made in a scratch folder and appears in the store by one rename; its files appear in
`bin/` and `plugins/` by one rename each. So whatever is there is whole, and a process killed at
any moment leaves only scratch folders, which the next holder of the lock removes.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from toolchain.errors import ToolchainError
from toolchain.pins import PLACES, Tool
from toolchain.progress import say

_SCRATCH = ".scratch-"


@dataclass(frozen=True)
class Cache:
    """The folders below one root, `${ANLAN_CACHE:-~/.cache/anlan}`."""

    root: Path

    @staticmethod
    def default() -> Cache:
        """Return the cache that the environment names."""
        named = os.environ.get("ANLAN_CACHE")
        return Cache(Path(named).absolute() if named else Path.home() / ".cache" / "anlan")

    @property
    def bin(self) -> Path:
        """The folder to put on PATH."""
        return self.root / "bin"

    @property
    def store(self) -> Path:
        """The folder with one folder per tool, version and digest."""
        return self.root / "toolchain"

    def log(self, name: str) -> Path:
        """The file that keeps the output of making `name`."""
        return self.store / "logs" / f"{name}.log"

    def stored(self, tool: Tool) -> Path:
        """The folder of a finished tool, whether or not it is there yet."""
        return self.store / f"{tool.name}-{tool.version}-{tool.digest}"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the one lock on the store; waits for another install, then clears its leftovers."""
        self.store.mkdir(parents=True, exist_ok=True)
        with (self.store / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("another install is at work on this cache: waiting for it")
                fcntl.flock(lock, fcntl.LOCK_EX)
            for folder in (self.store, *(self.root / place for place in PLACES)):
                for left in folder.glob(f"{_SCRATCH}*"):
                    _remove(left)
            yield

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Yield a new folder in the store's file system, removed at the end if still there."""
        folder = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=self.store))
        try:
            yield folder
        finally:
            _remove(folder)

    def keep(self, tool: Tool, stage: Path) -> None:
        """Move a finished `stage` into the store; raises ToolchainError if a file is missing."""
        for name in tool.files:
            path = stage / name
            if not path.is_file() or path.stat().st_size == 0:
                raise ToolchainError(f"{tool.name}: the source did not give {name}")
            path.chmod(0o755)
        stage.chmod(0o755)
        stage.rename(self.stored(tool))

    def exposed(self, tool: Tool, commands: dict[str, Path]) -> bool:
        """Whether bin/ and plugins/ show exactly `commands` (file name → file) of this tool."""
        for name, place in tool.files.items():
            shown = self.root / place / name
            wanted = commands.get(name)
            if wanted is None:
                if shown.is_symlink() or shown.exists():
                    return False
            elif not shown.exists() or not shown.samefile(wanted):
                return False
        return True

    def expose(self, tool: Tool, commands: dict[str, Path]) -> None:
        """Show `commands` in bin/ and plugins/, and nothing older of this tool.

        Files of the store become hard links (Vault refuses a plugin that is a symbolic link to
        somewhere else); commands of the machine become symbolic links.
        """
        for name, place in tool.files.items():
            folder = self.root / place
            folder.mkdir(parents=True, exist_ok=True)
            shown, wanted = folder / name, commands.get(name)
            if wanted is None:
                shown.unlink(missing_ok=True)
                continue
            if shown.exists() and shown.samefile(wanted):
                continue  # rename does nothing between two hard links of one file
            fresh = folder / f"{_SCRATCH}{name}"
            fresh.unlink(missing_ok=True)
            if wanted.is_relative_to(self.store):
                fresh.hardlink_to(wanted)
            else:
                fresh.symlink_to(wanted)
            fresh.replace(shown)

    def finished(self, tool: Tool) -> dict[str, Path] | None:
        """Return the files of `tool` in the store, or None when it has not been made."""
        folder = self.stored(tool)
        return {name: folder / name for name in tool.files} if folder.is_dir() else None


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
