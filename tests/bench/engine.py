"""The engine's own time: a drill of steps that do nothing, against calling them in a loop."""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path

from orchestrator.cli.drill_plan import make_plan
from orchestrator.cli.drill_work import run_drill
from orchestrator.engine.runs import load
from orchestrator.steps.context import Context
from orchestrator.steps.registry import VERBS, verb
from tests.bench.figures import Parts
from tests.bench.place import Place

STEPS = 50
VERB = "bench_nothing"


def _undo_nothing(_context: Context) -> None:
    """Nothing was done."""


@verb(undo=_undo_nothing)
def bench_nothing(_context: Context) -> None:
    """Do nothing: what takes time is the engine."""


def drill(place: Place) -> Parts:
    """Seconds a step, and a step's undo: journal, durable workflow and loop, evidence excluded."""
    os.environ["ANLAN_STATE_DIR"] = str(place.state)
    with tempfile.TemporaryDirectory(prefix="anlan-bench-") as folder:
        path = Path(folder) / "nothing.yaml"
        path.write_text(_drill_text())  # JSON is YAML
        planned = make_plan(str(path), place.name)
        run_drill(planned, quiet=True, summary=False)
    entries = load(place.state, str(planned.document["run_id"])).journal.entries

    def seconds(begin: str, end: str) -> float:
        began = [int(entry["t"]) for entry in entries if entry["kind"] == begin]
        ended = [int(entry["t"]) for entry in entries if entry["kind"] == end]
        assert len(began) == len(ended) == STEPS
        return (ended[-1] - began[0]) / 1e9 / STEPS

    return {"step": seconds("begin", "end"), "undo": seconds("undo_begin", "undo_end")}


def bare(_place: Place) -> Parts:
    """Seconds a call of the same functions."""
    action, undo = VERBS[VERB].run, VERBS[VERB].undo
    context: Context = object.__new__(Context)
    parts = {}
    for name, function in (("step", action), ("undo", undo)):
        assert function
        began = time.perf_counter()
        for _ in range(STEPS):
            function(context)
        parts[name] = (time.perf_counter() - began) / STEPS
    return parts


def _drill_text() -> str:
    words = {"en": "Nothing", "zh": "空操作"}
    step = {"do": VERB, "phase": "verify", "timeout_seconds": 10, "title": words}
    return json.dumps(
        {
            "schema": "anlan.drill/v1",
            "name": "nothing",
            "title": words,
            "purpose": words,
            "scenario": words,
            "impact": "none",
            "steps": [{"id": f"step-{number}", **step} for number in range(STEPS)],
        }
    )
