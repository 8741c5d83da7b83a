"""`anlan evidence`: list, export and verify the evidence of runs, and the log of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import common, evidence_sites
from orchestrator.cli.evidence_key import key
from orchestrator.cli.evidence_prune import hold, prune, release, removed_rows
from orchestrator.cli.evidence_trust import countersign, trust
from orchestrator.cli.verify import (
    echo,
    load_checkpoint,
    say_problems,
    status_text,
    trust_option,
    verify,
)
from orchestrator.model.errors import InfrastructureError, InputError
from orchestrator.model.fact import timestamp

if TYPE_CHECKING:
    from orchestrator.engine.runs import Run
    from orchestrator.evidence.audit import Audit
    from orchestrator.evidence.witness.vouching import Outcome


@click.group("evidence")
def evidence() -> None:
    """List, export and verify the evidence of runs."""


@evidence.command("list")
@common.json_option
def list_(as_json: bool) -> int:
    """List the runs with their verdict, their place in the log, and their bundle.

    \b
    Example:
      anlan evidence list
    """
    from orchestrator.engine import runs  # noqa: PLC0415

    state = common.state_directory()
    logged = _logged(state)
    rows = [_row(run, state, logged.get(run.run_id, {})) for run in runs.history(state)]
    gone = [{**row, "log": logged[row["run_id"]]} for row in removed_rows(state)]
    rows = [*gone, *rows]
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
            f"evidence/bundles/{row['run_id']}.zip"
            if row["bundle"]
            else f"removed {row['removed_at'][:10]}"
            if row["state"] == "removed"
            else "–",
        )
    out = common.console()
    out.print(table)
    out.print(f"[dim]bundles are in {state}; copy one with `anlan evidence export RUN`[/]")
    return 0


def _logged(state: Path) -> dict[str, dict[str, int]]:
    """Run id → kind → index in the log."""
    from orchestrator.evidence.tlog import log  # noqa: PLC0415

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
@click.argument("run", required=False, shell_complete=common.complete_run)
@click.option(
    "--environment",
    metavar="NAME",
    shell_complete=common.complete_environment,
    help="Instead of one run: this environment over a period.",
)
@click.option("--from", "since", metavar="DATE", help="Begin of the period, e.g. 2026-10-01 (UTC).")
@click.option("--to", "until", metavar="DATE", help="Its end, which is not in it: 2027-01-01.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="File or folder to write to.  [default: RUN.zip, or NAME-FROM-TO.zip, here]",
)
@common.json_option
def export(
    *,
    run: str | None,
    environment: str | None,
    since: str | None,
    until: str | None,
    out: Path | None,
    as_json: bool,
) -> int:
    """Write the evidence bundle of a run, or of an environment over a period, to hand it over.

    A period's bundle has the whole log and every run that was planned in the period: an auditor
    finds out from it alone if one is left out. It is signed by the environment's signer, as is a
    run's bundle that is missing and made again.

    \b
    Examples:
      anlan evidence export failover-20261125t032843-6264
      anlan evidence export --environment local --from 2026-10-01 --to 2027-01-01 --out q4.zip
    """
    state = common.state_directory()
    if (run is None) == (environment is None):
        raise InputError("name a run, or an environment with --environment --from --to")
    if environment is not None:
        from orchestrator.cli.evidence_period import export_period  # noqa: PLC0415

        return export_period(state, environment, since, until, out, as_json=as_json)
    if since or until:
        raise InputError("--from and --to go with --environment", "a run has no period")
    from orchestrator.engine import runs  # noqa: PLC0415
    from orchestrator.engine.finish import bundle_path  # noqa: PLC0415

    found = runs.load(state, run or "")
    bundle = bundle_path(state, found.run_id)
    if not bundle.is_file():
        rebuild(found, state, bundle)
    name = f"{found.run_id}.zip"
    target = out / name if out and out.is_dir() else out or Path(name)
    common.write_out(target, bundle.read_bytes())
    if as_json:
        common.emit({"run_id": found.run_id, "bundle": str(target)})
    else:
        click.echo(target)
    return 0


def rebuild(run: Run, state: Path, bundle: Path) -> None:
    """Make the bundle of a run again. Raises InputError when its environment is gone."""
    from orchestrator.drivers.secrets import Secrets  # noqa: PLC0415
    from orchestrator.engine.evidence import evidence_store  # noqa: PLC0415

    environment = common.find_environment(run.plan["environment"]["name"])
    store = evidence_store(state, environment, Secrets(environment))
    store.export(run.directory, bundle)


for _command in (verify, key, countersign, trust, prune, hold, release):
    evidence.add_command(_command)


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

    \b
    Example:
      anlan evidence verifier --out anlan-verify.pyz
    """
    from orchestrator.verifier import build  # noqa: PLC0415

    made = build()
    common.write_out(out, made.content)
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


