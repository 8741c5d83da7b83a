"""In which order the steps of a plan run: each after those it needs, else side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import pairwise
from typing import Any

Steps = Sequence[Mapping[str, Any]]


def groups(steps: Steps) -> list[list[int]]:
    """Cut a plan where everything before is needed, directly or not, by everything after.

    Returns indexes into `steps`. Steps of different groups never overlap; a plan without steps
    side by side has one step in each group.
    """
    numbers = {step["id"]: number for number, step in enumerate(steps)}
    needed: list[set[int]] = []
    for step in steps:
        direct = {numbers[name] for name in step["needs"]}
        needed.append(direct.union(*(needed[number] for number in direct)))
    starts = [
        number
        for number in range(len(steps))
        if all(needed[later].issuperset(range(number)) for later in range(number, len(steps)))
    ]
    return [list(range(start, end)) for start, end in pairwise([*starts, len(steps)])]


def run_group(steps: Steps, group: Sequence[int], do: Callable[[int], bool]) -> bool:
    """Run the steps of a group, each in a thread of its own as soon as those it needs are done.

    `do` returns whether the run goes on: when one does not, those at work end, and no other
    begins. Returns whether all were done.
    """
    if len(group) == 1:
        return do(group[0])
    members = {steps[number]["id"] for number in group}
    waiting = {number: set(steps[number]["needs"]) & members for number in group}
    running: dict[Future[bool], int] = {}
    goes_on = True
    with ThreadPoolExecutor(len(group)) as pool:
        while True:
            for number in [one for one, needs in waiting.items() if goes_on and not needs]:
                del waiting[number]
                running[pool.submit(do, number)] = number
            if not running:
                return goes_on
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                done = steps[running.pop(future)]["id"]
                goes_on = future.result() and goes_on
                for needs in waiting.values():
                    needs.discard(done)
