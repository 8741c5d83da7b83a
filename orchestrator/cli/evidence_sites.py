"""`anlan evidence restore` and `anlan evidence log mirror, list`: evidence at the sites."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli import common
from orchestrator.cli.verify import echo
from orchestrator.model.errors import InputError

if TYPE_CHECKING:
    from orchestrator.engine.mirror import Mirrored
    from orchestrator.engine.restore import Listed, Restored
    from orchestrator.evidence.keys import PublicKey
    from orchestrator.model.environment import Environment

_ENVIRONMENT = click.argument("environment", shell_complete=common.complete_environment)
_SITE = click.option("--site", metavar="NAME", help="That site's bucket alone.  [default: all]")
_TRUST = click.option(
    "--trust",
    multiple=True,
    metavar="KEYFILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Public key (PEM) that signed the log; may be given again, for one that was rotated.  "
    "[default: the environment's evidence.pub]",
)


@click.command("mirror")
@click.argument("environment", required=False, shell_complete=common.complete_environment)
@common.json_option
def mirror(environment: str | None, as_json: bool) -> int:
    """Put what is missing of a log, its keys, schedules and bundles at every site, now.

    Every run and schedule does so by itself; this catches up after a site was down, and looks at
    all that is there, not only at what is new. Without ENVIRONMENT each log of the state directory.
    Exit code 0: every site holds all of it; 4: one does not.

    \b
    Examples:
      anlan evidence log mirror local
      anlan evidence log mirror --json
    """
    from orchestrator.drivers.secrets import Secrets  # noqa: PLC0415
    from orchestrator.engine.mirror import mirror_all  # noqa: PLC0415
    from orchestrator.evidence.tlog import log  # noqa: PLC0415

    state = common.state_directory()
    there = log.environments(state)
    names = [environment] if environment else there
    if not names or not set(names) <= set(there):
        raise InputError(
            f"no evidence log of {environment or 'any environment'}",
            "name the state directory (--state-dir); the first drill begins the log",
            file=str(state / log.FOLDER),
        )
    found: dict[str, list[Mirrored]] = {}
    for name in names:
        known = common.find_environment(name)
        with _progress(as_json) as say:
            found[name] = mirror_all(
                state,
                known,
                Secrets(known),
                whole=True,
                report=lambda site, key: say(f"{site}: {key}"),
            )
    if as_json:
        rows = {name: [one.to_json() for one in sites] for name, sites in found.items()}
        common.emit([{"environment": name, "sites": sites} for name, sites in rows.items()])
    else:
        for name, sites in found.items():
            for one in sites:
                echo(_mirrored(name, one))
    return 4 if any(one.problem for sites in found.values() for one in sites) else 0


def _mirrored(environment: str, one: Mirrored) -> str:
    put = f"{len(one.put)} object{'s' * (len(one.put) != 1)} put"
    if one.problem:
        return f"{environment}  {one.site}  {click.style('not kept', fg='red')}  {one.problem}"
    return (
        f"{environment}  {one.site}  {click.style('kept', fg='green')}  {_entries(one.size)}, {put}"
    )


@click.command("list")
@_ENVIRONMENT
@_SITE
@_TRUST
@common.json_option
def list_logs(environment: str, site: str | None, trust: Sequence[Path], as_json: bool) -> int:
    """List the logs of an environment in its sites' buckets: origin, entries, time of the last.

    There are several when several state directories had one each. What is shown is what the newest
    checkpoint says that a trusted key signed; `anlan evidence restore --dry-run` verifies the rest.

    \b
    Examples:
      anlan evidence log list local
      anlan evidence log list local --site b --json
    """
    from orchestrator.drivers.secrets import Secrets  # noqa: PLC0415
    from orchestrator.engine import restore  # noqa: PLC0415

    known = common.find_environment(environment)
    buckets, problems = restore.buckets_of(known, Secrets(known), site)
    with _progress(as_json):
        found = restore.list_logs(buckets, environment, _keys(known, trust))
    if as_json:
        common.emit({"logs": [one.to_json() for one in found], "problems": problems})
        return 0
    _say_unasked(problems)
    if not found:
        echo(f"no log of {environment} in the bucket of {' and '.join(buckets)}")
    for one in found:
        echo(_listed(one))
    return 0


def _listed(one: Listed) -> str:
    if one.size is None:
        return f"{one.site}  {one.origin}  no checkpoint of it is signed by a trusted key"
    last = one.to_json()["last_entry_at"] or "at an unknown time"
    return f"{one.site}  {one.origin}  {_entries(one.size)}, the last {last}"


@click.command("restore")
@_ENVIRONMENT
@_SITE
@click.option("--log", "log_id", metavar="ID", help="Which log, where there are several.")
@_TRUST
@click.option(
    "--into",
    metavar="STATE",
    type=click.Path(file_okay=False, path_type=Path),
    help="State directory to put it into.  [default: this one]",
)
@click.option("--dry-run", is_flag=True, help="Verify it all and show what would be put back.")
@common.json_option
def restore(
    *,
    environment: str,
    site: str | None,
    log_id: str | None,
    trust: Sequence[Path],
    into: Path | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Put an environment's log, keys, schedules, bundles and runs back from its sites' buckets.

    The largest log that a trusted key signed and that is whole is taken, from every version that
    the buckets keep: what does not hash right is passed over and named. A log here that is longer
    or another one is never replaced, a run's directory that exists is left alone. It may be
    called again. Exit code 0: all that was logged is back; 1: a part is at no site; 3: refused.

    \b
    Examples:
      anlan evidence restore local --dry-run
      anlan evidence restore local --site b --into /srv/anlan
      anlan evidence restore local --log 0123456789abcdef --trust evidence.pub
    """
    from orchestrator.drivers.secrets import Secrets  # noqa: PLC0415
    from orchestrator.engine import restore as engine  # noqa: PLC0415

    known = common.find_environment(environment)
    state = (into or common.state_directory()).absolute()
    buckets, problems = engine.buckets_of(known, Secrets(known), site)
    with _progress(as_json) as say:
        keys = _keys(known, trust)
        made = engine.restore(
            buckets,
            state,
            environment,
            keys,
            log_id,
            dry_run=dry_run,
            report=say,
            written=lambda path: say(f"put back {path}"),
        )
    if as_json:
        common.emit(
            {**made.to_json(), "state": str(state), "dry_run": dry_run, "problems": problems}
        )
    else:
        _say_unasked(problems)
        _show(made, state, dry_run=dry_run)
    return 0 if made.is_whole else 1


