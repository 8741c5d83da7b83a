"""Mutations of the orchestrator's records: runs, the evidence log, the stack's state."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from orchestrator.evidence.tlog.log import log_of
from orchestrator.evidence.tlog.tiles import CHECKPOINT
from orchestrator.model.canonical import sha256
from orchestrator.model.fact import timestamp
from orchestrator.model.folders import data_folder
from stacks import places
from stacks.components.ansible import roles_directory
from tests.contract.mutations.world import Mutation, World, text


def run(
    drill: str, verdict: str, *, reason: str = "", deployment: str = ""
) -> Callable[[World], AbstractContextManager[None]]:
    """A change: a finished run of a drill, of now."""

    @contextmanager
    def change(world: World) -> Iterator[None]:
        directory = world.state / "runs" / f"{drill}-20990101t000000-ffff"
        directory.mkdir(parents=True)
        environment = world.environment
        now = timestamp(datetime.now(UTC))
        plan = {
            "created_at": now,
            "drill": {
                "name": drill,
                "digest": sha256((data_folder("drills") / f"{drill}.yaml").read_bytes()),
            },
            "environment": {
                "name": environment.name,
                "digest": environment.digest,
                "deployment_digest": deployment or environment.deployment_digest,
            },
            "tool": {"version": version("anlan")},
        }
        result = {"verdict": verdict, "ended_at": now, "derived": {"reasons": [reason]}}
        (directory / "plan.json").write_text(json.dumps(plan))
        (directory / "run.json").write_text(json.dumps(result))
        try:
            yield
        finally:
            shutil.rmtree(directory)

    return change


@contextmanager
def forged_line(world: World) -> Iterator[None]:
    """A checkpoint that nobody signed is the head of the evidence log."""
    folder = log_of(world.state, world.environment.name).folder
    file = folder / CHECKPOINT
    before = file.read_bytes() if file.exists() else None
    folder.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"forged\n")
    try:
        yield
    finally:
        if before is None:
            shutil.rmtree(folder)
        else:
            file.write_bytes(before)


@contextmanager
def changed_role(world: World) -> Iterator[None]:
    """A role is no longer the one that was applied."""
    with tempfile.TemporaryDirectory() as folder:
        roles = Path(folder) / "roles"
        shutil.copytree(roles_directory(), roles)
        (roles / "line" / "defaults" / "main.yml").write_text("---\nstate: absent\n")
        before = os.environ.get("ANLAN_ROLES_PATH")
        os.environ["ANLAN_ROLES_PATH"] = str(roles)
        try:
            yield
        finally:
            del os.environ["ANLAN_ROLES_PATH"]
            if before is not None:
                os.environ["ANLAN_ROLES_PATH"] = before


@contextmanager
def drift(world: World) -> Iterator[None]:
    """A refresh found drift, and nobody repaired it."""
    file = places.stack_file(world.state, world.environment.name)
    before = file.read_text()
    state = json.loads(before)
    role = next(
        one
        for one in state["checkpoint"]["latest"]["resources"]
        if one["urn"].endswith("AnsibleRole::postgresql-a")
    )
    role["outputs"]["drift"] = ["Configure the server"]
    file.write_text(json.dumps(state))
    try:
        yield
    finally:
        file.write_text(before)


def _edited_descriptor(world: World) -> AbstractContextManager[None]:
    return text(world.environment.root / "environment.json", '"tier": ', '"tier":  ')


_STACK = "common/stack"
MUTATIONS = [
    Mutation(
        "drill-last-passed",
        "drills/front-door-killed",
        "its last run: fail",
        run("front-door-killed", "fail"),
    ),
    Mutation(
        "change-drilled",
        "drills/failover",
        "changed since its last pass: stack and roles",
        run("failover", "pass", deployment="0" * 64),
    ),
    Mutation(
        "schedule-kept",
        "common/schedule",
        "missed: partition-",
        run("partition", "inconclusive", reason="missed: the worker was down"),
    ),
    Mutation("evidence-log-verifies", "common/evidence_log", "log-signature", forged_line),
    Mutation("change-descriptor", _STACK, "it is not what the stack wrote", _edited_descriptor),
    Mutation("change-applied", _STACK, "changed since `anlan up`: line", changed_role),
    Mutation("change-drift", _STACK, "postgresql-a: Configure the server", drift),
]
