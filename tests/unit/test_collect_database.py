"""What pg_hba.conf and pg_ident.conf let in, and stored passwords that are easily guessed."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import pytest

from orchestrator.collect.database_hba import hba_fields, ident_fields
from orchestrator.collect.database_passwords import guessable


def rule(text: str, line: int = 1) -> tuple[Any, ...]:
    """A row of pg_hba_file_rules: TYPE DATABASES USERS ADDRESS/MASK METHOD OPTION…"""
    kind, databases, users, address, method, *options = text.split()
    network, _, mask = address.partition("/")
    found = ("" if network == "-" else network, mask)
    return (line, kind, databases.split(","), users.split(","), *found, method, options, "")


def fields(*lines: str) -> dict[str, list[str]]:
    rows = [rule(text, number) for number, text in enumerate(lines, start=1)]
    return hba_fields(rows, ["postgres"])


REJECT = "host all postgres all reject"
CLIENTS = "hostssl all all 127.0.0.0/255.0.0.0 scram-sha-256"


def test_a_superuser_who_is_turned_away_first_cannot_come_in() -> None:
    assert fields(REJECT, CLIENTS)["hba_remote_superusers"] == []
    found = fields(CLIENTS, REJECT)["hba_remote_superusers"]
    assert found == [f"postgres by line 1: {CLIENTS}"]


@pytest.mark.parametrize(
    "narrow",
    [
        "host erp postgres all reject",
        "hostnossl all postgres all reject",
        "host all postgres 10.0.0.0/255.0.0.0 reject",
        "host all mallory all reject",
        "local all postgres - reject",
    ],
)
def test_a_rule_that_turns_some_away_leaves_the_superuser_a_way(narrow: str) -> None:
    assert len(fields(narrow, CLIENTS)["hba_remote_superusers"]) == 1


@pytest.mark.parametrize("users", ["postgres", "all", "+admins", "erp,postgres", "/^post"])
def test_every_way_to_name_the_superuser_is_seen(users: str) -> None:
    assert fields(f"hostssl all {users} all scram-sha-256")["hba_remote_superusers"]


def test_a_socket_and_another_user_are_no_way_for_the_superuser() -> None:
    found = fields("local all postgres - peer", "hostssl all erp all scram-sha-256")
    assert found["hba_remote_superusers"] == []


def test_methods_count_only_where_somebody_may_come_in() -> None:
    found = fields("local all all - peer", CLIENTS, "host all all 0.0.0.0/0.0.0.0 reject")
    assert found["hba_methods"] == ["scram-sha-256"]
    assert found["hba_local_methods"] == ["peer"]
    assert found["hba_anywhere"] == []
    assert found["hba_cleartext"] == []


@pytest.mark.parametrize("address", ["all", "0.0.0.0/0.0.0.0", "::/::"])
def test_a_rule_for_every_address_is_seen(address: str) -> None:
    assert fields(f"hostssl all all {address} scram-sha-256")["hba_anywhere"]


@pytest.mark.parametrize(
    ("text", "open_"),
    [
        ("hostssl replication all 10.0.0.0/255.0.0.0 scram-sha-256", True),
        ("hostssl replication all 10.0.0.0/255.0.0.0 scram-sha-256 clientcert=verify-ca", True),
        ("hostssl replication all 10.0.0.0/255.0.0.0 scram-sha-256 clientcert=verify-full", False),
        ("hostssl replication all 10.0.0.0/255.0.0.0 cert", False),
        ("hostssl all all 10.0.0.0/255.0.0.0 scram-sha-256", False),  # `all` is not replication
    ],
)
def test_replication_without_a_certificate_is_seen(text: str, open_: bool) -> None:
    assert bool(fields(text)["hba_replication_without_certificate"]) is open_


def test_a_line_that_cannot_be_read_is_an_error_and_no_rule() -> None:
    row = (4, None, None, None, "", "", None, [], "invalid connection type")
    found = hba_fields([row], ["postgres"])
    assert (found["hba"], found["hba_errors"]) == ([], ["line 4: invalid connection type"])


def test_a_mapping_of_another_account_is_a_stranger() -> None:
    rows = [
        (1, "ops", "root", "postgres", ""),
        (2, "ops", "mallory", "postgres", ""),
        (3, None, None, None, "missing entry"),
    ]
    found = ident_fields(rows, {"root", "postgres"})
    assert found["ident_strangers"] == ["line 2: mallory as postgres"]
    assert found["ident_errors"] == ["line 3: missing entry"]


def verifier(password: str) -> str:
    """As PostgreSQL stores it (RFC 5802)."""
    salt = b"0123456789abcdef"
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 4096)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    parts = [base64.b64encode(one).decode() for one in (salt, stored, server)]
    return f"SCRAM-SHA-256$4096:{parts[0]}${parts[1]}:{parts[2]}"


def test_a_password_that_is_tried_first_is_found_and_a_random_one_is_not() -> None:
    stored = {
        "erp": verifier("erp"),
        "replicator": verifier("postgres"),
        "rewinder": verifier("kZ4-vN1q"),
        "old": "md5ab2c8e6f7c0a7a8c2b34f2f0f0a8a111",
    }
    assert guessable(stored) == ["erp", "replicator"]
