"""Facts from a real environment, judged by the policies of the repository.

What a policy forbids is done here for real, found by name, and undone.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.collect import KINDS, bucket_objects, collect_kinds
from orchestrator.collect.handshake import endpoint_of, reach
from orchestrator.drivers.credentials import Credentials
from orchestrator.drivers.files import own
from orchestrator.drivers.objectstore import ObjectStore
from orchestrator.drivers.pgbackrest import PgBackRest
from orchestrator.drivers.postgresql import PostgreSQL, Role
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment, Site
from orchestrator.model.errors import InfrastructureError
from orchestrator.model.fact import Fact, facts_document, parse_facts
from orchestrator.model.schema import check
from orchestrator.policy import rederive_findings
from tests.contract.mutations.world import execute, reload_and_wait, setting

POLICIES = Path(__file__).parents[2] / "policies"
SUBJECTS = {
    "tls_endpoint": 12,
    "open_ports": 3,
    "client_trust": 4,
    "clock_offset": 2,
    "database_access": 2,
    "database_files": 2,
    "database_replication": 2,
    "database_roles": 2,
    "database_sessions": 2,
    "database_settings": 2,
    "erp_access": 1,
    "erp_accounts": 1,
    "erp_settings": 2,
    "audit_log": 3,
    "backup_repository": 2,
    "object_lock": 4,
    "approle": 2,
    "backup_archive": 2,
    "backup_settings": 2,
    "bucket_objects": 4,
    "host_files": 3,
    "host_programs": 3,
    "host_room": 3,
    "pki_role": 1,
    "secret_engine": 4,
    "secret_manager": 1,
    "secret_policies": 1,
    "static_credential": 1,
    "store_access": 2,
    "transit_key": 1,
    "negative_probe": 47,
    "access_rights": 5,
}
REVIEWED = ("access-review-fresh", "access-as-reviewed")
Judge = Callable[[Sequence[str]], dict[str, dict[str, Any]]]


@pytest.fixture
def primary(servers: dict[str, PostgreSQL]) -> PostgreSQL:
    (found,) = [server for server in servers.values() if server.role() is Role.PRIMARY]
    return found


@pytest.fixture
def standby(servers: dict[str, PostgreSQL]) -> PostgreSQL:
    (found,) = [server for server in servers.values() if server.role() is Role.STANDBY]
    return found


@pytest.fixture
def judge(environment: Environment, secrets: Secrets) -> Judge:
    """Collects some kinds and returns the findings about them by policy."""

    def judged(kinds: Sequence[str]) -> dict[str, dict[str, Any]]:
        found = findings(environment, collect_kinds(environment, secrets, kinds))
        return {item["policy"]: item for item in found}

    return judged


def findings(environment: Environment, facts: list[Fact]) -> list[dict[str, Any]]:
    rules = {
        path.relative_to(POLICIES).as_posix(): path.read_bytes()
        for path in POLICIES.rglob("*.yaml")
    }
    descriptor = json.loads((environment.root / "environment.json").read_text())
    recorded = parse_facts(json.loads(json.dumps(facts_document(facts))))
    return rederive_findings(rules, recorded, descriptor, datetime.now(UTC))["findings"]


def reason_of(finding: dict[str, Any], subject: str) -> str:
    return next(item["reason"] for item in finding["observations"] if item["subject"] == subject)


@contextlib.contextmanager
def stopped(server: PostgreSQL, program: str, url: str) -> Iterator[None]:
    """A program of a site stopped for a while; afterwards it answers again."""
    server.machine.program_stop(program)
    try:
        yield
    finally:
        server.machine.program_start(program)
        deadline = time.monotonic() + 30
        while True:
            try:
                reach(endpoint_of(url))
                break
            except InfrastructureError:
                assert time.monotonic() < deadline, url
                time.sleep(0.1)


def test_a_healthy_environment_passes_every_policy(
    environment: Environment, secrets: Secrets, primary: PostgreSQL, token: int
) -> None:
    backups = PgBackRest(environment, primary.site)
    fresh = datetime.now(UTC) - timedelta(hours=20)
    for repository in (1, 2):
        there = [item for item in backups.backups() if item.repository == repository]
        if not any(item.type == "full" and item.stopped > fresh for item in there):
            backups.backup("full", repository=repository)
    facts = collect_kinds(environment, secrets, KINDS)
    check(facts_document(facts), "facts")
    assert {kind: sum(fact.kind == kind for fact in facts) for kind in KINDS} == SUBJECTS
    assert [fact.error for fact in facts if fact.status != "observed"] == []
    assert all(fact.source and fact.query and fact.row_count for fact in facts)
    found = findings(environment, facts)
    # An environment without an approval rule names nobody who could review.
    wanted = "satisfied" if environment.approvals else "not-applicable"
    assert {one["policy"]: one["status"] for one in found if one["policy"] in REVIEWED} == (
        dict.fromkeys(REVIEWED, wanted)
    )
    not_passed = {
        item["policy"]: item["reason"]
        for item in found
        if item["status"] != "satisfied" and item["policy"] not in REVIEWED
    }
    assert not_passed == {}


def test_no_secret_is_in_a_fact(environment: Environment, secrets: Secrets) -> None:
    text = json.dumps(facts_document(collect_kinds(environment, secrets, KINDS)))
    held = json.loads(environment.secrets.credentials_file.read_text())
    hidden = [held["secret_id"], held["role_id"], secrets.database_login().password]
    hidden += [secrets.login_of(path).password for path in ("erp-database", "erp-probe")]
    for site in environment.sites.values():
        hidden += secrets.kv(site.object_store.secret).values()
    assert len(hidden) >= 7
    assert [value for value in hidden if value in text] == []


def test_an_unexpected_superuser_is_found_by_name(
    primary: PostgreSQL, judge: Judge, token: int
) -> None:
    execute(
        primary,
        "CREATE ROLE test_eve LOGIN SUPERUSER PASSWORD 'md5ab2c8e6f7c0a7a8c2b34f2f0f0a8a111'",
        "GRANT pg_write_server_files TO test_eve",
    )
    subject = f"{primary.site.name}/postgresql"
    try:
        found = judge(["database_roles", "database_settings"])
    finally:
        execute(primary, "DROP ROLE test_eve")
    assert reason_of(found["database-superusers"], subject) == "unexpected superusers: test_eve"
    assert reason_of(found["database-roles"], subject) == "unexpected roles: test_eve"
    assert "test_eve in pg_write_server_files" in found["database-privileges"]["reason"]
    assert "not stored as SCRAM: test_eve" in found["database-passwords"]["reason"]
    assert judge(["database_roles"])["database-superusers"]["status"] == "satisfied"


@pytest.mark.parametrize(
    "change",
    [
        (
            "INSERT INTO ir_model_access (model, active, perm_read, perm_write, perm_create,"
            " perm_delete, description) VALUES ('product.template', true, true, true, false,"
            " false, 'test of the collector')",
            "DELETE FROM ir_model_access WHERE description = 'test of the collector'",
            "open_by_row",
        ),
        (
            "UPDATE ir_model_access SET active = false WHERE model = 'product.template'"
            ' AND "group" IS NULL AND active',
            "UPDATE ir_model_access SET active = true WHERE model = 'product.template'"
            ' AND "group" IS NULL AND NOT active',
            "open_by_absence",
        ),
    ],
)
def test_a_model_opened_to_everybody_is_found_by_name(
    environment: Environment,
    secrets: Secrets,
    primary: PostgreSQL,
    token: int,
    change: tuple[str, str, str],
) -> None:
    make, undo, how = change
    name = primary.site.database.name
    before = collect_kinds(environment, secrets, ["erp_access"])
    execute(primary, make, database=name)
    try:
        during = collect_kinds(environment, secrets, ["erp_access"])
    finally:
        execute(primary, undo, database=name)
    after = collect_kinds(environment, secrets, ["erp_access"])
    assert "product.template" in during[0].data[how]
    verdicts = []
    for facts in (before, during, after):
        found = {item["policy"]: item for item in findings(environment, facts)}
        verdicts.append((found["erp-open-models"]["status"], found["erp-open-models"]["reason"]))
    # A product and its identifiers have no rows of their own: those of the template govern them.
    models = "product.identifier, product.product, product.template"
    opened = f"common/erp: models open to everybody: {models}"
    assert verdicts == [
        ("satisfied", ""),
        ("not-satisfied", opened),
        ("satisfied", ""),
    ]


def test_an_unexpected_erp_administrator_and_access_manager_are_found_by_name(
    primary: PostgreSQL, judge: Judge, token: int
) -> None:
    database = primary.site.database.name
    execute(
        primary,
        "INSERT INTO res_user (login, name, active, administrator)"
        " VALUES ('test-mallory', 'Mallory', true, true), ('test-trudy', 'Trudy', true, false)",
        "INSERT INTO res_group (name, active) VALUES ('test-managers', true)",
        'INSERT INTO "res_user-res_group" ("user", "group") SELECT u.id, g.id'
        " FROM res_user u, res_group g WHERE u.login = 'test-trudy' AND g.name = 'test-managers'",
        'INSERT INTO ir_model_access (model, active, perm_write, "group")'
        " SELECT 'ir.model.access', true, true, id FROM res_group WHERE name = 'test-managers'",
        database=database,
    )
    try:
        found = judge(["erp_access"])["erp-administrators"]
    finally:
        execute(
            primary,
            'DELETE FROM ir_model_access WHERE "group" IN'
            " (SELECT id FROM res_group WHERE name = 'test-managers')",
            'DELETE FROM "res_user-res_group" WHERE "group" IN'
            " (SELECT id FROM res_group WHERE name = 'test-managers')",
            "DELETE FROM res_group WHERE name = 'test-managers'",
            "DELETE FROM res_user WHERE login IN ('test-mallory', 'test-trudy')",
            database=database,
        )
    assert "unexpected administrators: test-mallory" in found["reason"]
    assert "may change users or access rights: test-trudy" in found["reason"]


def test_pgaudit_switched_off_is_found_by_its_setting_and_by_the_missing_line(
    primary: PostgreSQL, judge: Judge, token: int
) -> None:
    with setting(primary, "pgaudit.log", "none"):
        found = judge(["audit_log"])
    reason = reason_of(found["audit-database"], f"{primary.site.name}/postgresql")
    assert "ddl is missing, role is missing" in reason
    assert "did not appear in the log" in reason
    assert found["audit-secrets"]["status"] == "satisfied"
    assert judge(["audit_log"])["audit-database"]["status"] == "satisfied"


def test_logins_that_are_not_logged_are_found(
    standby: PostgreSQL, judge: Judge, token: int
) -> None:
    with setting(standby, "log_connections", "off"):
        found = judge(["database_settings"])["audit-database-logins"]
    assert found["reason"] == f"{standby.site.name}/postgresql: log_connections is off"


def test_days_whose_log_files_are_gone_are_found(
    standby: PostgreSQL, judge: Judge, token: int
) -> None:
    folder = standby.site.machine.directory / "log"
    made = [folder / f"postgresql-2001-01-0{day}.log" for day in (1, 4)]
    for number, path in zip((1, 4), made, strict=True):
        path.write_text(f"2001-01-0{number} 00:00:00.000 UTC [7] LOG:  checkpoint starting: time\n")
        own(path, standby.site.machine.service_user)
    try:
        found = judge(["audit_log"])["audit-log-files"]
    finally:
        for path in made:
            path.unlink()
    reason = reason_of(found, f"{standby.site.name}/postgresql")
    assert "2001-01-02 to 2001-01-03" in reason


def test_a_rule_that_takes_plaintext_is_found_and_so_is_the_plaintext(
    standby: PostgreSQL, judge: Judge, token: int
) -> None:
    file = standby.site.database.config_file.with_name("pg_hba.conf")
    with standby.connect_local() as connection:
        assert connection.execute("SHOW hba_file").fetchone() == (str(file),)
    kept = file.with_name("pg_hba.conf.test")
    shutil.copy2(file, kept)
    shutil.chown(kept, file.stat().st_uid, file.stat().st_gid)
    mine = "host all all 127.0.0.0/8 scram-sha-256\nlocal nothing nobody trust\n"
    lines = "SELECT count(*) FROM pg_hba_file_rules WHERE auth_method = 'trust'"
    try:
        file.write_text(mine + file.read_text())
        reload_and_wait(standby, f"SELECT ({lines}) = 1")
        found = judge(["tls_endpoint", "database_settings"])
    finally:
        kept.replace(file)
        reload_and_wait(standby, f"SELECT ({lines}) = 0")
    subject = f"{standby.site.name}/postgresql"
    plaintext = found["tls-plaintext-refused"]
    # The line to the site passes on what the database does.
    for place in (subject, f"{standby.site.name}/line"):
        assert reason_of(plaintext, place) == "it served a client that spoke no TLS"
    rules = reason_of(found["database-network-rules"], subject)
    assert "without a proof: line 2: local nothing nobody trust" in rules
    assert "without TLS: line 1: host all all 127.0.0.0/255.0.0.0 scram-sha-256" in rules
    after = judge(["tls_endpoint", "database_settings"])
    assert after["tls-plaintext-refused"]["status"] == "satisfied"
    assert after["database-network-rules"]["status"] == "satisfied"


def test_a_server_that_is_down_is_unreachable_and_its_policies_unknown(
    environment: Environment, standby: PostgreSQL, judge: Judge, token: int
) -> None:
    with stopped(standby, standby.site.erp.program, standby.site.erp.url):
        found = judge(["tls_endpoint"])
    subject = f"{standby.site.name}/erp"
    for policy in ("tls-version", "tls-certificate-trusted", "tls-plaintext-refused"):
        assert found[policy]["status"] == "unknown"
        assert found[policy]["reason"].startswith(f"{subject}: unreachable: nothing answers at")


def test_a_store_that_is_down_does_not_hold_up_the_other_facts(
    environment: Environment, secrets: Secrets, standby: PostgreSQL, token: int
) -> None:
    """pgBackRest alone would try for a minute."""
    with stopped(standby, "objectstore", standby.site.object_store.url):
        began = time.monotonic()
        facts = collect_kinds(environment, secrets, KINDS)
        seconds = time.monotonic() - began
    name = standby.site.name
    assert {fact.subject for fact in facts if fact.status == "unreachable"} == {
        f"{name}/object_store",
        f"{name}/object_store/backup",
        f"{name}/object_store/evidence",
        f"{name}/backup_repository",
        f"{name}/object_store_admin",
        f"{name}/probe/stranger_administers_store",
        f"{name}/probe/stranger_lists_backup",
        f"{name}/probe/stranger_lists_evidence",
    }
    assert seconds < 20


class WrongPassword(Secrets):
    """The secret manager of the environment, but for one password."""

    def database_login(self, role: str = "orchestrator") -> Credentials:
        return Credentials(super().database_login(role).username, "not the password")


def test_a_lock_is_not_short_because_its_version_was_overwritten_later(
    environment: Environment, secrets: Secrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As each checkpoint of the evidence log is, by the next one."""
    monkeypatch.setattr(bucket_objects, "_GRACE", timedelta(seconds=1))
    site, days = environment.sites["a"], environment.retention.object_lock_days
    store = ObjectStore(environment, site, secrets.kv(site.object_store.secret))
    bucket, key = store.bucket("evidence"), "log/test/checkpoint"
    store.put_locked(bucket, key, b"one", days=days)
    time.sleep(2.5)
    store.put_locked(bucket, key, b"two", days=days)
    assert key not in bucket_objects.look(environment, secrets, site, bucket).data["short_locks"]
    store.put_locked(bucket, key, b"three", days=days - 0.01)
    assert key in bucket_objects.look(environment, secrets, site, bucket).data["short_locks"]
    store.put_locked(bucket, key, b"four", days=days)