evidence.add_command(evidence_sites.restore)
log_.add_command(evidence_sites.mirror)
log_.add_command(evidence_sites.list_logs)

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

    \b
    Examples:
      anlan evidence log verify local --trust evidence.pub
      anlan evidence log verify --trust trust.json --checkpoint last.txt
    """
    from orchestrator.evidence.audit import audit, run_directories, trusted  # noqa: PLC0415
    from orchestrator.evidence.trust import file as trust_file  # noqa: PLC0415

    state = common.state_directory()
    known = load_checkpoint(checkpoint)
    given = trust_file.load(trust)
    names, runs = _environments(state, environment), run_directories(state)
    found = [trusted(audit(state, name, given.keys, known, runs), given) for name in names]
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
@common.json_option
def show_checkpoint(environment: str | None, out: Path | None, as_json: bool) -> int:
    """Print the signed head of a log, for an auditor to keep.

    Whoever keeps it finds out the next time if anything of now was changed or cut off since:
    `anlan evidence log verify ENVIRONMENT --trust KEYFILE --checkpoint FILE`. It is what the log
    says of itself: nothing is verified here.

    \b
    Example:
      anlan evidence log checkpoint local --out last.txt
    """
    from orchestrator.evidence import dsse  # noqa: PLC0415
    from orchestrator.evidence.tlog import log, note  # noqa: PLC0415
    from orchestrator.evidence.tlog.tiles import CHECKPOINT  # noqa: PLC0415

    state = common.state_directory()
    names = _environments(state, environment)
    if len(names) > 1:
        raise InputError(f"there are {len(names)} logs", f"name one of {', '.join(names)}")
    there = log.log_of(state, names[0])
    content = there.read(CHECKPOINT)
    if content is None:
        raise InputError(
            f"the evidence log of {names[0]} has no head",
            "a log begins with the first drill; if it had begun, put it back: "
            f"`anlan evidence restore {names[0]}`",
            file=str(there.folder / CHECKPOINT),
        )
    try:
        head = note.parse(content)
    except dsse.SignatureError as error:
        raise there.damaged(error) from error
    if out is not None:
        common.write_out(out, content)
    if as_json:
        about = {"origin": head.origin, "size": head.size, "root": head.root.hex()}
        where = {"file": str(out)} if out else {}
        common.emit({"environment": names[0], **about, "checkpoint": content.decode(), **where})
    elif out is None:
        click.echo(content.decode(), nl=False)
    else:
        click.echo(out)
    return 0


@log_.command()
@_environment_argument
@common.json_option
def cosign(environment: str | None, as_json: bool) -> int:
    """Ask the environment's witnesses and timestamp authorities now, if they have not vouched yet.

    They are asked after each append too. Without ENVIRONMENT for each log of the state directory.
    Exit code 0: all of them vouch for the log as it is; 4: one does not.

    \b
    Example:
      anlan evidence log cosign local
    """
    from orchestrator.drivers.secrets import Secrets  # noqa: PLC0415
    from orchestrator.engine.evidence import evidence_store, vouchers_of  # noqa: PLC0415
    from orchestrator.evidence.witness.vouching import Vouchers  # noqa: PLC0415

    state = common.state_directory()
    outcomes: dict[str, list[Outcome]] = {}
    for name in _environments(state, environment):
        if environment is None and name not in common.environment_names():
            continue  # a log outlives its environment
        there = common.find_environment(name)
        if environment is None and vouchers_of(there) == Vouchers():
            continue
        outcomes[name] = evidence_store(state, there, Secrets(there)).cosign(name)
    if as_json:
        common.emit({name: [one.to_json() for one in found] for name, found in outcomes.items()})
    else:
        for name, found in outcomes.items():
            for one in found:
                echo(f"{name}: {one}")
    every = [one for found in outcomes.values() for one in found]
    return 0 if all(one.result == "vouched" for one in every) else InfrastructureError.exit_code


def _environments(state: Path, environment: str | None) -> list[str]:
    """The logs that are meant. Raises InputError when there is none."""
    from orchestrator.evidence.audit import has_evidence  # noqa: PLC0415
    from orchestrator.evidence.tlog import log  # noqa: PLC0415

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
    if found.removed:
        days = min(one.evidence_days for one in found.removed)
        count = f"{len(found.removed)} runs of {days} days or more"
        echo(f"  removed by retention, with a tombstone: {count}")
    for run_id in found.unlogged:
        noted = click.style("not logged", fg="yellow")
        echo(f"  {noted}  {run_id}: has a signed plan; nothing was run")
    for one in found.vouching:
        if one.result == "failed":
            echo(f"  {click.style('not vouched', fg='yellow')}  {one} ({timestamp(one.at)})")
    if data["root"]:
        echo(f"  log   {data['origin']}\n  root  {data['root']}")
