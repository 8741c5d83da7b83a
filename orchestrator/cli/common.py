"""What every command shares: where state is, how things are printed, how errors end."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from orchestrator.model.errors import AnlanError, InputError

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.model.environment import Environment

F = TypeVar("F", bound=Callable[..., Any])
VERDICT_STYLES = {
    "pass": "bold green",
    "fail": "bold red",
    "inconclusive": "bold yellow",
    "unknown": "bold yellow",
    "satisfied": "bold green",
    "not-satisfied": "bold red",
    "expired": "bold yellow",
    "not-applicable": "dim",
}


def json_option(function: F) -> F:
    """Add `--json`: the result as one JSON document on standard output."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(
        function
    )


def state_directory() -> Path:
    """Return the state directory that this command works with. Raises InputError for a file."""
    from stacks import places  # noqa: PLC0415  (not in the standalone verifier)

    found = places.state_directory()
    if found.is_file():
        todo = "name a folder by --state-dir or ANLAN_STATE_DIR"
        raise InputError("the state directory is a file", todo, file=str(found))
    return found


def emit(data: Any) -> None:
    """Print a JSON document on standard output."""
    click.echo(json.dumps(data, indent=2, ensure_ascii=False, default=str))


def console() -> Console:
    """Return the console for people: standard output, colours on a terminal only."""
    from rich.console import Console  # noqa: PLC0415

    width = None if sys.stdout.isatty() else 120
    return Console(highlight=False, soft_wrap=True, width=width)


def progress_console() -> Console:
    """Return the console for progress: standard error."""
    from rich.console import Console  # noqa: PLC0415

    return Console(stderr=True, highlight=False, soft_wrap=True)


def verdict_text(verdict: str | None) -> str:
    """Return a verdict with its sign and style, as rich markup."""
    signs = {
        **dict.fromkeys(("pass", "satisfied"), "✔"),
        **dict.fromkeys(("fail", "not-satisfied"), "✘"),
        **dict.fromkeys(("inconclusive", "unknown", "expired"), "?"),
    }
    if verdict is None:
        return "–"
    style = VERDICT_STYLES.get(verdict, "")
    return f"[{style}]{signs.get(verdict, '·')} {verdict.replace('_', ' ')}[/]"


def environment_names() -> list[str]:
    """Return the names of the environments that this state directory knows."""
    folder = state_directory() / "env"
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def descriptor_path(name: str) -> Path:
    """Return where the descriptor of an environment is. Raises InputError when it is unknown."""
    from stacks import places  # noqa: PLC0415

    path = places.environment_link(state_directory(), name) / "environment.json"
    if "/" in name or not path.exists():
        known = ", ".join(environment_names()) or "none"
        raise InputError(
            f"there is no environment {name!r} (known: {known})",
            f"provision it: `anlan up {name}`",
            file=str(path),
        )
    return path


def find_environment(name: str) -> Environment:
    """Return the environment of this name. Raises InputError."""
    from orchestrator.model.environment import load_environment  # noqa: PLC0415

    return load_environment(descriptor_path(name))


def write_out(path: Path, content: bytes) -> None:
    """Write what was asked for to the file that was named, whole or not at all.

    Raises InputError when it cannot be written there.
    """
    from orchestrator.evidence.files import write_atomically  # noqa: PLC0415

    try:
        write_atomically(path, content)
    except OSError as error:
        raise InputError(
            f"cannot be written: {error.strerror}",
            "name a file in a folder where you may write, and that has room",
            file=str(path),
        ) from error


def read_folder(folder: Path) -> dict[str, bytes]:
    """Return relative path → content of the YAML files below a folder. Raises InputError."""
    if not folder.is_dir():
        raise InputError("there is no such folder", "name another one", file=str(folder))
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*.y*ml"))
    }


def complete_environment(_ctx: click.Context, _param: click.Parameter, text: str) -> list[str]:
    """Complete the name of an environment in the shell."""
    return [name for name in environment_names() if name.startswith(text)]


def complete_run(_ctx: click.Context, _param: click.Parameter, text: str) -> list[str]:
    """Complete the id of a run in the shell."""
    folder = state_directory() / "runs"
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    return [name for name in names if name.startswith(text)]


def fail(error: AnlanError) -> int:
    """Print an error as a person wants it and return the exit code."""
    red, reset = ("\x1b[1;31m", "\x1b[0m") if sys.stderr.isatty() else ("", "")
    if os.environ.get("NO_COLOR"):
        red = reset = ""
    click.echo(f"{red}error:{reset} {error}", err=True)
    return error.exit_code


def warn(text: str) -> None:
    """Say on standard error what went wrong without harm."""
    click.echo(f"warning: {text}", err=True)


def moment(text: str, option: str) -> datetime:
    """Return the moment that an option names; without a zone it is UTC. Raises InputError."""
    try:
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"{text!r} is no time", "write 2026-10-01 or 2026-10-01T08:00:00Z", path=option
        ) from error
