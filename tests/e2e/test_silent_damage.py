"""Drills that recover from damage: rows that went wrong in silence, and ransomware."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.drivers.objectstore import ObjectStore
from orchestrator.drivers.pgbackrest import PgBackRest
from orchestrator.drivers.postgresql import PostgreSQL
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment
from orchestrator.model.errors import InfrastructureError
from tests.commands import run_drill, state_for

FAST = ["-p", "observe_seconds=1"]


@pytest.fixture(scope="module")
def state(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory for the drills of this module, and a backup for them."""
    backups = PgBackRest(environment, environment.starting_primary)
    for repository in (1, 2):
        assert not backups.backup("full", repository=repository).error
    return state_for(environment, tmp_path_factory.mktemp("damage"))


def drill(state: Path, environment: Environment, *arguments: str) -> dict[str, Any]:
    """Run a drill to its end; returns its JSON and, as `notes`, what its journal keeps by name."""
    _, result = run_drill(state, environment, *arguments)
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
    reasons = found["derived"]["reasons"]
    assert ["no_damage_found" in why for why in reasons] == [True], reasons
    window = found["notes"]["window"]
    assert window["first_damaged"]["xid"] == row[1]
    assert window["first_damaged"]["violated"] == {"party_codes_agree": [str(row[0])]}
    assert window["backup"] != held.label
    assert found["checks"]["party_codes_agree"]["ok"] is True, "the twin is from before it"


def test_what_is_locked_survives_an_attacker_with_the_database_keys(
    state: Path, environment: Environment
) -> None:
    result = drill(
        state, environment, "ransomware", *FAST, "-p", "wal=switch", "-p", "lock_seconds=60"
    )
    assert result["verdict"] == "pass", result["derived"]["reasons"]
    attempts, checks = result["notes"]["attempts"], result["checks"]
    granted = set(attempts["granted"])
    assert {"hide by a delete marker", "overwrite with garbage"} <= granted
    assert granted.isdisjoint({"delete a locked version", "shorten a retention"})
    assert attempts["refused"]["delete a locked version"] > 10
    for name in ("newest_hidden", "database_encrypted", "copy_is_a_repository", "no_copy_left"):
        assert checks[name]["ok"] is True
    phases = [phase["name"] for phase in result["derived"]["phases"]]
    assert phases == ["isolate", "rescue", "fetch", "recover", "application"]
    found = result["derived"]["ledger"]
    assert 0 < found["recovered"] < found["acknowledged"], "what was not archived is lost, by key"
    assert 0 < result["derived"]["rpo_seconds"] < 60
    for site in environment.sites.values():
        store = ObjectStore(environment, site, Secrets(environment).kv(site.object_store.secret))
        bucket = store.bucket("backup")
        assert not store.versions(bucket, "drill-")
        assert not store.delete_markers(bucket, "drill-")


def test_a_lock_of_its_own_can_not_be_shortened_and_ends(
    environment: Environment,
) -> None:
    site = environment.sites["b"]
    store = ObjectStore(environment, site, Secrets(environment).kv(site.object_store.secret))
    bucket, until = store.bucket("backup"), datetime.now(UTC) + timedelta(seconds=4)
    (source,) = store.versions(bucket)[:1]
    store.copy_locked(bucket, source, "drill-test/own", until)
    (own,) = store.versions(bucket, "drill-test/")
    mode, ends = store.own_lock(bucket, own) or ("", until)
    assert (mode, ends <= until) == ("COMPLIANCE", True)
    with pytest.raises(InfrastructureError, match="object protected by object lock"):
        store.lock(bucket, own, datetime.now(UTC) + timedelta(seconds=1))
    while store.remove_all(bucket, "drill-test/"):
        time.sleep(0.2)
    assert datetime.now(UTC) >= ends
    assert not store.versions(bucket, "drill-test/")
