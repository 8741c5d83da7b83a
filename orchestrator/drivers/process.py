"""The one runner of subprocesses: argument list, timeout, captured output, secrets masked."""

from __future__ import annotations

import contextlib
import os
import pwd
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.drivers.processes import ProcessEntry, process_entry
from orchestrator.model.errors import InfrastructureError

MASK = "***"
_TAIL_LINES = 8


@dataclass(frozen=True)
class Finished:
    """A command that ended: its exit code and its text output."""

    arguments: tuple[str, ...]
    exit_code: int
    output: str
    errors: str


def masked(text: str, secrets: Sequence[str]) -> str:
    """Return `text` with every non-empty secret replaced by asterisks."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text


def drop_to(user: str | None) -> list[str]:
    """The arguments in front of a command that make it run as `user`; none if we are that user.

    Raises InfrastructureError when the user does not exist or we may not become it.
    """
    if not user:
        return []
    try:
        wanted = pwd.getpwnam(user)
    except KeyError as error:
        raise InfrastructureError(
            f"the system has no user {user}",
            "install the servers (`make setup`) or correct service_user in the descriptor",
        ) from error
    if wanted.pw_uid == os.geteuid():
        return []
    if os.geteuid() != 0:
        raise InfrastructureError(
            f"cannot become {user}: this process is not root",
            f"run as root or as {user}",
        )
    return [
        "setpriv",
        f"--reuid={wanted.pw_uid}",
        f"--regid={wanted.pw_gid}",
        "--init-groups",
        "--",
    ]


def environment_for(user: str | None, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """A small, known environment for a command of `user`, plus `extra` (which may hold secrets)."""
    account = pwd.getpwnam(user) if user else pwd.getpwuid(os.geteuid())
    base = {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "HOME": account.pw_dir,
        "USER": account.pw_name,
        "LOGNAME": account.pw_name,
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
    }
    return {**base, **(extra or {})}


def run(
    arguments: Sequence[str | Path],
    *,
    timeout_seconds: float,
    as_user: str | None = None,
    inside: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
    stdin: str | None = None,
    secrets: Sequence[str] = (),
    accept: Sequence[int] = (0,),
) -> Finished:
    """Run one command and return how it ended.

    `inside` goes in front (nsenter …), then the change to `as_user`, then the command. `secrets`
    are masked in everything returned or raised. An exit code that is not in `accept`, a timeout
    (the command is killed) or a missing program raises InfrastructureError with the command, the
    exit code and the end of stderr.
    """
    plain = [str(part) for part in arguments]
    shown = masked(shlex.join(plain), secrets)
    try:
        done = subprocess.run(
            [*inside, *drop_to(as_user), *plain],
            env=environment_for(as_user, environment),
            cwd=directory or "/",
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_seconds,
            check=False,
        )
    except FileNotFoundError as error:
        raise InfrastructureError(
            f"cannot run {shown}: {error.filename} is not there",
            "install what the machine must have: `make setup`",
        ) from error
    except OSError as error:
        raise InfrastructureError(
            f"cannot run {shown}: {error.strerror}", "look at the machine's limits and permissions"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise InfrastructureError(
            f"{shown} did not end within {timeout_seconds:g} s",
            "look at the server it talks to, then run the drill again",
        ) from error
    finished = Finished(
        arguments=tuple(masked(part, secrets) for part in plain),
        exit_code=done.returncode,
        output=masked(done.stdout, secrets),
        errors=masked(done.stderr, secrets),
    )
    if done.returncode not in accept:
        lines = (finished.errors.strip() or finished.output.strip()).splitlines()[-_TAIL_LINES:]
        raise InfrastructureError(
            f"{shown} ended with {done.returncode}: " + " | ".join(line.strip() for line in lines),
            "repair what it names and run it again",
        )
    return finished


def spawn(
    arguments: Sequence[str | Path],
    *,
    log_file: Path,
    as_user: str | None = None,
    inside: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
    stdin: str = "",
) -> ProcessEntry:
    """Start a command that outlives this process: its own session, output appended to a file.

    `stdin` is handed over whole (secrets go this way). Raises InfrastructureError.
    """
    plain = [str(part) for part in arguments]
    try:
        with log_file.open("ab") as log:
            started = subprocess.Popen(
                [*inside, *drop_to(as_user), *plain],
                env=environment_for(as_user, environment),
                cwd=directory or "/",
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if started.stdin:
            with contextlib.suppress(BrokenPipeError), started.stdin as pipe:
                pipe.write(stdin.encode())
    except OSError as error:
        raise InfrastructureError(
            f"cannot start {shlex.join(plain)}: {error}", "install what is missing: `make setup`"
        ) from error
    entry = process_entry(started.pid)
    if entry is None:
        raise InfrastructureError(
            f"{shlex.join(plain)} ended at once with {started.poll()}", f"read {log_file}"
        )
    return entry