def _show(made: Restored, state: Path, *, dry_run: bool) -> None:
    did = "would be put back" if dry_run else "put back"
    runs = sum(path.startswith("runs/") for path in made.written)
    word, colour = ("whole", "green") if made.is_whole else ("incomplete", "yellow")
    whole = click.style(word, fg=colour, bold=True)
    echo(f"{whole}  {made.origin}: {_entries(made.entries)}")
    files = len(made.written) - runs
    echo(f"  runs: {runs}, other files: {files}, {did} in {state}")
    for one in made.passed_over:
        where = f"{one.copy.site}: {one.copy.key} (version {one.copy.version})"
        echo(f"  {click.style('passed over', fg='yellow')}  {where}: {one.why}")
    for path in made.missing:
        echo(f"  {click.style('missing', fg='red')}  {path}: no site has it")
    if made.lost_entries:
        lost = f"{made.lost_entries} entries that a trusted key signed are not there whole"
        echo(f"  {click.style('missing', fg='red')}  {lost}")
    if not dry_run:
        name = made.origin.split("/")[-2]
        echo(f"  now: anlan evidence log verify {name} --trust KEYFILE")


def _entries(count: int) -> str:
    return f"{count} {'entry' if count == 1 else 'entries'}"


def _say_unasked(problems: dict[str, str]) -> None:
    for name, why in problems.items():
        click.echo(f"site {name} was not asked: {why}", err=True)


def _keys(environment: Environment, trust: Sequence[Path]) -> Sequence[PublicKey]:
    from orchestrator.evidence.trust import file as trust_file  # noqa: PLC0415

    return trust_file.load(trust or [environment.evidence_public_key]).keys


@contextlib.contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[str], None]]:
    """A line on a terminal that says what is being done now."""
    console = common.progress_console()
    if quiet or not console.is_terminal:
        yield lambda text: None
        return
    with console.status("asking the sites") as status:
        yield status.update
