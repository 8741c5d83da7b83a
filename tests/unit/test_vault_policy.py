"""What a policy of the secret manager grants, by its text."""

from __future__ import annotations

import pytest

from orchestrator.collect.vault_policy import Grant, grants


def test_hcl_is_read_block_by_block_without_its_comments() -> None:
    text = """
    # path "sys/*" { capabilities = ["sudo"] }
    path "kv/data/+/login" { capabilities = ["read", "update"] }
    path "kv/data/http://x" {  // an address in a name is no comment
      allowed_parameters = { "ttl" = ["1h"] }
      capabilities       = ["create"]
    }
    /* path "*" { capabilities = ["read"] } */
    path "secret/*" { capabilities = ["deny"] }
    """
    found = grants(text)
    assert found == [
        Grant("kv/data/+/login", ("read", "update")),
        Grant("kv/data/http://x", ("create",)),
        Grant("secret/*", ("deny",)),
    ]
    assert [one.is_denial for one in found] == [False, False, True]


def test_json_and_the_former_keyword_are_read_too() -> None:
    assert grants('{"path": {"sys/*": {"capabilities": ["read", "sudo"]}}}') == [
        Grant("sys/*", ("read", "sudo"))
    ]
    (old,) = grants('path "*" { policy = "sudo" }')
    assert "sudo" in old.capabilities
    assert old.is_everything


@pytest.mark.parametrize(
    "text",
    [
        'path "kv/*" { capabilities = ["read"]',
        'path "kv/*" { min_wrapping_ttl = "1s" }',
        'path "kv/*"\n',
        '{"path": ',
    ],
)
def test_what_cannot_be_read_is_no_policy_without_grants(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        grants(text)