def test_a_login_that_is_refused_is_denied_and_not_unreachable(environment: Environment) -> None:
    facts = collect_kinds(environment, WrongPassword(environment), ["database_roles", "erp_access"])
    assert {fact.status for fact in facts} == {"denied"}
    assert all("authentication failed" in fact.error for fact in facts)


def test_a_policy_of_the_secret_manager_that_says_no_is_denied(
    environment: Environment, secrets: Secrets
) -> None:
    class NoKeys(Secrets):
        def kv(self, path: str) -> Any:
            return super().kv("erp-admin")  # which the AppRole may not read

    facts = collect_kinds(environment, NoKeys(environment), ["object_lock"])
    assert {fact.status for fact in facts} == {"denied"}
    assert all("refuses to read erp-admin" in fact.error for fact in facts)


def test_the_repository_of_each_site_is_the_one_at_its_own_store(
    environment: Environment, secrets: Secrets
) -> None:
    def place(site: Site) -> str:
        return site.object_store.url.removeprefix("https://")

    facts = collect_kinds(environment, secrets, ["backup_repository"])
    assert {fact.subject: fact.data["place"] for fact in facts} == {
        f"{name}/backup_repository": place(site) for name, site in environment.sites.items()
    }
    assert len({fact.data["repository"] for fact in facts}) == 2
