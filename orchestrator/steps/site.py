"""Verbs of the drill site-loss: everything of a site is gone, and made again by code and backup.

The other site is the primary meanwhile. Nothing is taken from the lost site's files: its parts come
from the stack, its data from a backup at the other site. That it was fenced is marked beside its
machine, so nobody makes it anew as a second, empty primary.
"""

from __future__ import annotations

import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath

from orchestrator.drivers.erp import Erp
from orchestrator.drivers.objectstore import ObjectVersion
from orchestrator.drivers.postgresql import PostgreSQL, Role
from orchestrator.drivers.postgresql_standby import fenced, restore_standby
from orchestrator.drivers.twin_database import read_restore_log
from orchestrator.model.errors import InfrastructureError, Refused
from orchestrator.probes.availability import marker
from orchestrator.steps import topology
from orchestrator.steps.backup import (
    backups_in,
    chosen_repository,
    repositories,
    side_by_side,
    store_of,
)
from orchestrator.steps.context import Context, StepFailed
from orchestrator.steps.registry import verb

_INVOICE = "account.invoice"
_POLL_SECONDS = 1.0


@verb()
def check_rebuildable(context: Context) -> None:
    """What a lost site is made from is there: its stack, and a backup at the other site."""
    from stacks import automation, places  # noqa: PLC0415  (Pulumi is slow to load)

    environment, state = context.environment, places.state_directory()
    link = places.environment_link(state, environment.name)
    known = environment.name in automation.names() and link.resolve() == environment.root.resolve()
    detail = f"stack {environment.name} of {state}"
    context.require("stack_is_known", known, detail if known else f"not the {detail}")
    number = chosen_repository(context)
    site = repositories(context)[number]
    survives = site.name != context.home.name
    context.require("repository_survives", survives, f"repository {number} is at site {site.name}")
    newest = backups_in(context, number)[-1]
    context.require("backup_survives", not newest.error, f"{newest.label} in repository {number}")


def _bring_back(context: Context) -> None:
    """Make of the lost site what is not made yet; the topology then takes it in."""
    if context.marked("site_going") is not None and context.marked("site_rebuilt") is None:
        _lost(context).machine.end_strays({"pgbackrest"})
        _rebuild(context)
        context.mark("site_rebuilt")


@verb(undo=_bring_back)
def delete_site(context: Context) -> None:
    """Delete everything of the dead site: configuration, keys, data, repository, logs."""
    if context.marked("site_emptied") is not None:
        return
    server, survivor = _lost(context), context.servers[context.away.name]
    machine = server.machine
    context.require("survivor_serves", survivor.role() is Role.PRIMARY, survivor.site.name)
    # Also after a crash in the middle of it: nothing of the site runs, and nobody starts it.
    topology.fence(context, context.home.name)
    if not fenced(server).exists():
        raise Refused(f"{fenced(server)} is not there", "resume the run: the promotion sets it")
    topology.close_archive_gap(context, survivor)
    context.mark("site_going")
    files = sum(1 for _ in machine.directory.rglob("*"))
    machine.check(context.token)
    shutil.rmtree(machine.directory, ignore_errors=True)
    context.mark("site_emptied")
    detail = f"{files} files and directories below {machine.directory}"
    context.require("site_is_empty", not machine.directory.exists(), detail)


@verb()
def rebuild_machine(context: Context) -> None:
    """Let Pulumi make the machine of the lost site, empty."""
    if context.marked("site_rebuilt") is None:
        _apply_stack(context, f"machine-{context.home.name}")
    context.require("machine_runs", _lost(context).machine.is_running(), context.home.name)


@verb()
def restore_site_database(context: Context) -> None:
    """Restore the database of the lost site from a backup at the other one, as its standby."""
    server, number = _lost(context), chosen_repository(context)
    began = time.monotonic()
    finished = restore_standby(
        server,
        context.token,
        context.primary,
        repository=number,
        timeout_seconds=context.seconds_left,
    )
    if finished is None:
        return  # by an earlier attempt
    files, _ = read_restore_log(finished.output)
    detail = f"{len(files)} files from repository {number} in {time.monotonic() - began:.1f} s"
    context.require("restored_from_backup", bool(files), detail)


@verb()
def rebuild_site(context: Context) -> None:
    """Let Pulumi make all the rest: store, database server, ERP; the standby streams."""
    if context.marked("site_rebuilt") is None:
        _rebuild(context)
    server = _lost(context)
    name = server.settings.application_name
    lag = context.primary.await_streaming(name, timeout_seconds=context.seconds_left)
    context.check("standby_streams", True, f"{name}, {lag.flush_lag_bytes} bytes behind")
    context.mark("site_rebuilt")


