"""How long a verifier works on one bundle: what a hostile one asks for has no end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class OutOfPatience(BaseException):
    """The time is over. No `Exception`: what catches those must not go on."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Let the block take so long. Raises OutOfPatience in it, also within a regular expression.

    Only the main thread of a process can be interrupted, and not on Windows: elsewhere the block
    takes what it takes.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not (is_main and hasattr(signal, "setitimer")):
        yield
        return

    def give_up(_number: int, _frame: FrameType | None) -> None:
        raise OutOfPatience

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
