"""Progress lines with elapsed time, and the one way a subprocess is run here."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from toolchain.errors import ToolchainError

_STARTED = time.monotonic()
_HEARTBEAT_SECONDS = 30.0


def say(text: str) -> None:
    """Print one progress line, after the seconds since the program started."""
    print(f"[{time.monotonic() - _STARTED:6.1f} s] {text}", file=sys.stderr, flush=True)


def run(
    argv: Sequence[str],
    what: str,
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout_seconds: float = 1800.0,
) -> None:
    """Run `argv` with its output in `log`, saying every half minute that it still works.

    Raises ToolchainError with the end of the log when it fails or outlives its timeout.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + timeout_seconds
    with log.open("w", encoding="utf-8") as output:
        try:
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env, cwd=cwd
            )
        except OSError as error:
            raise ToolchainError(f"{what}: cannot run {argv[0]}: {error}") from error
        try:
            while True:
                try:
                    code = process.wait(_HEARTBEAT_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    if time.monotonic() > deadline:
                        raise ToolchainError(
                            f"{what}: not done after {timeout_seconds:.0f} s; see {log}"
                        ) from None
                    say(f"{what}: still working")
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if code != 0:
        tail = "\n".join(log.read_text("utf-8", "replace").splitlines()[-15:])
        raise ToolchainError(f"{what}: exit code {code}; the log {log} ends:\n{tail}")


def output(argv: Sequence[str], *, timeout_seconds: float = 20.0) -> str:
    """Return what `argv` prints on standard output and error; empty when it cannot run."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout_seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
