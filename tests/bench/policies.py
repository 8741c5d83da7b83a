"""What policies cost: a check of the running environment, and the judging of many."""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from orchestrator.model.fact import parse_facts
from orchestrator.model.folders import data_folder
from orchestrator.policy import Parameters, evaluate, parse_rules
from tests.bench.figures import Parts
from tests.bench.place import Place
from tests.commands import anlan

ENVIRONMENTS = 300
"""So many are judged in a run; the figure is for 10,000 environments and 80 policies."""
_WANTED = 10_000 * 80


def check(place: Place) -> Parts:
    """Seconds of `anlan policy check`, from its start to its end, and of the judging alone.

    The judging is of facts as this environment gives them, for ENVIRONMENTS of them that differ
    in the time of observation, so nothing of one serves for the next; in processor time.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "facts.json"
        began = time.monotonic()
        anlan(place.state, "policy", "check", place.name, "--out", str(out), timeout_seconds=300)
        command = time.monotonic() - began
        facts = parse_facts(json.loads(out.read_text())["facts"])
    root = data_folder("policies")
    rules = parse_rules(
        {one.relative_to(root).as_posix(): one.read_text() for one in root.rglob("*.yaml")}
    )
    parameters = Parameters(json.loads(place.descriptor.read_text()), rules.baseline)
    now = max(fact.collected_at for fact in facts) + timedelta(minutes=1)
    spent = 0.0
    for number in range(ENVIRONMENTS):
        shift = timedelta(milliseconds=number)
        theirs = [replace(one, collected_at=one.collected_at - shift) for one in facts]
        assert all(one.digest for one in theirs), "a fact has its digest since it was collected"
        began = time.process_time()
        evaluate(rules.policies, theirs, parameters, now, rules.controls)
        spent += time.process_time() - began
    judging = spent / (ENVIRONMENTS * len(rules.policies)) * _WANTED
    return {"check": command, "judging": judging}
