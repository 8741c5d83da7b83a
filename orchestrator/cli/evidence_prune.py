"""`anlan evidence prune, hold, release`: how long the evidence of runs is kept."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import common, signing
from orchestrator.model.errors import InputError, Refused
from orchestrator.model.fact import timestamp

if TYPE_CHECKING:
    from orchestrator.engine.prune import Judged
    from orchestrator.engine.site_bundles import Removal, SiteBundles
    from orchestrator.evidence.retained.tombstones import Tombstone
    from orchestrator.model.environment import Environment

_EXIT_UNKNOWN = 5


@click.command()
@click.argument("environment", metavar="ENV", shell_complete=common.complete_environment)
@click.option(
    "--before", metavar="DATE", help="Of those, only runs that ended before this day (UTC) or time."
)
@click.option(
    "--sites",
    "at_sites",
    is_flag=True,
    help="Remove their bundles at the sites too: unlocked ones.",
)
@click.option("--dry-run", is_flag=True, help="Say what would go and why the rest stays.")
@common.json_option
def prune(
    *, environment: str, before: str | None, at_sites: bool, dry_run: bool, as_json: bool
) -> int:
    """Remove the evidence of runs of ENV whose retention is over.

    A run stays while it is younger than the retention (`retention.evidence_days` of the
    descriptor; else seven years), unfinished, under a legal hold, locked at a site or a site does
    not answer, and when it is the last run of its drill, or the last that passed. A signed
    tombstone goes into the log before a run's directory and bundle are removed; the log itself is
    never pruned.

    \b
    Exit codes: 0, 4 when nothing can be signed, 5 when a site could not be asked.
    \b
    Examples:
      anlan evidence prune local --dry-run
      anlan evidence prune local --before 2026-01-01
      anlan evidence prune local --sites
    """
    from orchestrator.engine import prune as engine  # noqa: PLC0415

    state, now = common.state_directory(), datetime.now(UTC)
    found, limit = (
        common.find_environment(environment),
        common.moment(before, "--before") if before else None,
    )
    bundles = _bundles(found)
    status = common.progress_console().status("reading the log and the runs")
    with engine.alone(state), status:
        decided = engine.decide(
            *(state, environment, found.retention, bundles, now),
            before=limit,
            report=lambda run: status.update(f"asking the sites about {run}"),
        )
        removed: Sequence[Tombstone] = ()
        at: dict[str, Removal] = {}
        if not dry_run:
            store = signing.signing_store(environment)
            for one in decided:
                if not one.decision.reasons:
                    status.update(f"tombstone of {one.decision.run_id}")
                    engine.bury(store, state, environment, one, by=getpass.getuser(), now=now)
            status.update("removing")
            removed = engine.sweep(state, environment, engine.kept_keys(state))
            at = bundles.remove(engine.buried(state, environment), now) if at_sites else {}
    _say(environment, found, decided, removed, at, dry_run=dry_run, as_json=as_json)
    unsure = any(r.code == "unknown" for one in decided for r in one.decision.reasons)
    return _EXIT_UNKNOWN if unsure or any(one.unknown for one in at.values()) else 0


@click.command()
@click.argument("run", shell_complete=common.complete_run)
@click.option("--why", required=True, help="The matter that the evidence is needed for.")
@common.json_option
def hold(run: str, why: str, as_json: bool) -> None:
    """Put the evidence of RUN under a legal hold: it is not pruned, however old it is.

    The hold is signed and logged. The same again changes nothing.

    \b
    Example:
      anlan evidence hold failover-20261125t031500-ab12 --why "audit 2026, matter 4711"
    """
    _set_hold(run, why, held=True, as_json=as_json)


@click.command()
@click.argument("run", shell_complete=common.complete_run)
@click.option("--why", required=True, help="Why it is needed no more.")
@common.json_option
def release(run: str, why: str, as_json: bool) -> None:
    """End the legal hold of RUN; that is signed and logged too.

    \b
    Example:
      anlan evidence release failover-20261125t031500-ab12 --why "matter 4711 is closed"
    """
    _set_hold(run, why, held=False, as_json=as_json)


def _set_hold(run: str, why: str, *, held: bool, as_json: bool) -> None:
    from orchestrator.engine import prune as engine  # noqa: PLC0415
    from orchestrator.engine import runs  # noqa: PLC0415
    from orchestrator.evidence.retained import holds, tombstones  # noqa: PLC0415
    from orchestrator.evidence.retained.kept import ToLog  # noqa: PLC0415

    state = common.state_directory()
    found = runs.load(state, run)
    environment = str(found.plan["environment"]["name"])
    with engine.alone(state):
        mine = {e.kind: e for e in signing.entries_of(environment) if e.run_id == found.run_id}
        if "plan" not in mine:
            raise InputError(
                f"the log does not hold the plan of {found.run_id}", "such a run is never pruned"
            )
        if tombstones.KIND in mine:
            raise Refused(
                f"{found.run_id} has a tombstone: its evidence is being removed",
                "get its bundle from a site, or from whom it was handed to",
            )
        last = holds.last_of(state, signing.entries_of(environment)).get(found.run_id)
        is_new = (last is not None and last.held) != held
        if is_new:
            by, now = getpass.getuser(), datetime.now(UTC)
            payload = holds.payload_of(
                environment, mine["plan"], held=held, by=by, reason=why, at=now
            )
            store = signing.signing_store(environment)
            store.record_statement(environment, ToLog(holds.KIND, found.run_id, payload))
    if as_json:
        common.emit({"run_id": found.run_id, "held": held, "new": is_new})
        return
    words = ("held", "held already") if held else ("released", "not held")
    click.echo(f"{found.run_id}: {words[0] if is_new else words[1]}")


def _bundles(environment: Environment) -> SiteBundles:
    from orchestrator.drivers.secrets import Secrets  # noqa: PLC0415
    from orchestrator.engine.site_bundles import site_bundles  # noqa: PLC0415

    return site_bundles(environment, Secrets(environment))


def _say(
    name: str,
    environment: Environment,
    decided: Sequence[Judged],
    removed: Sequence[Tombstone],
    at: dict[str, Removal],
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    chosen = [one.candidate for one in decided if one.candidate and not one.decision.reasons]
    kept = [one.decision for one in decided if one.decision.reasons]
    days = environment.retention.evidence_kept_days
    if as_json:
        data: dict[str, Any] = {
            "environment": name,
            "evidence_days": days,
            "dry_run": dry_run,
            "would_remove": [one.run_id for one in chosen] if dry_run else [],
            "removed": [one.to_json() for one in removed],
            "kept": [one.to_json() for one in kept],
            "sites": {site: one.to_json() for site, one in at.items()},
        }
        common.emit(data)
        return
    for one in kept:
        click.echo(f"kept     {one.run_id}: {'; '.join(r.message for r in one.reasons)}")
    for run in chosen if dry_run else ():
        click.echo(f"would go {run.run_id}: {run.verdict}, over since {timestamp(run.over_at)}")
    for stone in removed:
        click.echo(f"removed  {stone.run_id}: {stone.verdict}, tombstone is entry {stone.index}")
    for site, done in at.items():
        what = f"{done.removed} versions removed, {done.locked} locked"
        click.echo(f"site {site}: {done.unknown or what}")
    number = len(chosen) if dry_run else len(removed)
    word = "would be removed" if dry_run else "removed"
    click.echo(f"{name}: retention {days} days; runs {word}: {number}, kept: {len(kept)}")


def removed_rows(state: Path) -> list[dict[str, Any]]:
    """Return the removed runs of a state directory as rows of `anlan evidence list`."""
    from orchestrator.evidence.retained import tombstones  # noqa: PLC0415
    from orchestrator.evidence.tlog import log  # noqa: PLC0415

    rows = []
    for environment in log.environments(state):
        for entry in log.log_of(state, environment).entries():
            if entry.kind != tombstones.KIND or (state / "runs" / entry.run_id).is_dir():
                continue
            stone = tombstones.read_or_none(state, entry)
            rows.append(
                {
                    "run_id": entry.run_id,
                    "drill": stone.drill if stone else None,
                    "environment": environment,
                    "state": "removed",
                    "verdict": stone.verdict if stone else None,
                    "bundle": None,
                    "removed_at": timestamp(stone.at) if stone else entry.time_text,
                }
            )
    return rows
