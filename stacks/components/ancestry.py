"""Ends the work of a process whose Pulumi died.

The engine does not end a dynamic provider when it is killed: the provider, and the Ansible run
below it, would go on beside the next `pulumi up`. So both follow their ancestors up to the engine.
"""

from __future__ import annotations

import os
import threading
import time

import psutil

_INTERVAL_SECONDS = 0.25


def engine_ancestors() -> tuple[psutil.Process, ...]:
    """Return this process's ancestors up to the Pulumi engine; without one, its parent alone.

    Ancestors above the engine do not matter: a shell may end and leave its job running.
    """
    ancestors: list[psutil.Process] = []
    for process in psutil.Process().parents():
        ancestors.append(process)
        if process.name() == "pulumi":
            return tuple(ancestors)
    return tuple(ancestors[:1])


def alive(ancestors: tuple[psutil.Process, ...]) -> bool:
    """Whether every one of `ancestors` still runs."""
    for process in ancestors:
        try:
            if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                return False
        except psutil.NoSuchProcess:
            return False
    return True


def end_with_engine() -> None:
    """Start a thread that ends this process as soon as the Pulumi engine above it is gone."""
    ancestors = engine_ancestors()
    if not ancestors or ancestors[-1].name() != "pulumi":
        return

    def watch() -> None:
        while alive(ancestors):
            time.sleep(_INTERVAL_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, name="engine-watch", daemon=True).start()
