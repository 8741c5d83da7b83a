"""One kind of work on many things, by as many processes as the machine has cores."""

from __future__ import annotations

import multiprocessing
import multiprocessing.process
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import TypeVar

from orchestrator.model.errors import InfrastructureError

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def spread(
    work: Callable[[_Item], _Result], items: Sequence[_Item], processes: int
) -> Iterator[_Result]:
    """Yield what `work` makes of each item, as it is made: in no order.

    The processes are forked, on Linux and while this one has a single thread; else the work is
    done here. They end with the iterator, with an interrupt of the terminal, and when this process
    is killed. Results are pickled, items are not. Raises what `work` raises when it works here,
    InfrastructureError when a process ends before its work does.
    """
    count = min(processes, len(items))
    if count < 2 or sys.platform != "linux" or threading.active_count() > 1:
        yield from map(work, items)
        return
    context = multiprocessing.get_context("fork")
    readers: dict[Connection, multiprocessing.process.BaseProcess] = {}
    try:
        for number in range(count):
            reader, writer = context.Pipe(duplex=False)
            share = items[number::count]
            worker: multiprocessing.process.BaseProcess = context.Process(
                target=_work, args=(work, share, writer, [reader, *readers]), daemon=True
            )
            readers[reader] = worker
            worker.start()
            writer.close()
        waiting = set(readers)
        while waiting:
            for ready in wait(list(waiting)):
                if not isinstance(ready, Connection):
                    continue
                try:
                    yield ready.recv()
                except EOFError:
                    waiting.discard(ready)
                    _check_end(readers[ready])
    finally:
        for reader, worker in readers.items():
            if worker.pid is not None:
                worker.terminate()
                worker.join()
            reader.close()


def _work(
    work: Callable[[_Item], _Result],
    items: Sequence[_Item],
    writer: Connection,
    others: Sequence[Connection],
) -> None:
    """Send each result to who forked this process; end when nobody reads them any more."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    for one in others:
        one.close()
    for item in items:
        result = work(item)
        try:
            writer.send(result)
        except BrokenPipeError:
            return


def _check_end(worker: multiprocessing.process.BaseProcess) -> None:
    worker.join()
    if worker.exitcode:
        raise InfrastructureError(
            f"a process of the verification ended by itself (exit code {worker.exitcode})",
            "is there enough memory? try again",
        )
