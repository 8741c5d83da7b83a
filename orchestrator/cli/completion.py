"""`anlan completion`: the script that completes commands, environments and runs in a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    Examples:
      eval "$(anlan completion bash)"
      anlan completion fish > ~/.config/fish/completions/anlan.fish
    """
    from orchestrator.cli import cli  # noqa: PLC0415

    cls = get_completion_class(shell)
    if cls is None:
        raise click.UsageError(f"no completion for {shell}")
    click.echo(cls(cli, {}, "anlan", "_ANLAN_COMPLETE").source())
