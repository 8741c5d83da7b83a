"""Drills that recover from damage: rows that went wrong in silence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.drivers.pgbackrest import PgBackRest
from orchestrator.drivers.postgresql import PostgreSQL
from orchestrator.model.environment import Environment
from tests.commands import anlan

FAST = ["-p", "observe_seconds=1"]


@pytest.fixture(scope="module")
def state(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory for the drills of this module, and a backup for them."""
    folder = tmp_path_factory.mktemp("damage")
    (folder / "env").mkdir()
    (folder / "env" / environment.name).symlink_to(environment.root)
    backups = PgBackRest(environment, environment.starting_primary)
    for repository in (1, 2):
        assert not backups.backup("full", repository=repository).error
    return folder


def drill(state: Path, environment: Environment, *arguments: str) -> dict[str, Any]:
    """Run a drill to its end; returns its JSON and, as `notes`, what its journal keeps by name."""
    name, *more = arguments
    done = anlan(state, "drill", "run", name, environment.name, "--json", *more)
    assert done.stdout, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    journal = (state / "runs" / result["run_id"] / "raw" / "steps.jsonl").read_text()
    entries = [json.loads(line) for line in journal.splitlines()]
    result["notes"] = {e["name"]: e["data"] for e in entries if e["kind"] == "note"}
    result["checks"] = {one["name"]: one for one in result["derived"]["checks"]}
    return result


def test_the_transaction_that_did_the_damage_is_found(
    state: Path, environment: Environment
) -> None:
    result = drill(state, environment, "corruption", *FAST)
    assert result["verdict"] == "pass", result["derived"]["reasons"]
    window = result["notes"]["window"]
    clean, damaged = window["last_clean"], window["first_damaged"]
    assert damaged["number"] == clean["number"] + 1
    assert damaged["key"] == result["notes"]["damage_opened"]["drawn"]["key"]
    assert (clean["violated"], list(damaged["violated"])) == ({}, ["party_codes_agree"])
    assert 0 < window["probes"] <= window["limit"] < 20
    assert result["derived"]["ledger"]["acknowledged"] > 0
    assert result["derived"]["rpo_transactions"] == 0
    phases = [phase["name"] for phase in result["derived"]["phases"]]
    assert phases == ["isolate", "locate", "fetch", "recover", "application"]
    wanted = {"amcheck", "nothing_after_target", "party_codes_agree", "twin_isolated", "no_residue"}
    assert wanted <= result["checks"].keys()


def test_damage_that_is_there_already_is_found_behind_a_backup_that_holds_it(
    state: Path, environment: Environment
) -> None:
    """A search that damages nothing finds what somebody else did, and says that it is there."""
    quiet = ["-p", "damage=none", *FAST, "-p", "repository=1"]
    clean = drill(state, environment, "corruption", *quiet)
    assert clean["verdict"] == "pass", clean["derived"]["reasons"]
    assert clean["notes"]["window"]["first_damaged"] is None

    site = environment.starting_primary
    with PostgreSQL(environment, site).connect_local(site.database.name) as connection:
        row = connection.execute(
            "UPDATE party_party SET code = code || 'x' WHERE id = (SELECT min(id) FROM party_party)"
            " RETURNING id, xmin::text"
        ).fetchone()
        assert row is not None
        try:
            held = PgBackRest(environment, site).backup("incr", repository=1)
            found = drill(state, environment, "corruption", *quiet)
        finally:
            connection.execute(
                "UPDATE party_party SET code = left(code, -1) WHERE id = %s", (row[0],)
            )
    assert (found["exit_code"], found["verdict"]) == (1, "fail")
    assert ["no_damage_found" in why for why in found["derived"]["reasons"]] == [True]
    window = found["notes"]["window"]
    assert window["first_damaged"]["xid"] == row[1]
    assert window["first_damaged"]["violated"] == {"party_codes_agree": [str(row[0])]}
    assert window["backup"] != held.label
    assert found["checks"]["party_codes_agree"]["ok"] is True, "the twin is from before it"
