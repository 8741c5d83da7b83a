"""Where a policy's parameters come from: literals, the environment descriptor, the baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.model.errors import InputError
from orchestrator.model.policy import Policy, parse_baseline, parse_policies

BASELINE_FOLDER = "baseline/"


@dataclass(frozen=True)
class Parameters:
    """The environment descriptor (its JSON) and the baseline's lists of accepted names."""

    environment: Mapping[str, Any]
    baseline: Mapping[str, list[str]]

    @property
    def sites(self) -> list[str]:
        """Names of the sites, in order."""
        return sorted(self.environment["sites"])

    def resolve(self, policy: Policy) -> dict[str, Any]:
        """Return the policy's parameters as values. Raises InputError for an unknown source."""
        return {name: self._value(policy, name, value) for name, value in policy.parameters.items()}

    def _value(self, policy: Policy, name: str, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        where = f"policy {policy.id}, parameter {name}"
        if "baseline" in value:
            if value["baseline"] not in self.baseline:
                raise InputError(
                    f"{where}: no list {value['baseline']!r} in policies/baseline",
                    f"known lists: {', '.join(sorted(self.baseline)) or 'none'}",
                )
            return list(self.baseline[value["baseline"]])
        found: Any = self.environment
        for part in value["environment"].split("."):
            if not isinstance(found, Mapping) or part not in found:
                raise InputError(f"{where}: the descriptor has no {value['environment']!r}")
            found = found[part]
        return found


@dataclass(frozen=True)
class Rules:
    """A folder of policies, parsed: the policies in order of file and position, the baseline."""

    policies: tuple[Policy, ...]
    baseline: Mapping[str, list[str]]


def decode_rules(files: Mapping[str, bytes], *, folder: str = "policies") -> dict[str, str]:
    """Return a policies folder as text. Raises InputError naming a file that is not UTF-8."""
    texts: dict[str, str] = {}
    for name, content in files.items():
        try:
            texts[name] = content.decode()
        except UnicodeDecodeError as error:
            raise InputError(f"not UTF-8: {error.reason}", file=f"{folder}/{name}") from error
    return texts


def parse_rules(files: Mapping[str, str], *, folder: str = "policies") -> Rules:
    """Return the rules of a policies folder given as relative path → text.

    `baseline/*.yaml` are baselines, other `*.yaml` of the top level are policies; files of other
    folders (catalogues, crossguard) are not rules. Raises InputError with file and path: also
    for an id or a list that two files define.
    """
    policies: list[Policy] = []
    origin: dict[str, str] = {}
    baseline: dict[str, list[str]] = {}
    for name in sorted(files):
        if not name.endswith((".yaml", ".yml")):
            continue
        file = f"{folder}/{name}"
        if name.startswith(BASELINE_FOLDER):
            for key, names in parse_baseline(files[name], file=file).items():
                if key in baseline:
                    raise InputError("list is defined by two files", file=file, path=key)
                baseline[key] = names
        elif "/" not in name:
            for policy in parse_policies(files[name], file=file):
                if policy.id in origin:
                    raise InputError(
                        f"id {policy.id!r} is already used in {origin[policy.id]}", file=file
                    )
                origin[policy.id] = file
                policies.append(policy)
    return Rules(tuple(policies), baseline)
