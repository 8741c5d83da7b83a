"""The critical path of a run: the chain of steps that decided how long it took. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def critical_path(
    plan_steps: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """From the step that ended last, back over the one that each waited for, to the start.

    `rows` are the steps as they were (schema `run`: id, started_seconds, seconds). Returns
    `steps`, the ids in the order of time; `seconds`, from the first one's start to the last one's
    end; and `between_seconds` of it, in which none of them ran (the engine, a pause after a kill).
    The parts sum to the whole.
    """
    times: dict[str, tuple[float, float]] = {
        row["id"]: (row["started_seconds"], row["started_seconds"] + row["seconds"])
        for row in rows
        if row["started_seconds"] is not None and row["seconds"] is not None
    }
    needs: dict[str, list[str]] = {}
    for step in plan_steps:  # a step needs those before it: else the chain would have no end
        before = needs.keys() & times.keys()
        needs[step["id"]] = [name for name in step["needs"] if name in before]
    if not times:
        return {"steps": [], "seconds": 0.0, "between_seconds": 0.0}

    def ended(name: str) -> float:
        return times[name][1]

    chain = [max(times, key=ended)]
    while waited_for := needs[chain[0]]:
        chain.insert(0, max(waited_for, key=ended))
    seconds = ended(chain[-1]) - times[chain[0]][0]
    working = sum(end - start for start, end in (times[name] for name in chain))
    return {
        "steps": chain,
        "seconds": round(seconds, 4),
        "between_seconds": round(seconds - working, 4),
    }
