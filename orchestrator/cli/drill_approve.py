"""`anlan drill approve` and `reject`: a person's signed word on a planned run."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import common
from orchestrator.model.errors import InputError

if TYPE_CHECKING:
    from orchestrator.engine.runs import Run
    from orchestrator.evidence.persons.approvals import Word

PASSPHRASE = "ANLAN_KEY_PASSPHRASE"  # noqa: S105  (its name)

_RUN = click.argument("run_id", metavar="RUN", shell_complete=common.complete_run)
_KEY = click.option(
    "--key",
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"Your private key (PEM). If it is encrypted: {PASSPHRASE}, else you are asked.",
)
_OUT = click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Sign the plan file RUN (plan.json), and write what you say here; no run is needed.",
)
_YES = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


@click.command()
@_RUN
@_KEY
@_OUT
@click.option(
    "--signed",
    type=click.Path(dir_okay=False, path_type=Path),
    help="What was signed elsewhere, by --out (of approve or reject).",
)
@_YES
@common.json_option
def approve(
    *,
    run_id: str,
    key: Path | None,
    out: Path | None,
    signed: Path | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Approve a planned run, by your signature over its plan.

    Your key says who you are: its public part is in the environment's approval rule. Approving
    twice counts once.

    \b
    Examples:
      anlan drill approve failover-20261124t201500-ab12 --key approver.key
      anlan drill approve plan.json --key approver.key --out word.json       on your own machine
      anlan drill approve failover-20261124t201500-ab12 --signed word.json   where the run is
    """
    if (key is None) == (signed is None):
        raise InputError("give your key, or what was signed", "one of both", path="--key, --signed")
    if signed is not None:
        _keep(_load(run_id), _read(signed), as_json=as_json)
    elif key is not None:
        _say("approve", run_id, key, out, yes=yes, as_json=as_json)


@click.command()
@_RUN
@click.option("--reason", required=True, help="Why; kept in the evidence.")
@_KEY
@_OUT
@_YES
@common.json_option
def reject(
    *, run_id: str, reason: str, key: Path | None, out: Path | None, yes: bool, as_json: bool
) -> None:
    """Reject a planned run: it never begins, whoever else approves it.

    \b
    Example:
      anlan drill reject failover-20261124t201500-ab12 --key approver.key --reason "payroll week"
    """
    if key is None:
        raise InputError("nothing to sign with", "give your key", path="--key")
    _say("reject", run_id, key, out, reason=reason, yes=yes, as_json=as_json)


def _say(
    word: Word,
    run_id: str,
    key: Path,
    out: Path | None,
    *,
    reason: str = "",
    yes: bool,
    as_json: bool,
) -> None:
    """Sign a word on a run and keep it there; or, with `out`, on a plan file and write it there."""
    from orchestrator.drivers.files import write_atomically  # noqa: PLC0415
    from orchestrator.evidence.keys import LocalSigner, load_private_key  # noqa: PLC0415
    from orchestrator.evidence.persons.approvals import decide  # noqa: PLC0415

    run = None if out else _load(run_id)
    plan = run.plan if run else _plan_file(Path(run_id))
    signer = LocalSigner(load_private_key(key, passphrase_of(key)))
    _confirm(word, plan, yes=yes)
    name, envelope = decide(plan, word, signer, reason, datetime.now(UTC))
    if run is not None:
        _keep(run, envelope, as_json=as_json)
    elif out is not None:
        try:
            write_atomically(out, envelope.decode(), mode=0o644)
        except OSError as error:
            raise InputError(f"cannot write it: {error.strerror}", file=str(out)) from error
        if as_json:
            common.emit({"run": plan["run_id"], "decision": word, "by": name, "file": str(out)})
        else:
            click.echo(f"{word} of {name} on run {plan['run_id']}: {out}")


def _load(run_id: str) -> Run:
    from orchestrator.engine import runs  # noqa: PLC0415

    return runs.load(common.state_directory(), run_id)


def _keep(run: Run, envelope: bytes, *, as_json: bool) -> None:
    from orchestrator.engine import permit  # noqa: PLC0415

    name, new = permit.add(run, envelope)
    said, why = permit.decisions(run), permit.refusal(run, datetime.now(UTC))
    if as_json:
        common.emit(
            {
                "run": run.run_id,
                "by": name,
                "new": new,
                "approved": list(said.approved),
                "initiator": list(said.initiator),
                "rejected": dict(said.rejected),
                "required": run.plan["approvals"]["required"],
                "may_not_begin": why,
            }
        )
        return
    click.echo(f"{name}: {'kept' if new else 'was there already'}")
    if said.rejected:
        click.echo(f"{why}; close it in the evidence: {permit.todo_begin(run.run_id)}")
    elif why:
        click.echo(f"run {run.run_id} may not begin yet: {why}")
    else:
        click.echo(f"run {run.run_id} may begin: {permit.todo_begin(run.run_id)}")


def _confirm(word: Word, plan: Mapping[str, Any], *, yes: bool) -> None:
    from orchestrator.cli.drill_plan import show_plan, usual_seconds  # noqa: PLC0415
    from orchestrator.model.canonical import digest  # noqa: PLC0415

    if yes:
        return
    if not sys.stdin.isatty():
        raise InputError("nobody to ask", f"give --yes to {word} the plan", path="--yes")
    show_plan(plan, usual_seconds(plan))
    click.echo(f"run        {plan['run_id']}, planned by {plan['operator']}")
    click.echo(f"digest     {digest(plan)}")
    click.confirm(f"{word.capitalize()} this plan?", abort=True, err=True)


def _plan_file(path: Path) -> dict[str, Any]:
    from orchestrator.model.schema import check  # noqa: PLC0415

    todo = "give the run's plan.json"
    try:
        plan: dict[str, Any] = json.loads(_read(path))
    except ValueError as error:
        raise InputError(f"not JSON: {error}", todo, file=str(path)) from error
    check(plan, "plan", file=str(path))
    return plan


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read it: {error.strerror}", file=str(path)) from error


def passphrase_of(key: Path) -> Callable[[], str]:
    """Return what gives a key's passphrase when it is asked for: the variable, or a person."""

    def ask() -> str:
        if given := os.environ.get(PASSPHRASE):
            return given
        if not sys.stdin.isatty():
            raise InputError("the key is encrypted", f"set {PASSPHRASE}", file=str(key))
        return str(click.prompt(f"Passphrase of {key}", hide_input=True, err=True))

    return ask
