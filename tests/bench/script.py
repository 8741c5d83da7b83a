"""A bare script, timed from outside: it says `ready`, is told to go, and names each part done."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from orchestrator.model.errors import InfrastructureError


def run_script(name: str, variables: Mapping[str, str]) -> dict[str, int]:
    """Run a script of this folder; returns its moments in monotonic ns: `began`, and each part.

    Raises InfrastructureError.
    """
    script = Path(__file__).with_name(name)
    with subprocess.Popen(
        ["bash", str(script)],
        env={**os.environ, **variables},
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin and process.stdout
        process.stdout.readline()
        moments = {"began": time.monotonic_ns()}
        process.stdin.write("\n")
        process.stdin.close()
        for line in process.stdout:
            moments[line.strip()] = time.monotonic_ns()
    if process.returncode:
        raise InfrastructureError(f"{name} ended with {process.returncode}", f"read {script}")
    return moments


def parts_of(moments: Mapping[str, int]) -> dict[str, float]:
    """The seconds of each part, from the end of the one before it."""
    (_, before), *rest = moments.items()
    parts = {}
    for name, moment in rest:
        # A client may be served before the script's last line is read: no part is negative.
        parts[name] = max(0, moment - before) / 1e9
        before = max(moment, before)
    return parts
