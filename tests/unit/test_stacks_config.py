"""The configuration of a stack: defaults, limits, and errors that name the key."""

from __future__ import annotations

import pwd
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.model.environment import Retention
from orchestrator.model.errors import InputError
from stacks import places
from stacks.components.config import KEYS, StackConfig, parse_config

USER = pwd.getpwuid(0).pw_name
STATE = Path("/srv/anlan")


def parse(**values: Any) -> StackConfig:
    return parse_config(values, "local", STATE, USER)


def test_an_empty_configuration_has_the_documented_defaults() -> None:
    project = yaml.safe_load((places.PROGRAMS / "local" / "Pulumi.yaml").read_text())
    declared = {key: entry["default"] for key, entry in project["config"].items()}
    assert set(declared) == set(KEYS)
    assert parse(**declared) == parse()


def test_numbers_may_come_as_text_as_pulumi_gives_them() -> None:
    assert parse(portsBase="26000", rtoSeconds=12).ports_base == 26000


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("portsBase", 1023),
        ("portsBase", 64001),
        ("portsBase", "many"),
        ("rtoSeconds", 0),
        ("rpoSeconds", -1),
        ("auditRetentionDays", 0),
        ("evidenceDays", 30),
        ("tier", "gold"),
        ("addresses", "127.0.0.1"),
        ("root", "relative/path"),
        ("root", "/srv"),
        ("root", "/srv/with space"),
        ("root", "/srv/" + "x" * 60),
        ("approvals", "rule.yaml"),
        ("approvals", "/nowhere/rule.yaml"),
        ("nonsense", 1),
    ],
)
def test_a_value_out_of_its_limits_is_refused_by_name(key: str, value: Any) -> None:
    with pytest.raises(InputError) as refused:
        parse(**{key: value})
    assert refused.value.path == key
    assert repr(value) in str(refused.value)


@pytest.mark.parametrize(
    ("addresses", "key"),
    [
        ({"a": "10.0.0.1"}, "addresses.a"),
        ({"a": "not an address"}, "addresses.a"),
        ({"c": "127.0.1.1"}, "addresses.c"),
        ({"a": "127.0.1.1", "b": "127.0.1.1"}, "addresses"),
    ],
)
def test_an_address_must_be_a_loopback_address_of_its_own(
    addresses: dict[str, str], key: str
) -> None:
    with pytest.raises(InputError) as refused:
        parse(addresses=addresses)
    assert refused.value.path == key


def test_an_address_that_is_left_out_keeps_its_default() -> None:
    assert parse(addresses={"a": "127.0.1.1"}).addresses == {
        "a": "127.0.1.1",
        "b": "127.0.20.1",
        "common": "127.0.30.1",
    }


def test_the_approval_rule_is_read_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "rule.yaml"
    file.write_text("{schema: anlan.approvals/v1, required: 0, approvers: []}")
    assert parse(approvals=str(file)).approvals == {
        "schema": "anlan.approvals/v1",
        "required": 0,
        "approvers": [],
    }
    file.write_text("{schema: anlan.approvals/v1, required: 1, approvers: []}")
    with pytest.raises(InputError) as refused:
        parse(approvals=str(file))
    assert (refused.value.file, refused.value.path) == (str(file), "$.required")


def test_certificates_must_outlive_their_renewal() -> None:
    with pytest.raises(InputError) as refused:
        parse(tlsLifetimeHours=24, tlsRenewBeforeHours=24)
    assert refused.value.path == "tlsRenewBeforeHours"


@pytest.mark.parametrize("name", ["", "Local", "1st", "a b", "x" * 32])
def test_a_stack_name_that_cannot_be_a_directory_is_refused(name: str) -> None:
    with pytest.raises(InputError):
        parse_config({}, name, STATE, USER)


def test_a_root_too_long_for_sockets_is_moved_and_linked(tmp_path: Path) -> None:
    state = tmp_path / ("deep" * 12)
    config = parse_config({}, "local", state, USER)
    assert config.root.is_relative_to("/var/tmp")
    assert config.link == state / "env" / "local"


def test_only_the_tier_vip_waits_for_the_standby() -> None:
    assert parse().synchronous
    assert not parse(tier="standard").synchronous


def test_evidence_is_locked_for_its_retention_only_where_one_is_configured() -> None:
    """Else a test environment's store would keep its bundles for seven years."""
    none, years = Retention(184, 2, 1, None), Retention(184, 2, 1, 3653)
    assert (none.evidence_kept_days, none.evidence_lock_days) == (2557, 1)
    assert (years.evidence_kept_days, years.evidence_lock_days) == (3653, 3653)
    assert Retention(184, 2, 90, 31).evidence_lock_days == 90
    assert parse().evidence_days == 0
    assert parse(evidenceDays="3653").evidence_days == 3653