def _credit_invoice(context: Context) -> None:
    """Credit the drill's invoice in full: a posted one stays in the books, its number is taken."""
    erp = _accountant(context)
    for found in erp.read(_INVOICE, _invoices(context, erp), ["id", "state"]):
        if found["state"] == "posted":
            start = {"with_refund": True, "with_refund_allowed": True, "invoice_date": None}
            erp.wizard(f"{_INVOICE}.credit", "credit", {"start": start}, _INVOICE, found["id"])
        elif found["state"] == "draft":
            erp.delete(_INVOICE, [found["id"]])
    erp.logout()


@verb(undo=_credit_invoice)
def post_invoice(context: Context) -> None:
    """Post an invoice through the front door, at the rebuilt site; it is credited in the end."""
    context.require("home_is_primary", _lost(context).role() is Role.PRIMARY, context.home.name)
    erp = _accountant(context)
    made = _invoices(context, erp)
    if not made:
        # Like the newest one of the company (no credit note): its customer, lines and taxes.
        posted = ["state", "in", ["posted", "paid"]]
        models = erp.search(_INVOICE, [["type", "=", "out"], posted, ["total_amount", ">", 0]])
        if not models:
            raise StepFailed("the ERP has no posted invoice to copy")
        likeness = {"description": _description(context)}
        made = erp.call(f"model.{_INVOICE}.copy", [max(models)], likeness)
    erp.call(f"model.{_INVOICE}.post", made)
    found = erp.read(_INVOICE, made, ["number", "state"])[0]
    context.mark("invoice_posted")
    erp.logout()
    done = found["state"] == "posted" and bool(found["number"])
    context.require("invoice_posted", done, f"{found['number']}, {found['state']}")


@verb()
def refill_evidence(context: Context) -> None:
    """Copy the evidence that the other site kept into the new store, under locks as long."""
    source, target = (store_of(context, site) for site in (context.away, context.home))
    bucket, fresh = source.bucket("evidence"), target.bucket("evidence")
    there = {one.key for one in target.versions(fresh) if one.is_latest}
    kept = [one for one in source.versions(bucket) if one.is_latest]
    now, least = datetime.now(UTC), context.environment.retention.object_lock_days

    def copy(one: ObjectVersion) -> None:
        _, until = source.retained_until(bucket, one.key, one.version)
        days = max(least, (until - now) / timedelta(days=1))
        target.put_locked(fresh, one.key, source.get(bucket, one.key), days=days)

    wanted = [one for one in kept if one.key not in there]
    # A log's checkpoint says that its tiles are there: after them, whenever this is killed.
    last = [one for one in wanted if PurePosixPath(one.key).name == "checkpoint"]
    side_by_side(copy, [one for one in wanted if one not in last])
    side_by_side(copy, last)
    held = {(one.key, one.size_bytes) for one in target.versions(fresh) if one.is_latest}
    missing = [one.key for one in kept if (one.key, one.size_bytes) not in held]
    detail = f"{len(kept) - len(missing)} of {len(kept)} objects of site {context.away.name}"
    context.check("evidence_at_both_sites", not missing, detail)


def _lost(context: Context) -> PostgreSQL:
    return context.servers[context.home.name]


def _rebuild(context: Context) -> None:
    """Every part of the lost site, and then the stanza in its store, which the survivor makes."""
    made = _apply_stack(context, f"*-{context.home.name}")
    detail = ", ".join(f"{count} {name}" for name, count in made.items() if count)
    context.check("stack_applied", made.get("update", 0) > 0, detail)
    _apply_stack(context, f"pgbackrest-{context.away.name}")


def _apply_stack(context: Context, parts: str) -> dict[str, int]:
    """`anlan up --refresh` of these parts alone; waits for a pulumi that a killed run left.

    Raises InfrastructureError naming the part that failed, Violated when a policy refuses it.
    """
    from stacks import automation  # noqa: PLC0415
    from stacks.failures import Violated  # noqa: PLC0415

    def report(event: automation.PartEvent) -> None:
        if event.state in {"done", "failed"} and event.action != "refresh":
            context.journal.write("part", part=event.part, action=event.action, state=event.state)

    while True:
        try:
            return automation.up(
                context.environment.name, {}, report, refresh=True, parts=[parts]
            ).changes
        except Violated:
            raise
        except Refused as error:
            if context.seconds_left <= _POLL_SECONDS:
                raise InfrastructureError(error.what, error.todo) from error
            time.sleep(_POLL_SECONDS)


def _accountant(context: Context) -> Erp:
    """A session of the ERP's administrator, through the front door: the drill user may not post."""
    door, database = context.environment.front_door, context.home.erp.database
    erp = Erp(door.url, database, context.environment.tls.ca_file, timeout_seconds=60.0)
    erp.login(context.provisioner.login_of("erp-admin"))
    return erp


def _description(context: Context) -> str:
    return f"{marker(context.run_id)}invoice"


def _invoices(context: Context, erp: Erp) -> list[int]:
    return erp.search(_INVOICE, [["description", "=", _description(context)]])
