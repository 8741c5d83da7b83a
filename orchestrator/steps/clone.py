"""Verbs of the isolated failover: the standby's copy is promoted in a twin, production works on."""

from __future__ import annotations

from typing import Any

from orchestrator.drivers.postgresql_standby import conninfo
from orchestrator.probes import ledger
from orchestrator.steps.context import Context
from orchestrator.steps.failover import keep_recovered
from orchestrator.steps.registry import verb
from orchestrator.steps.restore import twin_database, twin_of
from orchestrator.verdict.journal import read_journal

_BAD = {"ledger": {"unknown", "no_connection", "refused"}, "availability": {"error"}}


def _remove(context: Context) -> None:
    twin_of(context).remove()


@verb()
def record_production(context: Context) -> None:
    """Note roles, timelines, slots and synchronous standbys of both sites."""
    context.note("production_before", _production(context))


@verb(undo=_remove)
def clone_standby(context: Context) -> None:
    """Copy the running standby into an isolated twin, and let it replay what it has."""
    if context.marked("cloned") is not None:
        return
    twin_of(context).create(ttl_seconds=float(context.options["ttl_seconds"]))
    standby, primary = context.servers[context.away.name], context.servers[context.home.name]
    context.note("clone", {"site": standby.site.name, "of": standby.role().value})
    # What is acknowledged from here on may be in the copy; what was before must be.
    context.mark("target")
    database = twin_database(context)
    source = conninfo(primary, standby.site, "replicator")
    copied = database.clone(source, timeout_seconds=context.seconds_left)
    context.mark("target_end")
    opened = database.start(standby=True, timeout_seconds=context.seconds_left)
    detail = f"of site {standby.site.name}: copied in {copied:.2f} s, readable {opened:.2f} s later"
    context.check("standby_cloned", True, detail)
    context.mark("cloned")


@verb()
def promote_clone(context: Context) -> None:
    """Promote the copy, alone in its network namespace: a timeline of its own."""
    context.mark("fault")
    seconds = twin_database(context).promote(timeout_seconds=context.seconds_left)
    context.mark("clone_promoted")
    context.check("clone_promoted", True, f"in {seconds:.2f} s, in the twin's namespace")


@verb()
def reconcile_clone(context: Context) -> None:
    """Take from the clone the ledger's keys it holds: all from before the copy, none from after."""
    database = twin_database(context)
    with database.connect_local(database.site.database.name) as connection:
        keys = ledger.recovered_keys(connection, context.run_id)
    keep_recovered(context, keys, f"clone {context.run_id}")


@verb()
def check_production(context: Context) -> None:
    """Production noticed nothing: the same roles, timelines and slots, and no write that failed."""
    before, now = (context.noted("production_before") or {}), _production(context)
    changed = [f"{name} {before[name]} → {now[name]}" for name in now if before[name] != now[name]]
    detail = "; ".join(changed) or ", ".join(f"{name} {value}" for name, value in now.items())
    context.check("production_unchanged", not changed, detail)
    for name, bad in _BAD.items():
        kinds = [entry["kind"] for entry in read_journal(context.probe_directory(name)).entries]
        failed = sum(kind in bad for kind in kinds)
        good = kinds.count("acknowledged") + kinds.count("ok")
        context.check(
            f"{name}_undisturbed", None if not good else not failed, f"{failed} failed, {good} not"
        )


def _production(context: Context) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, server in context.servers.items():
        found[f"{name}_role"] = server.role().value
        found[f"{name}_timeline"] = server.timeline()
        found[f"{name}_slots"] = ", ".join(sorted(server.slots())) or "none"
    found["synchronous"] = context.servers[context.home.name].synchronous_names()
    return found
