"""`anlan` that dies by its own SIGKILL: `python -m tests.faults.crash KIND:NAME:WHEN ARGUMENTS…`

It dies as the step journal takes the entry KIND about NAME (a step, mark, site or transition):
`before` it is written, or right `after` it is on the disk. `in:STEP:SECONDS` is a death that many
seconds after a step began.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Mapping
from typing import Any

from orchestrator.cli import main
from orchestrator.steps.journal import StepJournal


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(kind: str, step: str, when: str) -> None:
    append = StepJournal._append

    def armed(self: StepJournal, entry: Mapping[str, Any]) -> Mapping[str, Any]:
        mine = step in {entry.get(key) for key in ("step", "name", "verb", "site")}
        if mine and entry["kind"] == kind and when == "before":
            die()
        written = append(self, entry)
        if mine and entry["kind"] == kind and when == "after":
            die()
        if mine and kind == "in" and entry["kind"] == "begin":
            threading.Timer(float(when), die).start()
        return written

    StepJournal._append = armed  # type: ignore[method-assign]


if __name__ == "__main__":
    arm(*sys.argv[1].split(":"))
    main(sys.argv[2:])
