"""Running `anlan` as a user would: a process of its own with a state directory of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from orchestrator.model.environment import Environment

CHECKOUT = Path(__file__).resolve().parents[1]
QUICK = """\
schema: anlan.drill/v1
name: quick
title: {en: Quick, zh: 快速}
purpose: {en: Seconds alone, zh: 仅数秒}
scenario: {en: None, zh: 无}
impact: production
steps:
  - id: check
    do: check_environment
    phase: prepare
    timeout_seconds: 60
    title: {en: Is the environment fit for a drill, zh: 检查环境是否就绪}
  - id: marker
    do: write_marker
    phase: verify
    timeout_seconds: 60
    title: {en: Write a marker through the ERP, zh: 通过 ERP 写入标记}
"""
"""A drill of a few seconds that touches production."""


def anlan(
    state: Path, *arguments: str, timeout_seconds: float = 300
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", *arguments],
        env={**os.environ, "ANLAN_STATE_DIR": str(state)},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        check=False,
    )


def state_for(environment: Environment, folder: Path) -> Path:
    """Make `folder` a state directory that knows the environment; returns it."""
    (folder / "env").mkdir(parents=True)
    (folder / "env" / environment.name).symlink_to(environment.root)
    return folder


def run_drill(
    state: Path, environment: Environment, name: str, *arguments: str
) -> tuple[int, dict[str, Any]]:
    """Run a drill to its end; returns the exit code and its JSON."""
    done = anlan(state, "drill", "run", name, environment.name, "--json", *arguments)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def only_run(state: Path) -> str:
    """The id of the one run of a state directory."""
    (path,) = [path for path in (state / "runs").iterdir() if not path.name.startswith(".")]
    return path.name


def run_of(state: Path) -> list[dict[str, Any]]:
    """The entries of the one run's journal so far."""
    found = list((state / "runs").glob("[!.]*/raw/steps.jsonl"))
    if not found:
        return []
    lines = found[0].read_text().split("\n")[:-1]
    return [json.loads(line) for line in lines]


def await_entry(state: Path, kind: str, name: str) -> None:
    """Wait until the one run's journal has an entry of a kind about a step or a mark."""
    deadline = time.monotonic() + 120
    while not any(
        entry["kind"] == kind and name in {entry.get("step"), entry.get("name")}
        for entry in run_of(state)
    ):
        assert time.monotonic() < deadline, f"{kind} {name} did not come"
        time.sleep(0.02)
