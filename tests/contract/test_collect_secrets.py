"""What the orchestrator may not look at is denied, and the missing right is named."""

from __future__ import annotations

import re

import pytest

from orchestrator.collect import collect_kinds
from tests.contract.mutations.secrets import root
from tests.contract.mutations.world import World

_PATH = "sys/policies/acl/orchestrator"


@pytest.mark.parametrize(
    ("path", "kind", "named"),
    [
        ("auth/token/accessors", "secret_manager", "list and sudo on auth/token/accessors"),
        ("auth/token/lookup-accessor", "secret_manager", "update on auth/token/lookup-accessor"),
        ("sys/policies/acl/+", "secret_policies", "read on sys/policies/acl/default"),
        ("auth/approle/role/+", "approle", "read on auth/approle/role/orchestrator"),
        ("pki/roles/+", "pki_role", "read on pki/roles/service"),
    ],
)
def test_a_missing_right_is_named(world: World, path: str, kind: str, named: str) -> None:
    with root(world) as client:
        before = client.read(_PATH)["data"]["policy"]
        less = re.sub(rf'^path "{re.escape(path)}" .*\n', "", before, flags=re.MULTILINE)
        assert less != before
        client.write_data(_PATH, data={"policy": less})
    try:
        facts = collect_kinds(world.environment, world.secrets, [kind])
    finally:
        with root(world) as client:
            client.write_data(_PATH, data={"policy": before})
    assert facts[0].status == "denied"
    assert named in facts[0].error
