"""Which processes belong to a machine (a directory with a supervisord), and how to end them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import psutil


def _belongs(process: psutil.Process, directory: Path) -> bool:
    try:
        if process.environ().get("ANLAN_MACHINE") == str(directory):
            return True
        return Path(process.cwd()).is_relative_to(directory)
    except (psutil.Error, OSError):
        return False


def machine_processes(directory: Path) -> list[psutil.Process]:
    """The live processes of the machine ``directory``, this process and its ancestors left out.

    A process belongs by its ANLAN_MACHINE variable, by a working directory inside the machine,
    or by descent from one that does.
    """
    own = {psutil.Process().pid, *(parent.pid for parent in psutil.Process().parents())}
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        if not _belongs(process, directory):
            continue
        found[process.pid] = process
        try:
            found.update({child.pid: child for child in process.children(recursive=True)})
        except psutil.Error:
            continue
    return [
        process
        for pid, process in found.items()
        if pid not in own and process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    ]


def _signal_all(processes: list[psutil.Process], send: Callable[[psutil.Process], None]) -> None:
    for process in processes:
        try:
            send(process)
        except psutil.NoSuchProcess:
            continue


def end_processes(directory: Path, grace_seconds: float, limit_seconds: float = 10.0) -> int:
    """Terminate every process of the machine, kill what is left after ``grace_seconds``.

    Returns how many there were. Raises TimeoutError when one survives ``limit_seconds`` of kills.
    """
    first = machine_processes(directory)
    _signal_all(first, psutil.Process.terminate)
    psutil.wait_procs(first, timeout=grace_seconds)
    deadline = time.monotonic() + limit_seconds
    while left := machine_processes(directory):
        if time.monotonic() > deadline:
            pids = sorted(process.pid for process in left)
            raise TimeoutError(f"processes {pids} of {directory} survive SIGKILL: look at them")
        _signal_all(left, psutil.Process.kill)
        psutil.wait_procs(left, timeout=1.0)
    return len(first)
