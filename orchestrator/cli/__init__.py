"""The command `anlan`. Each command is imported when it is called: a start takes no time."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from orchestrator.model.errors import AnlanError, InfrastructureError, InputError

# Command → its module below orchestrator.cli; the command's function has its name.
_COMMANDS = {
    "up": ("provision", "Provision an environment, or bring it to its configuration."),
    "down": ("provision", "Remove an environment: its processes and its files."),
    "refresh": ("provision", "Find what differs from the configuration (drift)."),
    "env": ("env", "List, show and check environments."),
    "drill": ("drill", "Plan, run and follow drills."),
    "schedule": ("schedule", "Say when which drill runs, and what is due."),
    "worker": ("schedule", "Run what the schedules make due; record what was missed."),
    "policy": ("policy", "List policies, and check an environment against them."),
    "access": ("access", "Review who may do what; find what changed since."),
    "evidence": ("evidence", "List, export and verify evidence."),
    "witness": ("witness", "Watch the evidence logs of others, as an auditor or a second site."),
    "report": ("report", "Write the report of a run, or of a period."),
    "doctor": ("doctor", "Say what this machine has and lacks."),
    "demo": ("demo", "Provision, drill, verify: the main job from nothing."),
    "clean": ("clean", "Remove every environment and all state."),
    "completion": ("completion", "Print the completion script of a shell."),
}


class _Commands(click.Group):
    """Knows the names of its commands; imports one when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"orchestrator.cli.{_COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, says) for name, (_, says) in _COMMANDS.items()])


def _version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        from orchestrator.model.version import TOOL_VERSION  # noqa: PLC0415

        click.echo(f"anlan {TOOL_VERSION}")
        ctx.exit()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where state is kept.  [default: .anlan, or ANLAN_STATE_DIR]",
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version)
def cli(state_dir: Path | None) -> None:
    """Disaster recovery and compliance for ERP systems: provision, drill, prove.

    \b
    Examples:
      anlan up local                     two sites with a live ERP on this machine
      anlan drill run failover local     kill a site for real; RTO and RPO measured
      anlan evidence verify BUNDLE --trust evidence.pub

    Exit codes: 0 pass, 1 failed or not compliant, 2 bad input, 3 refused by a safety rule,
    4 infrastructure error, 5 inconclusive.
    """
    if state_dir is not None:
        os.environ["ANLAN_STATE_DIR"] = str(state_dir.absolute())


def main(arguments: list[str] | None = None) -> None:
    """Run a command of `anlan` and end the process with its exit code."""
    run(cli, arguments, "anlan")


def run(command: click.Command, arguments: list[str] | None, program: str) -> NoReturn:
    """Run a command and end the process with its exit code."""
    from orchestrator.cli.common import fail  # noqa: PLC0415

    try:
        outcome: Any = command.main(args=arguments, prog_name=program, standalone_mode=False)
        sys.exit(outcome if isinstance(outcome, int) else 0)
    except AnlanError as error:
        sys.exit(fail(error))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:
        if (diagnosis := _diagnosis(error)) is None:
            raise  # a fault of ours: its traceback says where
        sys.exit(fail(diagnosis))


def _diagnosis(error: OSError) -> AnlanError | None:
    """What a file that no command looked after came to, where the machine or its user must act."""
    where, why = str(error.filename or "a file"), error.strerror
    if isinstance(error, PermissionError | NotADirectoryError):
        return InputError(
            f"cannot be used: {why}",
            "get the right to it, or name another state directory (--state-dir)",
            file=where,
        )
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}:
        todo = "make room, or repair the disk; then call it again"
        return InfrastructureError(f"{where} cannot be read or written: {why}", todo)
    return None
