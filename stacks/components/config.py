"""The configuration of a stack: its keys, their defaults, and what is wrong with a value."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.evidence.persons.approvals import load_rule
from orchestrator.evidence.settings import load_settings
from orchestrator.model.environment import LEAST_EVIDENCE_DAYS
from orchestrator.model.errors import InputError
from stacks import places

MACHINES = ("a", "b", "common")
TIERS = ("VIP", "standard")
ADDRESSES = {"a": "127.0.10.1", "b": "127.0.20.1", "common": "127.0.30.1"}
_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")


@dataclass(frozen=True)
class StackConfig:
    """A checked configuration of one environment."""

    name: str
    root: Path
    link: Path | None  # where commands find the environment, when that is not its root
    tier: str = "VIP"
    ports_base: int = 15000
    addresses: dict[str, str] = field(default_factory=lambda: dict(ADDRESSES))
    rto_seconds: int = 30
    rpo_seconds: int = 0
    restore_rto_seconds: int = 300
    audit_retention_days: int = 184
    backup_retention_full: int = 2
    object_lock_days: int = 1
    evidence_days: int = 0  # 0: not configured
    tls_lifetime_hours: int = 2160
    tls_renew_before_hours: int = 720
    approvals: dict[str, Any] | None = None  # the rule (schema `approvals`), as its file has it
    evidence: dict[str, Any] | None = None  # the settings (schema `evidence-settings`), likewise

    @property
    def synchronous(self) -> bool:
        """Whether a write waits for the standby."""
        return self.tier == "VIP"

    def values(self) -> dict[str, Any]:
        """Return all settings as JSON values, for digests."""
        return {**asdict(self), "root": str(self.root), "link": str(self.link or "")}


# key: (field, lowest, highest)
_NUMBERS = {
    "portsBase": ("ports_base", 1024, 64000),
    "rtoSeconds": ("rto_seconds", 1, 86400),
    "rpoSeconds": ("rpo_seconds", 0, 86400),
    "restoreRtoSeconds": ("restore_rto_seconds", 1, 604800),
    "auditRetentionDays": ("audit_retention_days", 1, 36500),
    "backupRetentionFull": ("backup_retention_full", 1, 1000),
    "objectLockDays": ("object_lock_days", 1, 36500),
    "evidenceDays": ("evidence_days", 0, 36500),
    "tlsLifetimeHours": ("tls_lifetime_hours", 1, 87600),
    "tlsRenewBeforeHours": ("tls_renew_before_hours", 1, 87600),
}
KEYS = ("tier", "addresses", "root", "approvals", "evidence", *_NUMBERS)


def parse_config(values: Mapping[str, Any], name: str, state: Path, user: str) -> StackConfig:
    """Return the configuration of the environment `name`; `values` holds what was configured.

    `state` is the state directory and `user` the one that databases run as. A key that is missing
    or None has its default. Raises InputError naming the key, its value and what is allowed.
    """
    if not _NAME.fullmatch(name):
        raise _invalid("stack name", name, "a lower-case letter, then letters, digits or '-'; ≤ 31")
    unknown = sorted(set(values) - set(KEYS))
    if unknown:
        raise _invalid(unknown[0], values[unknown[0]], f"the keys are {', '.join(KEYS)}")
    numbers = {
        target: _number(key, values[key], lowest, highest)
        for key, (target, lowest, highest) in _NUMBERS.items()
        if values.get(key) is not None
    }
    tier = values.get("tier") or "VIP"
    if tier not in TIERS:
        raise _invalid("tier", tier, f"one of {', '.join(TIERS)}")
    root = _root(values.get("root"), name, state, user)
    link = places.environment_link(state, name)
    config = StackConfig(
        name=name,
        root=root,
        link=None if link == root else link,
        tier=tier,
        addresses=_addresses(values.get("addresses")),
        approvals=_from_file("approvals", values, load_rule),
        evidence=_from_file("evidence", values, load_settings),
        **numbers,
    )
    if 0 < config.evidence_days < LEAST_EVIDENCE_DAYS:
        raise _invalid("evidenceDays", config.evidence_days, f"0, or {LEAST_EVIDENCE_DAYS} or more")
    if config.tls_renew_before_hours >= config.tls_lifetime_hours:
        raise _invalid(
            "tlsRenewBeforeHours",
            config.tls_renew_before_hours,
            f"less than tlsLifetimeHours ({config.tls_lifetime_hours})",
        )
    return config


def _number(key: str, value: Any, lowest: int, highest: int) -> int:
    allowed = f"a whole number from {lowest} to {highest}"
    try:
        number = int(str(value))
    except ValueError:
        raise _invalid(key, value, allowed) from None
    if not lowest <= number <= highest:
        raise _invalid(key, value, allowed)
    return number


def _addresses(value: Any) -> dict[str, str]:
    if value is not None and not isinstance(value, Mapping):
        raise _invalid("addresses", value, f"an object with the keys {', '.join(MACHINES)}")
    addresses = {**ADDRESSES, **(value or {})}
    unknown = sorted(set(addresses) - set(MACHINES))
    if unknown:
        raise _invalid(f"addresses.{unknown[0]}", addresses[unknown[0]], "the keys a, b, common")
    for machine, address in addresses.items():
        try:
            loopback = ipaddress.IPv4Address(str(address)).is_loopback
        except ValueError:
            loopback = False
        if not loopback:
            raise _invalid(f"addresses.{machine}", address, "an address of 127.0.0.0/8")
    if len(set(addresses.values())) != len(MACHINES):
        raise _invalid("addresses", addresses, "three different addresses")
    return addresses


def _root(value: Any, name: str, state: Path, user: str) -> Path:
    if not value:
        return places.default_root(state, name, user)
    root = Path(str(value))
    allowed = (
        f"an absolute path without '..' of 2 levels or more, at most {places.ROOT_LENGTH_LIMIT} "
        "characters, without spaces"
    )
    unfit = not root.is_absolute() or ".." in root.parts or len(root.parts) < 3
    if unfit or len(str(root)) > places.ROOT_LENGTH_LIMIT or re.search(r"\s", str(root)):
        raise _invalid("root", value, allowed)
    if not places.traversable(root, user):
        raise _invalid("root", value, f"a directory that the user {user} can reach")
    return root


def _from_file(
    key: str, values: Mapping[str, Any], load: Callable[[Path], dict[str, Any]]
) -> dict[str, Any] | None:
    if not (value := values.get(key)):
        return None
    path = Path(str(value))
    if not (path.is_absolute() and path.is_file()):
        raise _invalid(key, value, "the absolute path of a YAML file")
    return load(path)


def _invalid(key: str, value: Any, allowed: str) -> InputError:
    return InputError(
        f"{value!r} is not allowed: {allowed}",
        "set it with `pulumi config set` or `anlan up ENV --config KEY=VALUE`",
        path=key,
    )
