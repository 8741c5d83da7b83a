"""Verbs of the corruption drill: a record is damaged in silence, at a moment that stays sealed.

The damage is one UPDATE of a record that the drill itself made through the ERP, past the ERP. In
the same transaction it leaves a key in the ledger's table. When it came is known to a sealed file
alone, whose digest goes to the journal before; the search does not read it.
"""

from __future__ import annotations

import hashlib
import json
import random
import secrets
import time
from collections.abc import Mapping
from typing import Any

from psycopg import sql

from orchestrator.drivers.files import write_atomically
from orchestrator.steps.backup import marker_text
from orchestrator.steps.context import Context, StepFailed
from orchestrator.steps.registry import verb

_SEALED = "sealed.json"
_BROKEN = "party_codes_agree"
_NONE = "none"


@verb()
def damage_marker(context: Context) -> None:
    """Damage the marker's record past the ERP, at a drawn moment, in one transaction."""
    if context.options["damage"] == _NONE:
        context.note("damage", {"kind": _NONE})
        time.sleep(float(context.options["seconds"]))
        return
    sealed = _seal(context)
    while time.time() < sealed["at_unix"]:
        time.sleep(0.001)
    name = marker_text(context)
    with (
        context.primary.connect_local(context.home.database.name) as connection,
        connection.transaction(),
    ):
        made = connection.execute(
            "INSERT INTO anlan.ledger (run, key) VALUES (%s, %s) ON CONFLICT DO NOTHING",
            (context.run_id, sealed["key"]),
        ).rowcount
        if made:  # else an earlier attempt has done it
            # Its code becomes another one; what the ERP derives from the code does not follow.
            changed = connection.execute(
                sql.SQL("UPDATE party_party SET code = code || {} WHERE name = %s").format(
                    sql.Literal("-damaged")
                ),
                (name,),
            ).rowcount
            if changed != 1:
                raise StepFailed(f"{changed} parties are named {name}, one must be damaged")
    time.sleep(max(0.0, sealed["until_unix"] - time.time()))
    context.check("record_damaged", True, "one row of the drill's own party, past the ERP")


def _seal(context: Context) -> Mapping[str, Any]:
    """Draw the moment, keep it in a file of the run, and its digest in the journal."""
    file = context.directory / _SEALED
    if context.noted("damage") is None:
        seconds, now = float(context.options["seconds"]), time.time()
        drawn = {
            "key": f"damage-{secrets.token_hex(16)}",
            "at_unix": now + random.SystemRandom().uniform(0, seconds),
            "until_unix": now + seconds,
        }
        write_atomically(file, json.dumps(drawn), mode=0o600)
        context.note("damage", {"kind": "code", "sha256": _digest(drawn), "breaks": _BROKEN})
    sealed: dict[str, Any] = json.loads(file.read_text())
    return sealed


def _digest(drawn: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(drawn, sort_keys=True).encode()).hexdigest()


@verb()
def check_window(context: Context) -> None:
    """Open the seal, and compare the window that was found with the moment that was drawn."""
    window, damage = context.noted("window") or {}, context.noted("damage") or {}
    first = window["first_damaged"]
    context.check(
        "probes_within_limit",
        window["probes"] <= window["limit"],
        f"{window['probes']} twins asked for {window['commits']} commits, "
        f"at most {window['limit']}",
    )
    if damage["kind"] == _NONE:
        words = _words(window) if first else f"{window['rules']} invariants hold"
        context.check("no_damage_found", first is None, f"nothing was damaged: {words}")
        return
    opened = context.noted("damage_opened")
    if opened is None:
        drawn = json.loads((context.directory / _SEALED).read_text())
        with context.primary.connect_local(context.home.database.name) as connection:
            row = connection.execute(
                "SELECT xmin::text FROM anlan.ledger WHERE run = %s AND key = %s",
                (context.run_id, drawn["key"]),
            ).fetchone()
        opened = context.note("damage_opened", {"drawn": drawn, "xid": row[0] if row else None})
    (context.directory / _SEALED).unlink(missing_ok=True)
    key = opened["drawn"]["key"]
    sealed = _digest(opened["drawn"]) == damage["sha256"]
    context.check("seal_unbroken", sealed, f"sha256 {damage['sha256'][:16]}… from before")
    if first is None:
        context.check("window_is_the_moment", False, "no damage was found")
        return
    context.check(
        "window_is_the_moment",
        (first["xid"], first["key"]) == (opened["xid"], key)
        and first["number"] == window["last_clean"]["number"] + 1,
        f"{_words(window)}; drawn: transaction {opened['xid']}",
    )
    violated = sorted(first["violated"])
    context.check(
        "only_the_damage_is_violated",
        violated == [damage["breaks"]],
        f"the first damaged twin violates {', '.join(violated)}",
    )
    recovered = json.loads((context.raw / "recovered.json").read_text())["keys"]
    context.check(
        "damage_absent_when_clean",
        key not in recovered,
        f"the damage's key is {'' if key in recovered else 'not '}in the last clean twin",
    )


def _words(window: Mapping[str, Any]) -> str:
    clean, damaged = window["last_clean"], window["first_damaged"]
    return (
        f"clean up to transaction {clean['xid'] or 'of the backup'} ({clean['utc']}), "
        f"damaged from {damaged['xid']} ({damaged['utc']})"
    )
