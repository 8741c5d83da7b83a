"""Verbs of the upgrade rehearsal: the twin's ERP becomes the new version, and its books must not.

The new version is a lock file of the operator's (parameter `requirements`); without one the
modules of the installed version are updated, as after a change of their code.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from orchestrator.drivers import erp_version
from orchestrator.drivers.twin_erp import TwinErp
from orchestrator.probes.business_totals import business_totals
from orchestrator.probes.invariants import check_invariants
from orchestrator.probes.twin_client import transact
from orchestrator.steps.context import Context
from orchestrator.steps.registry import verb
from orchestrator.steps.restore import twin_database, twin_of


@verb()
def record_books(context: Context) -> None:
    """Note what the twin's books say before anything is changed: totals and invariants."""
    if context.noted("books_before") is None:
        context.note("books_before", _books(context))


@verb()
def build_erp_version(context: Context) -> None:
    """Build the new version beside the twin; note which packages change."""
    requirements = str(context.options["requirements"])
    if requirements:
        file = Path(requirements).expanduser()
        erp_version.build(_venv(context), file, timeout_seconds=context.seconds_left)
    before = erp_version.packages(context.home.erp.venv)
    after = erp_version.packages(_erp(context).venv)
    context.note("versions", {"before": before, "after": after})
    changed = [
        f"{name} {before.get(name, 'new')} → {after.get(name, 'gone')}"
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]
    same = f"none: trytond {before['trytond']} again, its modules are updated"
    context.check("packages_that_change", True, ", ".join(changed) or same)


@verb()
def update_twin_erp(context: Context) -> None:
    """Update every module of the twin's database with the new version."""
    if context.marked("updated") is not None:
        return
    began = time.monotonic()
    _erp(context).update(timeout_seconds=context.seconds_left)
    seconds = time.monotonic() - began
    context.note("update", {"seconds": round(seconds, 3)})
    context.check("modules_updated", True, f"every module, in {seconds:.1f} s")
    context.mark("updated")


@verb()
def start_upgraded_erp(context: Context) -> None:
    """Start the new version on the twin; a client inside logs in, writes, reads back."""
    done = transact(_erp(context), context.erp_login, context.run_id)
    context.mark("twin_served")
    values = asdict(done)
    detail = ", ".join(
        f"{name} {value:.2f}" if isinstance(value, float) else f"{name} {value}"
        for name, value in values.items()
    )
    context.check("upgraded_erp_serves", done.is_complete, detail)
    wanted = (context.noted("versions") or {})["after"]["trytond"]
    same = wanted.startswith(done.version)
    context.check("new_version_answers", same, f"{done.version}, built is {wanted}")


@verb()
def compare_books(context: Context) -> None:
    """Ask the books again: what was true before the update is true after it, to the cent."""
    before: Mapping[str, Any] = context.noted("books_before") or {}
    after = _books(context)
    totals = before["totals"]
    moved = [
        f"{name} {totals[name]} → {after['totals'][name]}"
        for name in totals
        if totals[name] != after["totals"][name]
    ]
    detail = "; ".join(moved) or f"all {len(totals)} totals as before"
    context.check("totals_unchanged", not moved, detail)
    broken = {
        name: count
        for name, count in after["violations"].items()
        if count > before["violations"].get(name, 0)
    }
    told = ", ".join(f"{name}: {count}" for name, count in broken.items())
    detail = told or f"all {len(after['violations'])} invariants as before"
    context.check("invariants_unchanged", not broken, detail)


@verb()
def advise_upgrade(context: Context) -> None:
    """Predict how long production would be down, and say go or no-go."""
    updated = float((context.noted("update") or {})["seconds"])
    start, served = context.marked("updated"), context.marked("twin_served")
    started = ((served or 0) - (start or 0)) / 1e9
    factor, window = float(context.options["margin"]), float(context.options["window_seconds"])
    predicted = factor * (updated + started)
    context.note(
        "prediction",
        {
            "update_seconds": round(updated, 3),
            "start_seconds": round(started, 3),
            "margin": factor,
            "predicted_seconds": round(predicted, 3),
            "window_seconds": window,
        },
    )
    detail = (
        f"{predicted:.0f} s for production: {factor:g} × (update {updated:.1f} s + start "
        f"{started:.1f} s), the window is {window:g} s"
    )
    context.check("fits_the_window", predicted <= window, detail)
    bad = [
        str(one["name"])
        for one in context.journal.entries
        if one["kind"] == "check" and one["ok"] is not True
    ]
    advice = f"no-go: {', '.join(sorted(set(bad)))}" if bad else "go"
    context.check("advice_go", not bad, advice)


def _books(context: Context) -> dict[str, Any]:
    database = twin_database(context)
    with database.connect_local(database.site.database.name) as connection:
        return {
            "totals": business_totals(connection),
            "violations": {
                one.name: one.violations for one in check_invariants(connection, context.run_id)
            },
        }


def _venv(context: Context) -> Path:
    return twin_of(context).directory / "erp"


def _erp(context: Context) -> TwinErp:
    """The twin's ERP in the new version: built beside it, or the installed one."""
    database = twin_database(context)
    built = _venv(context) if (_venv(context) / ".complete").exists() else None
    return TwinErp(twin_of(context), database.site, database.port, venv=built)
