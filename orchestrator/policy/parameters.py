"""Where a policy's parameters come from: literals, the environment descriptor, the baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.model.errors import InputError
from orchestrator.model.policy import Policy
from orchestrator.model.schema import nearest


@dataclass(frozen=True)
class Parameters:
    """The environment descriptor (its JSON) and the baseline's lists of accepted names.

    `only` are the sites that are judged: all without any.
    """

    environment: Mapping[str, Any]
    baseline: Mapping[str, list[str]]
    only: tuple[str, ...] = ()

    @property
    def sites(self) -> list[str]:
        """Names of the sites, in order."""
        return sorted(self.only or self.environment["sites"])

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
                    nearest(value["baseline"], self.baseline)
                    or f"known lists: {', '.join(sorted(self.baseline)) or 'none'}",
                )
            return list(self.baseline[value["baseline"]])
        found: Any = self.environment
        for part in value["environment"].split("."):
            if not isinstance(found, Mapping) or part not in found:
                raise InputError(f"{where}: the descriptor has no {value['environment']!r}")
            found = found[part]
        return found
