"""`anlan evidence`: list, export and verify the evidence of runs, and the log of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import common
from orchestrator.cli.verify import echo, load_keys, say_problems, status_text, trust_option, verify
from orchestrator.model.errors import InputError

if TYPE_CHECKING:
    from orchestrator.engine.runs import Run
    from orchestrator.evidence.audit import Audit
    from orchestrator.evidence.note import Checkpoint


@click.group("evidence")
def evidence() -> None:
    """List, export and verify the evidence of runs."""


@evidence.command("list")
@common.json_option
def list_(as_json: bool) -> int:
    """List the runs with their verdict, their place in the log, and their bundle."""
    from orchestrator.engine import runs  # noqa: PLC0415

    state = common.state_directory()
    logged = _logged(state)
    rows = [_row(run, state, logged.get(run.run_id, {})) for run in runs.history(state)]
    if as_json:
        common.emit(rows)
        return 0
    if not rows:
        click.echo("no runs yet: `anlan drill run NAME ENV` makes the first evidence")
        return 0
    from rich.table import Table  # noqa: PLC0415

    table = Table("run", "verdict", "log plan → run", "bundle", box=None, pad_edge=False)
    for row in rows:
        entries = (row["log"].get(kind, "–") for kind in ("plan", "run"))
        table.add_row(
            row["run_id"],
            common.verdict_text(row["verdict"]),
            " → ".join(str(entry) for entry in entries),
            f"evidence/bundles/{row['run_id']}.zip" if row["bundle"] else "–",
        )
    out = common.console()
    out.print(table)
    out.print(f"[dim]bundles are in {state}; copy one with `anlan evidence export RUN`[/]")
    return 0


def _logged(state: Path) -> dict[str, dict[str, int]]:
    """Run id → kind → index in the log."""
    from orchestrator.evidence import log  # noqa: PLC0415

    found: dict[str, dict[str, int]] = {}
    for environment in log.environments(state):
        for entry in log.log_of(state, environment).entries():
            found.setdefault(entry.run_id, {})[entry.kind] = entry.index
    return found


def _row(run: Run, state: Path, log: dict[str, int]) -> dict[str, Any]:
    from orchestrator.engine.finish import bundle_path  # noqa: PLC0415

    bundle = bundle_path(state, run.run_id)
    return {
        "run_id": run.run_id,
        "drill": run.plan["drill"]["name"],
        "environment": run.plan["environment"]["name"],
        "state": run.state,
        "verdict": run.result["verdict"] if run.result else None,
        "log": log,
        "bundle": str(bundle) if bundle.is_file() else None,
    }


@evidence.command()
@click.argument("run", shell_complete=common.complete_run)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="File or folder to write to.  [default: RUN.zip here]",
)
@common.json_option
def export(run: str, out: Path | None, as_json: bool) -> int:
    """Copy the evidence bundle of a run, to hand it over.

    A bundle that is missing is made again, signed by the environment's secret manager.
    """
    from orchestrator.engine import runs  # noqa: PLC0415
    from orchestrator.engine.finish import bundle_path  # noqa: PLC0415
    from orchestrator.evidence.files import write_atomically  # noqa: PLC0415

    state = common.state_directory()
    found = runs.load(state, run)
    bundle = bundle_path(state, found.run_id)
    if not bundle.is_file():
        _rebuild(found, state, bundle)
    name = f"{found.run_id}.zip"
    target = out / name if out and out.is_dir() else out or Path(name)
    write_atomically(target, bundle.read_bytes())
    if as_json:
        common.emit({"run_id": found.run_id, "bundle": str(target)})
    else:
        click.echo(target)
    return 0


def _rebuild(run: Run, state: Path, bundle: Path) -> None:
    from orchestrator.drivers.secrets import Secrets  # noqa: PLC0415
    from orchestrator.engine.evidence import evidence_store  # noqa: PLC0415

    environment = common.find_environment(run.plan["environment"]["name"])
    store = evidence_store(state, Secrets(environment))
    store.export(run.directory, bundle)


evidence.add_command(verify)


@evidence.command()
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("anlan-verify.pyz"),
    show_default=True,
    help="File to write.",
)
@common.json_option
def verifier(out: Path, as_json: bool) -> int:
    """Write the verifier as one file, for an auditor who has no Anlan.

    It is the code of `anlan evidence verify` of this version, and needs Python and the package
    `cryptography` alone. The same version gives the same bytes: compare the sha256.
    """
    from orchestrator.evidence.files import write_atomically  # noqa: PLC0415
    from orchestrator.verifier import build  # noqa: PLC0415

    made = build()
    try:
        write_atomically(out, made.content)
    except OSError as error:
        raise InputError(f"cannot write it: {error.strerror}", file=str(out)) from error
    if as_json:
        about = {"version": made.version, "size_bytes": len(made.content), "sha256": made.sha256}
        common.emit({"file": str(out), **about})
    else:
        echo(f"{made.sha256}  {out}")
        echo(f"run it: python3 {out} BUNDLE --trust KEYFILE (needs the package cryptography)")
    return 0


@evidence.group("log")
def log_() -> None:
    """The append-only logs, one an environment, of every schedule, plan and result."""


_environment_argument = click.argument(
    "environment", required=False, shell_complete=common.complete_environment
)


@log_.command("verify")
@_environment_argument
@trust_option
@click.option(
    "--checkpoint",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The checkpoint that you kept the last time: nothing of then may be missing.",
)
@common.json_option
def verify_log(
    environment: str | None, trust: Sequence[Path], checkpoint: Path | None, as_json: bool
) -> int:
    """Verify a whole log, and that every run on disk is in it and every logged run on disk.

    Without ENVIRONMENT each log of the state directory. Lists the runs that were planned and never
    ended: a drill that failed to finish cannot vanish. Exit code 0: the log holds; 1: it was
    changed, or a run that was due is not there; 2: unusable input.
    """
    from orchestrator.evidence.audit import audit, run_directories  # noqa: PLC0415

    state = common.state_directory()
    known = _checkpoint(checkpoint)
    keys = load_keys(trust)
    names, runs = _environments(state, environment), run_directories(state)
    found = [audit(state, name, keys, known, runs) for name in names]
    if as_json:
        common.emit([one.to_json() for one in found])
    else:
        for one in found:
            _show_audit(one)
    return 1 if any(one.problems for one in found) else 0


@log_.command("checkpoint")
@_environment_argument
@click.option(
    "--out", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Write it there."
)
def show_checkpoint(environment: str | None, out: Path | None) -> int:
    """Print the signed head of a log, for an auditor to keep.

    Whoever keeps it finds out the next time if anything of now was changed or cut off since:
    `anlan evidence log verify ENVIRONMENT --trust KEYFILE --checkpoint FILE`.
    """
    from orchestrator.evidence import log  # noqa: PLC0415
    from orchestrator.evidence.files import write_atomically  # noqa: PLC0415
    from orchestrator.evidence.tiles import CHECKPOINT  # noqa: PLC0415

    state = common.state_directory()
    names = _environments(state, environment)
    if len(names) > 1:
        raise InputError(f"there are {len(names)} logs", f"name one of {', '.join(names)}")
    content = log.log_of(state, names[0]).read(CHECKPOINT) or b""
    if out is None:
        click.echo(content.decode(), nl=False)
    else:
        write_atomically(out, content)
        click.echo(out)
    return 0


def _environments(state: Path, environment: str | None) -> list[str]:
    """The logs that are meant. Raises InputError when there is none."""
    from orchestrator.evidence import log  # noqa: PLC0415
    from orchestrator.evidence.audit import has_evidence  # noqa: PLC0415

    names = log.environments(state)
    if environment is not None:
        names = [environment] if has_evidence(state, environment) else []
    if not names:
        raise InputError(
            f"no evidence log of {environment or 'any environment'}",
            "name the state directory (--state-dir); the first drill begins the log",
            file=str(state / log.FOLDER),
        )
    return names


def _checkpoint(file: Path | None) -> Checkpoint | None:
    from orchestrator.evidence import dsse, note  # noqa: PLC0415

    if file is None:
        return None
    try:
        return note.parse(file.read_bytes())
    except (OSError, dsse.SignatureError) as error:
        raise InputError(
            f"cannot be read: {error}",
            "give the file that `anlan evidence log checkpoint` made",
            file=str(file),
        ) from error


def _show_audit(found: Audit) -> None:
    data = found.to_json()
    counted = f"{data['entries']} entries of {data['runs']} runs"
    echo(f"{status_text(data['status'])}  {found.environment}: {counted}")
    say_problems(found.problems)
    for run in data["unfinished"]:
        echo(
            f"  {click.style('unfinished', fg='yellow')}  {run['run_id']}: planned "
            f"{run['planned_at']} (entry {run['index']}), no result"
        )
    for run_id in found.unlogged:
        noted = click.style("not logged", fg="yellow")
        echo(f"  {noted}  {run_id}: has a signed plan; nothing was run")
    if data["root"]:
        echo(f"  log   {data['origin']}\n  root  {data['root']}")
