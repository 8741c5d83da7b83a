"""What the policies say of a plan: the default one passes, each change for the worse is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.model.fact_kinds import wrong_data
from orchestrator.policy.examples import try_examples
from stacks.planned import configuration
from stacks.planned.facts import PLANNED_KINDS, planned
from stacks.planned.judge import Judge, load
from stacks.planned.pack import LEVELS
from stacks.planned.resource import UNKNOWN, Resource
from tests.plans import changed, digests_of, edited_roles, local_plan

FOLDER = Path(__file__).parents[2] / "policies"
RULES, POLICIES = load(FOLDER)
Found = dict[str, list[str]]
"""By policy: the parts that it refuses, each with what was found."""


@pytest.fixture(scope="module")
def plan() -> list[Resource]:
    return local_plan()


def judged(plan: list[Resource]) -> tuple[Found, Found, dict[str, int]]:
    """What is broken and what is not known, by policy, and how many facts each policy judged."""
    judge = Judge(RULES)
    broken: Found = {}
    unknown: Found = {}
    counts: dict[str, int] = {}
    for resource in plan:
        for policy in POLICIES:
            verdict = judge.judge(policy, resource)
            for sentence in verdict.broken:
                broken.setdefault(policy.id, []).append(f"{resource.name}: {sentence}")
            if verdict.unknown:
                unknown.setdefault(policy.id, []).append(resource.name)
            counts[policy.id] = counts.get(policy.id, 0) + verdict.judged
    return broken, unknown, counts


def test_the_default_configuration_satisfies_every_policy_that_judges_it(
    plan: list[Resource],
) -> None:
    broken, unknown, counts = judged(plan)
    assert (broken, unknown) == ({}, {})
    # What a plan decides is really judged: by facts of both sites, not by none.
    expected = {
        "audit-database": 2,
        "audit-database-logins": 2,
        "audit-log-files": 2,
        "audit-retention": 3,
        "audit-secrets": 1,
        "backup-encrypted": 4,
        "database-network-rules": 2,
        "database-passwords": 2,
        "object-lock": 4,
        "plan-addresses-encrypted": len(plan),
        "plan-replication-synchronous": 1,
        "plan-secrets-absent": len(plan),
        "plan-sites-apart": 2,
        "tls-plaintext-refused": 3,
        "tls-version": 3,
    }
    assert expected.items() <= counts.items()


def test_the_tier_standard_may_replicate_asynchronously() -> None:
    broken, _, _ = judged(local_plan(tier="standard"))
    assert broken == {}


def test_planned_facts_have_the_shape_of_collected_ones(plan: list[Resource]) -> None:
    descriptor = next(one.descriptor for one in plan if one.descriptor)
    kinds = set()
    for resource in plan:
        for kind in PLANNED_KINDS:
            for subject, data in planned(kind, resource, descriptor):
                assert wrong_data(kind, data, whole=False) == "", subject
                kinds.add(kind)
    assert kinds == PLANNED_KINDS


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        ("plaintext", {"tls-plaintext-refused", "database-network-rules"}),
        ("audit off", {"audit-database"}),
        ("logins not logged", {"audit-database-logins"}),
        ("older TLS", {"tls-version"}),
        ("older TLS in the database", {"tls-version", "database-network-rules"}),
        ("no encryption", {"backup-encrypted"}),
    ],
)
def test_a_template_that_is_changed_for_the_worse_is_refused(
    plan: list[Resource],
    edit: str,
    expected: set[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    roles = edited_roles(tmp_path / "roles", edit)
    monkeypatch.setenv("ANLAN_ROLES_PATH", str(roles))
    broken, unknown, _ = judged(digests_of(plan, roles))
    assert set(broken) == expected
    assert unknown == {}


def shorten(properties: dict[str, Any]) -> None:
    properties["variables"]["buckets"][0]["lock_days"] = 0


def on_one_address(properties: dict[str, Any]) -> None:
    sites = properties["descriptor"]["sites"]
    sites["b"]["machine"]["address"] = sites["a"]["machine"]["address"]


def variables(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda properties: properties["variables"].update(values)


@pytest.mark.parametrize(
    ("part", "change", "policy", "found"),
    [
        (
            "postgresql-a",
            variables(audit_retention_days=183),
            "audit-retention",
            "postgresql-a: a/postgresql: kept for 183 days; 184 are required",
        ),
        (
            "postgresql-b",
            variables(audit_classes="none"),
            "audit-database",
            "postgresql-b: b/postgresql: classes of statements that pgaudit must log: "
            "ddl is missing, role is missing",
        ),
        (
            "secrets",
            variables(audit_log="/dev/null"),
            "audit-secrets",
            "secrets: common/secrets: no audit device writes the environment's audit file",
        ),
        (
            "objectstore-b",
            shorten,
            "object-lock",
            "objectstore-b: b/object_store/backup: objects are kept for 0 days; 1 are required",
        ),
        (
            "objectstore-a",
            variables(buckets=[{"name": "backup", "lock_days": 1}]),
            "object-lock",
            "objectstore-a: a/object_store/evidence: Object Lock is off; "
            "objects are kept for 0 days; 1 are required",
        ),
        (
            "replication",
            variables(synchronous=False),
            "plan-replication-synchronous",
            "replication: a/postgresql: no standby is synchronous",
        ),
        (
            "plan",
            on_one_address,
            "plan-sites-apart",
            "plan: common/plan: addresses of both sites: 127.0.10.1",
        ),
        (
            "erp-server-a",
            variables(password="hunter2"),
            "plan-secrets-absent",
            "erp-server-a: common/plan: properties that hold a secret: variables.password",
        ),
        (
            "erp-server-a",
            variables(extra=["postgresql://erp:hunter2@127.0.10.1/erp"]),
            "plan-secrets-absent",
            "erp-server-a: common/plan: properties that hold a secret: variables.extra[0]",
        ),
        (
            "frontdoor",
            variables(secrets_url="http://127.0.30.1:15200"),
            "plan-addresses-encrypted",
            "frontdoor: common/plan: addresses without TLS: "
            "variables.secrets_url = http://127.0.30.1:15200",
        ),
    ],
)
def test_a_resource_that_is_changed_for_the_worse_is_refused(
    plan: list[Resource],
    part: str,
    change: Callable[[dict[str, Any]], Any],
    policy: str,
    found: str,
) -> None:
    broken, unknown, _ = judged(changed(plan, part, change))
    assert broken == {policy: [found]}
    assert unknown == {}


def test_a_secret_is_never_told(plan: list[Resource]) -> None:
    broken, _, _ = judged(
        changed(plan, "erp-server-a", variables(token="hvs.abcdefghijklmnopqrstu"))
    )
    assert "hvs." not in json.dumps(broken)


@pytest.mark.parametrize(
    ("part", "change", "expected"),
    [
        ("postgresql-a", variables(audit_retention_days=UNKNOWN), {"audit-retention"}),
        ("objectstore-a", variables(buckets=UNKNOWN), {"object-lock"}),
        ("replication", variables(synchronous=UNKNOWN), {"plan-replication-synchronous"}),
        (
            "postgresql-a",
            variables(networks=UNKNOWN),
            {"database-network-rules", "tls-plaintext-refused"},
        ),
    ],
)
def test_what_a_preview_does_not_know_is_unknown_and_no_pass(
    plan: list[Resource], part: str, change: Callable[[dict[str, Any]], Any], expected: set[str]
) -> None:
    broken, unknown, _ = judged(changed(plan, part, change))
    assert broken == {}
    assert expected <= set(unknown)
    assert all(parts == [part] for parts in unknown.values())


def test_an_unknown_address_does_not_hide_what_is_known(plan: list[Resource]) -> None:
    worse = changed(
        plan, "postgresql-a", variables(address=UNKNOWN, port=UNKNOWN, audit_retention_days=1)
    )
    broken, unknown, _ = judged(worse)
    assert set(broken) == {"audit-retention"}
    assert unknown == {}


def test_files_that_are_not_those_of_the_plan_are_not_judged(plan: list[Resource]) -> None:
    worse = changed(plan, "postgresql-a", lambda properties: properties.update(digest="0" * 64))
    broken, _, _ = judged(worse)
    assert "the files of role 'postgresql' changed" in broken["database-network-rules"][0]


def test_a_role_without_the_environment_that_it_is_for_is_refused(plan: list[Resource]) -> None:
    broken, _, _ = judged([one for one in plan if one.descriptor is None])
    assert "no resource with the environment's descriptor" in broken["audit-retention"][0]


def test_each_policy_about_the_plan_does_what_its_examples_say() -> None:
    own = [one for one in POLICIES if one not in RULES.policies]
    assert len(own) == 4
    assert [tried for one in own for tried in try_examples(one) if tried.wrong] == []


def test_books_and_secrets_stop_a_deployment_and_lesser_things_are_told() -> None:
    levels = {severity: level.value for severity, level in LEVELS.items()}
    assert levels == {"P0": "mandatory", "P1": "mandatory", "P2": "advisory"}
    assert {one.severity for one in POLICIES} <= set(LEVELS)


@pytest.mark.parametrize(
    ("text", "versions"),
    [
        ("frontend erp\n  bind :443 ssl crt x\n", ["TLSv1.2"]),
        (
            "frontend erp\n  bind :80\n  bind :443 ssl crt x ssl-min-ver TLSv1.1\n",
            [None, "TLSv1.1"],
        ),
        ("global\n  ssl-default-bind-options force-tlsv10\nlisten a\n  bind :1 ssl\n", ["TLSv1"]),
    ],
)
def test_the_front_door_is_read_as_haproxy_reads_it(
    text: str, versions: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configuration, "rendered", lambda *_: text)
    assert configuration.door_versions(Resource("", "", {})) == versions


def test_rules_of_clients_are_read_as_the_database_reads_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = (
        "# comment\nlocal all postgres peer map=ops\nhostnossl all all 10.0.0.0 255.0.0.0 md5\n"
        "host all all ::/0 reject\ninclude other.conf\nhostssl all all all trust # open\n"
    )
    monkeypatch.setattr(configuration, "rendered", lambda *_: text)
    rules = configuration.client_rules(Resource("", "", {}))
    assert [(kind, method) for _, kind, method in rules] == [
        ("local", "peer"),
        ("hostnossl", "md5"),
        ("host", "reject"),
        ("include", ""),
        ("hostssl", "trust"),
    ]
