"""`Ground`: the directory that an environment stands on, made first and cleared last."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path
from typing import Any

import psutil
import pulumi
from pulumi import dynamic

from orchestrator.drivers.lease import LeaseFile

_MARK = ".anlan"
_GRACE_SECONDS = 5.0


class GroundError(Exception):
    """The directory cannot be used, or not be cleared."""


def prepare(root: Path, link: Path | None) -> None:
    """Make `root`, marked as ours, and the link to it. Raises GroundError for a foreign one."""
    if root.is_dir() and any(root.iterdir()) and not (root / _MARK).exists():
        raise GroundError(f"{root} holds other files: choose an empty directory as root")
    root.mkdir(parents=True, exist_ok=True)
    root.chmod(0o755)
    (root / _MARK).touch()
    if link is not None:
        link.parent.mkdir(parents=True, exist_ok=True)
        fresh = link.with_name(f".{link.name}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(root)
        fresh.replace(link)


def clear(root: Path, link: Path | None) -> int:
    """End every process and remove every file of the environment; returns how many processes.

    Needs nothing but the directory: works when Pulumi's state or half the files are lost. A
    directory without our mark is left alone. Raises GroundError when something survives.
    """
    ended = 0
    if (root / _MARK).exists():
        ended = _end_processes(root)
        shutil.rmtree(root, ignore_errors=True)
        if root.exists():
            raise GroundError(f"{root} could not be removed: look at its owner and mounts")
        if root.parent.name.startswith("anlan-"):
            with contextlib.suppress(OSError):
                root.parent.rmdir()  # ours; stays while other environments are in it
    if link is not None and link.is_symlink():
        link.unlink()
    return ended


def require_no_run(place: Path) -> None:
    """Raise GroundError while a drill holds the environment that `place` is in.

    Its configuration may say otherwise, and `pulumi` may be called by hand.
    """
    root = next((one for one in (place, *place.parents) if (one / _MARK).exists()), None)
    lease = LeaseFile(root / "lease.json").current() if root else None
    if lease and lease.is_held:
        raise GroundError(
            f"run {lease.run_id} holds the environment, nothing of it is removed: "
            f"end the run first (`anlan drill resume {lease.run_id}`)"
        )


def processes(root: Path) -> list[psutil.Process]:
    """Return the processes of the environment's machines: by their variable ANLAN_MACHINE, or by
    a working directory below `root`. This process and its ancestors are never among them."""
    own = {os.getpid(), *(process.pid for process in psutil.Process().parents())}
    return [one for one in psutil.process_iter() if one.pid not in own and _belongs(one, root)]


def _belongs(process: psutil.Process, root: Path) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        machine = process.environ().get("ANLAN_MACHINE", "")
        if machine:
            return Path(machine).is_relative_to(root)
        # PostgreSQL overwrites its environment. A shell that stands there is not ours to end.
        return process.terminal() is None and Path(process.cwd()).is_relative_to(root)
    except (psutil.Error, OSError):
        return False


def _end_processes(root: Path) -> int:
    first = processes(root)
    # Supervisors first, so that nothing restarts what is ended below them.
    for process in sorted(first, key=lambda one: one.create_time()):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    psutil.wait_procs(first, timeout=_GRACE_SECONDS)
    deadline = time.monotonic() + 2 * _GRACE_SECONDS
    while left := processes(root):
        if time.monotonic() > deadline:
            raise GroundError(f"processes {[one.pid for one in left]} of {root} survive SIGKILL")
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=1.0)
    return len(first)


class GroundProvider(dynamic.ResourceProvider):
    """Holds nothing; pickled into the state by name."""

    serialize_as_secret_always = False

    def create(self, props: dict[str, Any]) -> dynamic.CreateResult:
        """Make the directory and the link."""
        prepare(*_paths(props))
        return dynamic.CreateResult(props["root"], dict(props))

    def update(
        self, _id: str, _olds: dict[str, Any], props: dict[str, Any]
    ) -> dynamic.UpdateResult:
        """Make again what is missing."""
        prepare(*_paths(props))
        return dynamic.UpdateResult(dict(props))

    def read(self, id_: str, props: dict[str, Any]) -> dynamic.ReadResult:
        """Find out whether directory and link are there; that drift makes the next update."""
        root, link = _paths(props)
        drift = [] if (root / _MARK).exists() else [f"{root} is missing"]
        if link is not None and link.resolve() != root.resolve():
            drift.append(f"{link} does not lead to {root}")
        found = {**props, "drift": drift}
        found.pop("__provider", None)
        return dynamic.ReadResult(id_, found, dict(found))

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> dynamic.DiffResult:
        """Another place is another environment: everything on the old ground goes first."""
        keys = ("root", "link", "identity")
        replaces = [key for key in keys if olds.get(key) != news.get(key)]
        changes = bool(replaces) or olds.get("drift") != news.get("drift")
        return dynamic.DiffResult(changes=changes, replaces=replaces, delete_before_replace=True)

    def delete(self, _id: str, props: dict[str, Any]) -> None:
        """End what still runs there and remove the directory. Raises GroundError."""
        require_no_run(Path(props["root"]))
        clear(*_paths(props))


class Ground(dynamic.Resource, module="anlan", name="Ground"):
    """The directory of an environment; `identity` names where it and its servers are."""

    identity: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        root: Path,
        link: Path | None,
        identity: str,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        inputs = {"root": str(root), "link": str(link or ""), "identity": identity, "drift": []}
        super().__init__(GroundProvider(), name, inputs, opts)


def _paths(props: dict[str, Any]) -> tuple[Path, Path | None]:
    return Path(props["root"]), Path(props["link"]) if props["link"] else None
