"""The rights of a real environment against a review that a person signed."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from orchestrator.collect import collect_kinds
from orchestrator.drivers.objectstore_accounts import StoreAccounts
from orchestrator.drivers.postgresql import PostgreSQL, Role
from orchestrator.drivers.secrets import Secrets
from orchestrator.evidence.keys import LocalSigner
from orchestrator.evidence.persons.access_reviews import (
    FOLDER,
    KEEP,
    Decision,
    keep_review,
    sign_review,
)
from orchestrator.model.access import right_from_json
from orchestrator.model.environment import Environment
from orchestrator.model.fact import Fact
from orchestrator.model.policy import Finding
from orchestrator.policy import Parameters, evaluate, parse_rules
from tests.contract.mutations.world import execute

POLICIES = Path(__file__).parents[2] / "policies"
ALICE = LocalSigner(Ed25519PrivateKey.generate())


@pytest.fixture
def reviewed(environment: Environment, secrets: Secrets, tmp_path: Path) -> Iterator[Environment]:
    """The environment with alice as a reviewer, who signed all its rights; undone afterwards."""
    rule = {
        "schema": "anlan.approvals/v1",
        "required": 0,
        "approvers": [{"name": "alice", "public_key": ALICE.public_key_pem()}],
    }
    with_rule = dataclasses.replace(environment, approvals=rule)
    folder, aside = environment.root / FOLDER, tmp_path / FOLDER
    if folder.exists():
        shutil.move(folder, aside)
    try:
        decisions = {
            subject: [Decision(right_from_json(one), KEEP) for one in fact.data["rights"]]
            for subject, fact in facts_of(with_rule, secrets).items()
        }
        _, content = sign_review(
            environment.name,
            decisions,
            rule,
            ALICE,
            reason="test",
            now=datetime.now(UTC),
        )
        keep_review(environment.root, content)
        yield with_rule
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if aside.exists():
            shutil.move(aside, folder)


@pytest.fixture
def primary(servers: dict[str, PostgreSQL]) -> PostgreSQL:
    (found,) = [server for server in servers.values() if server.role() is Role.PRIMARY]
    return found


def facts_of(environment: Environment, secrets: Secrets) -> dict[str, Fact]:
    facts = collect_kinds(environment, secrets, ["access_rights"])
    assert {fact.subject: fact.error for fact in facts if fact.status != "observed"} == {}
    return {fact.subject: fact for fact in facts}


def judge(environment: Environment, secrets: Secrets) -> dict[str, Finding]:
    rules = parse_rules(
        {
            path.relative_to(POLICIES).as_posix(): path.read_text()
            for path in POLICIES.rglob("*.yaml")
        }
    )
    descriptor = json.loads((environment.root / "environment.json").read_text())
    chosen = [one for one in rules.policies if one.kind == "access_rights"]
    facts = facts_of(environment, secrets).values()
    parameters = Parameters(descriptor, rules.baseline)
    return {one.policy.id: one for one in evaluate(chosen, facts, parameters, datetime.now(UTC))}


@contextmanager
def done(server: PostgreSQL, database: str, do: list[str], undo: list[str]) -> Iterator[None]:
    """Statements done for a while."""
    execute(server, *do, database=database)
    try:
        yield
    finally:
        execute(server, *undo, database=database)


def new_user(server: PostgreSQL) -> AbstractContextManager[None]:
    return done(
        server,
        server.site.database.name,
        [
            "INSERT INTO res_user (login, name, active) VALUES ('test-eve', 'Eve', true)",
            'INSERT INTO "res_user-res_group" ("user", "group") SELECT u.id, g.id'
            " FROM res_user u, res_group g WHERE u.login = 'test-eve' AND g.name = 'Accounting'",
        ],
        [
            'DELETE FROM "res_user-res_group" WHERE "user" IN'
            " (SELECT id FROM res_user WHERE login = 'test-eve')",
            "DELETE FROM res_user WHERE login = 'test-eve'",
        ],
    )


def new_role(server: PostgreSQL) -> AbstractContextManager[None]:
    return done(
        server,
        server.site.database.name,
        [
            "CREATE ROLE test_eve LOGIN",
            "GRANT pg_read_all_data TO test_eve",
            "GRANT UPDATE ON account_move TO test_eve",
        ],
        ["DROP OWNED BY test_eve", "DROP ROLE test_eve"],
    )


def test_a_new_erp_user_and_a_new_role_are_found(
    reviewed: Environment, secrets: Secrets, primary: PostgreSQL, token: int
) -> None:
    before = judge(reviewed, secrets)
    assert {one.status for one in before.values()} == {"satisfied"}, before
    with new_user(primary), new_role(primary):
        during = judge(reviewed, secrets)
    assert during["access-review-fresh"].status == "satisfied"
    as_reviewed = during["access-as-reviewed"]
    said = {one.subject: one.reason for one in as_reviewed.observations if one.reason}
    assert as_reviewed.status == "not-satisfied"
    assert said == {
        "common/erp": "not reviewed: test-eve on group Accounting: member, "
        "test-eve on the ERP: login",
        "common/postgresql": "not reviewed: test_eve on role pg_read_all_data: MEMBER, "
        "test_eve on table public.account_move of erp: UPDATE, test_eve on the server: LOGIN",
    }
    after = judge(reviewed, secrets)
    assert {one.status for one in after.values()} == {"satisfied"}


def test_a_review_that_was_changed_counts_for_nothing(
    reviewed: Environment, secrets: Secrets
) -> None:
    file = reviewed.root / FOLDER / "review.dsse.json"
    content = file.read_bytes()
    for wrong, says in (
        (content.replace(b'"sig":"', b'"sig":"AAAA', 1), "signature does not hold"),
        (b"", "it is no access review"),
        (None, "nobody has reviewed these rights"),
    ):
        file.unlink()
        if wrong is not None:
            file.write_bytes(wrong)
        found = judge(reviewed, secrets)
        assert {one.status for one in found.values()} == {"not-satisfied"}
        assert all(says in one.reason for one in found.values())
        file.write_bytes(content)


def test_rights_are_told_of_every_system(environment: Environment, secrets: Secrets) -> None:
    facts = facts_of(environment, secrets)

    def told(subject: str) -> set[tuple[str, str, str]]:
        return {
            (one["principal"], one["resource"], may)
            for one in facts[subject].data["rights"]
            for may in one["may"]
        }

    assert ("replicator", "the server", "REPLICATION") in told("common/postgresql")
    assert ("admin", "the ERP", "administrator") in told("common/erp")
    sales = ("group Sales", "model sale.sale", "create")
    assert sales in told("common/erp")
    assert ("AppRole orchestrator", "kv/data/object-store/*", "read") in told("common/secrets")
    assert ("AppRole provisioner", "kv/data/*", "update") in told("common/secrets")
    for name, site in environment.sites.items():
        bucket = f"bucket {site.object_store.buckets['backup']}"
        assert ("application", bucket, "everything, as owner") in told(f"{name}/object_store")
        assert ("application", "the store", "role user") in told(f"{name}/object_store")


def test_an_account_of_the_store_is_known_by_its_keys_to_nobody(
    environment: Environment, secrets: Secrets
) -> None:
    site = environment.starting_primary
    keys = secrets.kv(site.object_store.secret)
    assert set(StoreAccounts(environment, site, keys).accounts()) == {keys["access_key"]}
    text = json.dumps(facts_of(environment, secrets)[f"{site.name}/object_store"].data)
    assert [value for value in keys.values() if value in text] == []
