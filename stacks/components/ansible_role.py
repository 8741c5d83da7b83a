"""`AnsibleRole`: a Pulumi resource that is one Ansible role applied to a machine.

The provider is pickled into the state, by name: it holds nothing, least of all secrets.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pulumi
from pulumi import dynamic

from stacks.components import ancestry
from stacks.components.ansible import RoleError, RoleResult, role_digest, run_role
from stacks.components.ground import require_no_run

_KEPT = ("role", "variables", "digest", "identity", "drift")


def explain(role: str, result: RoleResult) -> str:
    """Return the sentence that a failed run is reported with."""
    return f"role {role}, task {result.failed_task!r}: {result.message}"


class RoleProvider(dynamic.ResourceProvider):
    """Creates and updates by running the role, reads by its check mode, deletes by its absence."""

    serialize_as_secret_always = False

    def configure(self, req: dynamic.ConfigureRequest) -> None:
        """Called once per provider process."""
        ancestry.end_with_engine()

    def create(self, props: dict[str, Any]) -> dynamic.CreateResult:
        """Run the role; it takes over what an interrupted run left."""
        return dynamic.CreateResult(f"{props['role']}:{props['identity']}", _apply(props))

    def update(
        self, _id: str, _olds: dict[str, Any], props: dict[str, Any]
    ) -> dynamic.UpdateResult:
        """Run the role again with the new files or variables."""
        return dynamic.UpdateResult(_apply(props))

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> dynamic.DiffResult:
        """A changed role file, variable or drift updates; another role or identity replaces."""
        changed = [key for key in _KEPT if olds.get(key) != news.get(key)]
        replaces = [key for key in changed if key in ("role", "identity")]
        return dynamic.DiffResult(
            changes=bool(changed), replaces=replaces, delete_before_replace=True
        )

    def read(self, id_: str, props: dict[str, Any]) -> dynamic.ReadResult:
        """Find out what the role would change; that drift makes the next update run it."""
        result = run_role(props["role"], _present(props), check=True)
        drift = list(result.details)
        if result.failed_task is not None:
            drift.append(f"{result.failed_task} (could not be checked: {result.message})")
        found = {**_kept(props), "drift": drift}
        return dynamic.ReadResult(id_, found, found)

    def delete(self, _id: str, props: dict[str, Any]) -> None:
        """Run the role with `state: absent`. Raises RoleError, GroundError while a drill runs."""
        require_no_run(Path(props["variables"]["machine"]))
        result = run_role(props["role"], {**_whole(props["variables"]), "state": "absent"})
        if result.failed_task is not None:
            raise RoleError(explain(props["role"], result))


class AnsibleRole(dynamic.Resource, module="anlan", name="AnsibleRole"):
    """A role of this repository with its variables (no secrets: roles read those themselves).

    Outputs: `digest`, the SHA-256 of the role that was applied, and `drift`, the tasks that the
    last refresh found to differ, which the next update repairs. `identity` says where the
    environment is: another one replaces the resource, deleting it first.
    """

    digest: pulumi.Output[str]
    drift: pulumi.Output[list[str]]

    def __init__(
        self,
        name: str,
        role: str,
        variables: Mapping[str, Any],
        identity: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        inputs: dict[str, Any] = {
            "role": role,
            "variables": dict(variables),
            "digest": role_digest(role),
            "identity": identity,
            "drift": [],
        }
        super().__init__(RoleProvider(), name, inputs, opts)


def _kept(props: dict[str, Any]) -> dict[str, Any]:
    return {key: props[key] for key in _KEPT}


def _present(props: dict[str, Any]) -> dict[str, Any]:
    return {**_whole(props["variables"]), "state": "present"}


def _whole(value: Any) -> Any:
    """Pulumi hands every number over as a float; give whole ones back as integers."""
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _apply(props: dict[str, Any]) -> dict[str, Any]:
    result = run_role(props["role"], _present(props))
    if result.failed_task is not None:
        raise RoleError(explain(props["role"], result))
    return {**_kept(props), "drift": []}
