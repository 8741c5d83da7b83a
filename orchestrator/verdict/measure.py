"""What was measured in a run: RTO with its phases, RPO by key, outages, and what follows from them.

Pure, from the raw data alone; `verdict.derive` makes the verdict of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.model.errors import InfrastructureError
from orchestrator.verdict import availability, exposure, ledger, primaries
from orchestrator.verdict.journal import Journal, journal_of

# The parts of the RTO: the mark that ends each, from the mark before it; the first begins at
# the mark `fault` (the injected fault, or the order to restore).
_PHASES = {
    "detected": "detect",
    "decided": "decide",
    "degraded": "degrade",
    "drained": "drain",
    "fenced": "fence",
    "promoted": "promote",
    "routed": "route",
    "first_erp_write": "application",
    "twin_made": "isolate",
    "located": "locate",
    "rescued": "rescue",
    "restored": "fetch",
    "twin_open": "recover",
    "updated": "update",
    "clone_promoted": "promote",
    "twin_served": "application",
    "secrets_lost": "lose",
    "snapshot_fetched": "fetch",
    "secrets_restored": "recover",
    "secrets_unsealed": "unseal",
    "secrets_served": "application",
}


class Steps:
    """The step journal, read: what each step and undo came to, checks, marks, notes."""

    def __init__(self, entries: Sequence[Mapping[str, Any]]) -> None:
        self.entries = [entry for entry in entries if entry["kind"] != "header"]
        boots = {entry["boot_id"] for entry in entries if entry["kind"] == "header"}
        self.one_boot = len(boots) == 1
        self.start_ns = int(entries[0]["t"]) if entries else 0

    def mark(self, name: str) -> int | None:
        """The first mark of a name."""
        for entry in self.entries:
            if entry["kind"] == "mark" and entry["name"] == name:
                return int(entry["t"])
        return None

    def seconds(self, t_ns: int) -> float:
        """Seconds since the run's first step."""
        return rounded((t_ns - self.start_ns) / 1e9)

    def of(self, begin: str, end: str, step: str) -> tuple[int | None, Mapping[str, Any] | None]:
        """When something first began, and its last end."""
        began = [e for e in self.entries if e["kind"] == begin and e["step"] == step]
        ended = [e for e in self.entries if e["kind"] == end and e["step"] == step]
        return (int(began[0]["t"]) if began else None), (ended[-1] if ended else None)

    def checks(self) -> list[dict[str, Any]]:
        """The last word of each check, in the order of its first."""
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for entry in self.entries:
            if entry["kind"] == "check":
                key = (str(entry["step"]), str(entry["name"]))
                value = {name: entry[name] for name in ("step", "name", "ok", "detail")}
                found[key] = value
        return list(found.values())


def measure(
    plan: Mapping[str, Any], steps: Steps, raw: Mapping[str, Any], doubts: list[str]
) -> dict[str, Any]:
    """RTO with its phases, RPO from the ledger, outages, and the checks that follow from raw."""
    journals = {name: _journal(name, raw, doubts) for name in ("ledger", "availability")}
    watch = _journal("primaries", raw, doubts)
    clients, written = journals["availability"], journals["ledger"]
    fault, after = steps.mark("fault"), steps.mark("fault_done")
    first_write = None
    if clients and after is not None:
        first_write = availability.first_ok_after(clients, after)
    served = first_write
    if after is None:
        served = steps.mark("twin_served") or steps.mark("secrets_served")
    phases = _phases(steps, fault, first_write) if served is not None else []
    target = (steps.mark("target"), steps.mark("target_end") or steps.mark("target"))
    # An attack is found later than it came.
    lost_at = steps.mark("attacked") or after or fault
    rpo = _rpo(written, raw.get("recovered"), lost_at, *target)
    outages = (
        [
            {
                "from_seconds": steps.seconds(one.from_ns),
                "seconds": rounded(one.seconds),
                "failures": one.failures,
            }
            for one in availability.outages(clients)
        ]
        if clients
        else []
    )
    checks = _primary_checks(steps, watch, doubts) + rpo.pop("checks")
    if clients and fault is not None and plan.get("impact") == "none":
        checks.append(_unharmed(clients, fault))
    checks += _exposure_checks(steps, written, clients) + _lag_checks(plan, steps)
    rto = _seconds_between(fault, served)
    measured = {"rto_seconds": rto, **rpo, "phases": phases, "outages": outages, "checks": checks}
    if "rebuild_seconds" in plan["targets"]:
        ends = steps.mark("site_emptied"), steps.mark("invoice_posted")
        measured["rebuild_seconds"] = _seconds_between(*ends)
    return measured


def _journal(name: str, raw: Mapping[str, Any], doubts: list[str]) -> Journal | None:
    if name not in raw:
        return None
    try:
        return journal_of(raw[name], f"raw/{name}.jsonl")
    except InfrastructureError as error:
        doubts.append(error.what)
        return None


def _phases(steps: Steps, fault: int | None, first_write: int | None) -> list[dict[str, Any]]:
    marks = {name: steps.mark(name) for name in _PHASES}
    marks["first_erp_write"] = first_write
    found, before = [], fault
    if fault is None:
        return []
    for name, phase in _PHASES.items():
        at = marks[name]
        if at is None or before is None:
            continue
        # The routed door may serve a client before the mark is written: no phase is negative.
        at = max(at, before)
        found.append(
            {
                "name": phase,
                "from_seconds": rounded((before - fault) / 1e9),
                "seconds": rounded((at - before) / 1e9),
            }
        )
        before = at
    return found


