"""The questions to a primary that the rule of detection (steps/detection.py) judges."""

from __future__ import annotations

import time
from collections.abc import Callable

from orchestrator.drivers.postgresql import Reach
from orchestrator.drivers.postgresql_commit import ask_commit
from orchestrator.steps.context import Context
from orchestrator.steps.detection import Detector

_ASK_SECONDS = 0.5


def ask_primary(context: Context) -> Reach:
    """What a commit at the home site's database comes to, asked for from the network."""
    server = context.servers[context.home.name]
    return ask_commit(server, context.database_login, _ASK_SECONDS)


def detector_of(context: Context) -> Detector:
    """The rule, with the step's options."""
    misses, grace = context.options["misses"], context.options["grace_seconds"]
    return Detector(int(misses), float(grace))


def call_no_failure(context: Context, over: Callable[[], bool]) -> int | None:
    """Apply the rule of detection until it is `over`: it must not say that the primary failed.

    Returns when the last question stayed unanswered (monotonic ns); None when none did.
    """
    detector = detector_of(context)
    asked = silent = 0
    failed, last_ns = False, None
    while not asked or not over():
        now = time.monotonic()
        reach = ask_primary(context)
        failed = detector.failed(now, reach) or failed
        asked += 1
        if reach is not Reach.ANSWERS:
            silent += 1
            last_ns = time.monotonic_ns()
        time.sleep(float(context.options["interval_seconds"]))
    detail = f"{silent} of {asked} questions were not answered, grace {detector.grace_seconds:g} s"
    context.check("no_failure_called", not failed, detail)
    return last_ns
