"""The rules of pg_hba.conf and pg_ident.conf as the server has read them: what they let in.

Pure: rows of pg_hba_file_rules and pg_ident_file_mappings → the fields `hba*` and `ident*` of
kind `database_settings`. The first rule that matches decides (manual, "The pg_hba.conf File").
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

RULES = (
    "SELECT line_number, type, database, user_name, coalesce(address, ''), coalesce(netmask, ''),"
    " auth_method, coalesce(options, '{}'), coalesce(error, '') FROM pg_hba_file_rules"
    " ORDER BY line_number"
)
MAPPINGS = (
    "SELECT line_number, map_name, sys_name, pg_username, coalesce(error, '')"
    " FROM pg_ident_file_mappings ORDER BY line_number"
)
_ANYWHERE = ("all", "0.0.0.0/0.0.0.0", "::/::")


@dataclass(frozen=True)
class Rule:
    """One rule that could be read; `address` as ADDRESS/NETMASK, a name, or empty (local)."""

    line: int
    type: str
    databases: tuple[str, ...]
    users: tuple[str, ...]
    address: str
    method: str
    options: tuple[str, ...]

    def __str__(self) -> str:
        parts = (self.type, ",".join(self.databases), ",".join(self.users), self.address)
        return f"line {self.line}: " + " ".join(
            part for part in (*parts, self.method, *self.options) if part
        )

    @property
    def enters(self) -> bool:
        """Whether it may let somebody in."""
        return self.method != "reject"

    @property
    def remote(self) -> bool:
        """Whether it is about TCP."""
        return self.type != "local"

    @property
    def asks_for_certificate(self) -> bool:
        """Whether the client must show a certificate with its user's name."""
        return self.method == "cert" or "clientcert=verify-full" in self.options

    def is_about(self, user: str) -> bool:
        """Whether it may be about this user; a group's or a pattern's members are not looked up."""
        return any(name in {"all", user} or name[:1] in {"+", "/"} for name in self.users)

    def turns_away(self, user: str) -> bool:
        """Whether nobody can come in by TCP as this user behind this rule."""
        named = bool({"all", user} & set(self.users))
        everywhere = self.address == "all" and self.type == "host" and "all" in self.databases
        return named and everywhere and not self.enters


def parse(rows: Sequence[tuple[Any, ...]]) -> list[Rule]:
    """The rules of `RULES`' rows in order; a line with an error has nothing but it."""
    return [
        Rule(
            line,
            kind,
            tuple(databases),
            tuple(users),
            f"{address}/{netmask}" if netmask else address,
            method,
            tuple(options),
        )
        for line, kind, databases, users, address, netmask, method, options, error in rows
        if not error
    ]


def hba_fields(
    rows: Sequence[tuple[Any, ...]], superusers: Collection[str]
) -> dict[str, list[str]]:
    """The fields `hba*`: rules as texts, and those of them that let in who should not come in."""
    rules = parse(rows)
    entering = [rule for rule in rules if rule.enters]
    return {
        "hba": [str(rule) for rule in rules],
        "hba_trust": [str(rule) for rule in rules if rule.method == "trust"],
        "hba_cleartext": [str(rule) for rule in entering if rule.type not in {"local", "hostssl"}],
        "hba_errors": [f"line {row[0]}: {row[-1]}" for row in rows if row[-1]],
        "hba_methods": sorted({rule.method for rule in entering if rule.remote}),
        "hba_local_methods": sorted({rule.method for rule in entering if not rule.remote}),
        "hba_anywhere": [
            str(rule) for rule in entering if rule.remote if rule.address in _ANYWHERE
        ],
        "hba_replication_without_certificate": [
            str(rule)
            for rule in entering
            if rule.remote
            if "replication" in rule.databases
            if not rule.asks_for_certificate
        ],
        "hba_remote_superusers": [
            f"{user} by {rule}" for user in superusers for rule in _entrances(rules, user)
        ],
    }


def _entrances(rules: Sequence[Rule], user: str) -> list[Rule]:
    """The rules by which somebody may come in by TCP as this user."""
    found: list[Rule] = []
    for rule in rules:
        if rule.turns_away(user):
            break
        if rule.remote and rule.enters and rule.is_about(user):
            found.append(rule)
    return found


def ident_fields(
    rows: Sequence[tuple[Any, ...]], accounts: Collection[str]
) -> dict[str, list[str]]:
    """The fields `ident*`; `accounts` are the machine's own, which may be the superuser."""
    read = [row for row in rows if not row[-1]]
    return {
        "ident": [f"{name}: {system} as {user}" for _, name, system, user, _ in read],
        "ident_strangers": [
            f"line {line}: {system} as {user}"
            for line, _, system, user, _ in read
            if system not in accounts
        ],
        "ident_errors": [f"line {row[0]}: {row[-1]}" for row in rows if row[-1]],
    }