def _rpo(
    written: Journal | None,
    recovered: Any,
    fault: int | None,
    target: int | None,
    target_end: int | None,
) -> dict[str, Any]:
    """Lost writes by key; for a point in time before the ledger, lost business records.

    What was acknowledged up to `target` must be there, what was sent after `target_end` must not.
    """
    nothing: dict[str, Any] = {
        "rpo_seconds": None,
        "rpo_transactions": None,
        "ledger": None,
        "checks": [],
    }
    if written is None or not isinstance(recovered, dict):
        return nothing
    keys, checks = recovered["keys"], []
    if target_end is not None:
        later = ledger.sent_after(written, target_end)
        there = later & set(keys)
        detail = f"{len(there)} of {len(later)} keys sent after the target are in the twin"
        ok = not there if later else None
        checks.append(check_of("reconcile", "nothing_after_target", ok, detail))
    rows = recovered.get("rows")
    if rows:
        detail = (
            f"{len(rows['missing'])} of {rows['expected']} records from before the target are "
            f"missing, {len(rows['later'])} from after it are there"
        )
        ok = None if not rows["expected"] else not rows["missing"] and not rows["later"]
        checks.append(check_of("reconcile", "business_records", ok, detail))
    try:
        found = ledger.reconcile(written, keys, fault, until_ns=target)
    except InfrastructureError:
        if not rows or not rows["expected"]:
            return {**nothing, "checks": checks}
        missing = len(rows["missing"])
        rpo = {"rpo_seconds": None if missing else 0.0, "rpo_transactions": missing}
        return {**nothing, **rpo, "checks": checks}
    return {
        "rpo_seconds": rounded(found.rpo_seconds),
        "rpo_transactions": found.rpo_transactions,
        "ledger": {
            "acknowledged": found.acknowledged,
            "recovered": found.recovered,
            "lost_keys": list(found.lost),
            "in_doubt_committed": len(found.in_doubt_committed),
            "in_doubt_absent": len(found.in_doubt_absent),
        },
        "checks": checks,
    }


def _primary_checks(steps: Steps, watch: Journal | None, doubts: list[str]) -> list[dict[str, Any]]:
    """Two primaries were seen, or both sites were watched and no two were; else nobody knows."""
    name, promoted = "never_two_primaries", steps.mark("promoted")
    if watch is None:
        if promoted is None:
            return []
        return [check_of("watch", name, None, "a standby was promoted, and nobody watched")]
    seen = primaries.judge(watch)
    if not all(seen.answers.values()):
        doubts.append(f"the primaries were not all seen: {seen.answers}")
    detail = (
        f"{len(seen.dual)} overlaps in {sum(seen.answers.values())} answers; "
        f"no primary for {seen.longest_gap_seconds:.2f} s at most"
    )
    if not seen.dual and promoted is not None:
        ends = [int(entry["t"]) for entry in steps.entries if entry["kind"] == "end"]
        until = max(ends, default=promoted)
        blind = primaries.blind_seconds(watch, steps.mark("fault") or promoted, until)
        if blind > primaries.BLIND_SECONDS:
            detail += f"; a site was not watched for {blind:.1f} s"
            return [check_of("watch", name, None, detail)]
    return [check_of("watch", name, not seen.dual, detail)]


def _unharmed(clients: Journal, fault: int) -> dict[str, Any]:
    """Who drills with impact `none` says that no client sees it."""
    later = [entry for entry in clients.entries if entry["t"] >= fault]
    kinds = [entry["kind"] for entry in later]
    ok, failed = kinds.count("ok"), kinds.count("error")
    detail = f"{failed} of {ok + failed} ERP requests since the fault failed"
    return check_of(
        "clients", "no_erp_request_failed", None if not ok + failed else not failed, detail
    )


def _exposure_checks(
    steps: Steps, written: Journal | None, clients: Journal | None
) -> list[dict[str, Any]]:
    """What was acknowledged by one site alone, and that nothing was before it went on alone."""
    cut, alone, until = steps.mark("fault_done"), steps.mark("exposed"), steps.mark("protected")
    if cut is None or alone is None or written is None:
        return []
    checks = []
    if alone > cut:  # commits waited for the standby (tier VIP)
        early = exposure.acknowledged_between(written, cut, alone)
        detail = f"{early} keys sent after the cut were acknowledged before the primary was alone"
        checks.append(check_of("watch", "promise_kept", not early, detail))
    if until is None:
        return [*checks, check_of("watch", "exposure_ended", False, "it did not end in the drill")]
    seen = exposure.exposure(alone, until, written, clients)
    detail = (
        f"for {seen.seconds:.2f} s one site alone had what was acknowledged: at most "
        f"{seen.transactions} ledger transactions and {seen.erp_writes} ERP writes"
    )
    return [*checks, check_of("watch", "exposure_ended", seen.transactions > 0 or None, detail)]


def _lag_checks(plan: Mapping[str, Any], steps: Steps) -> list[dict[str, Any]]:
    """How far production's standby was behind at most, for a drill that must not disturb it."""
    budget = plan.get("abort", {}).get("lag_bytes")
    if budget is None or plan["impact"] != "isolated":
        return []
    looks = [entry["bytes"] for entry in steps.entries if entry["kind"] == "lag"]
    seen = [int(one) for one in looks if one is not None]
    detail = (
        f"at most {max(seen, default=0)} bytes in {len(seen)} of {len(looks)} looks; the budget is "
        f"{budget:g} bytes for {plan['abort']['over_seconds']:g} s"
    )
    return [check_of("watch", "standby_lag", bool(seen) or None, detail)]


def check_of(step: str, name: str, ok: bool | None, detail: str) -> dict[str, Any]:
    return {"step": step, "name": name, "ok": ok, "detail": detail}


def _seconds_between(began: int | None, ended: int | None) -> float | None:
    return None if began is None or ended is None else rounded((ended - began) / 1e9)


def rounded(seconds: float) -> float:
    return round(seconds, 4)
