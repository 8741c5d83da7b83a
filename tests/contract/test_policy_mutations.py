"""What each policy forbids is done to the real servers, and the policy must turn red.

The kill rate is printed at the end of the session.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.collect import collect_kinds
from orchestrator.engine.records import records_of
from orchestrator.model.policy import Finding
from orchestrator.policy import Parameters, Rules, evaluate, parse_rules
from tests.contract.mutations import backup, database, drills, erp, hosts, probes, store, tls
from tests.contract.mutations import secrets as secret_manager
from tests.contract.mutations.world import Mutation, World
from tests.faults.kill_rate import KILLED

POLICIES = Path(__file__).parents[2] / "policies"
MUTATIONS: list[Mutation] = [
    *database.MUTATIONS,
    *secret_manager.MUTATIONS,
    *store.MUTATIONS,
    *backup.MUTATIONS,
    *hosts.MUTATIONS,
    *drills.MUTATIONS,
    *tls.MUTATIONS,
    *erp.MUTATIONS,
    *probes.MUTATIONS,
]


@pytest.fixture(scope="module")
def rules() -> Rules:
    files = POLICIES.rglob("*.yaml")
    return parse_rules({one.relative_to(POLICIES).as_posix(): one.read_text() for one in files})


def judge(world: World, rules: Rules, policy: str) -> Finding:
    """The finding of one policy now."""
    (one,) = [item for item in rules.policies if item.id == policy]
    descriptor = json.loads((world.environment.root / "environment.json").read_text())
    records = records_of(world.environment, world.state)
    facts = collect_kinds(world.environment, world.secrets, [one.kind], records)
    parameters = Parameters(descriptor, rules.baseline)
    return evaluate([one], facts, parameters, datetime.now(UTC))[0]


@pytest.mark.parametrize(
    "mutation", MUTATIONS, ids=[f"{n}-{one.policy}" for n, one in enumerate(MUTATIONS)]
)
def test_a_mutation_turns_its_policy_red(world: World, rules: Rules, mutation: Mutation) -> None:
    before = judge(world, rules, mutation.policy)
    assert before.status == "satisfied", before.reason
    KILLED["policies", f"{mutation.policy}: {mutation.says}"] = False
    with mutation.change(world):
        during = judge(world, rules, mutation.policy)
    seen = {one.subject: one for one in during.observations}[world.subject(mutation.subject)]
    assert (during.status, seen.status) == ("not-satisfied", "not-satisfied"), seen.reason
    assert mutation.says in seen.reason
    KILLED["policies", f"{mutation.policy}: {mutation.says}"] = True
    after = judge(world, rules, mutation.policy)
    assert after.status == "satisfied", after.reason
