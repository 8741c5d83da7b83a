"""The abort budget of a drill: what production may suffer while it runs, before it is ended.

It holds while nothing is broken on purpose: with impact on production up to the mark `fault`, else
through all steps. What is not observed is not within the budget.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchestrator.engine import runs
from orchestrator.engine.runs import Run
from orchestrator.model.errors import AnlanError
from orchestrator.steps.context import Context
from orchestrator.verdict.journal import FILE

_POLL_SECONDS = 1.0
_GOOD = {"acknowledged", "ok"}
_BAD = {"unknown", "no_connection", "error"}


class Clients:
    """What the run's writers saw of late: the journals of its ledger and its ERP clients."""

    def __init__(self, probes: Path, seconds: float) -> None:
        self._files = [probes / name / FILE for name in ("ledger", "availability")]
        self._offsets = dict.fromkeys(self._files, 0)
        self._seen: dict[Path, deque[tuple[int, bool]]] = {file: deque() for file in self._files}
        self._live: dict[Path, int] = {}
        self._span_ns = int(seconds * 1e9)

    def error_rate(self, now_ns: int) -> float | None:
        """The share of writes that failed in the last seconds; None when nobody writes.

        That of the ledger or that of the ERP clients, whichever is worse. Writers without any
        answer in all of that time fail: 1.0.
        """
        rates = [self._rate_of(file, now_ns) for file in self._files]
        return max((rate for rate in rates if rate is not None), default=None)

    def _rate_of(self, file: Path, now_ns: int) -> float | None:
        self._read(file)
        seen, oldest = self._seen[file], now_ns - self._span_ns
        while seen and seen[0][0] < oldest:
            seen.popleft()
        if seen:
            return sum(not good for _, good in seen) / len(seen)
        return 1.0 if self._live.get(file, now_ns) < oldest else None

    def _read(self, file: Path) -> None:
        """Take what was written since the last time, whole lines alone."""
        try:
            with file.open("rb") as stream:
                stream.seek(self._offsets[file])
                content = stream.read()
        except FileNotFoundError:
            return
        whole = content[: content.rfind(b"\n") + 1]
        self._offsets[file] += len(whole)
        for line in whole.splitlines():
            entry = _parsed(line)
            if entry.get("kind") == "header":
                self._live[file] = int(entry["t"])
            elif entry.get("kind") == "end":
                self._live.pop(file, None)
            elif entry.get("kind") in _GOOD | _BAD:
                self._seen[file].append((int(entry["t"]), entry["kind"] in _GOOD))


class Judge:
    """Says when a budget (`abort` of a plan) was passed."""

    def __init__(self, budget: Mapping[str, Any]) -> None:
        self._budget = budget
        self._lagging_since: int | None = None

    def passed(self, now_ns: int, error_rate: float | None, lag_bytes: int | None) -> str:
        """How the budget was passed, in words; empty while it is kept.

        `lag_bytes` None: not observed. It must last for `over_seconds`.
        """
        seconds = self._budget["over_seconds"]
        limit = self._budget.get("error_rate")
        if limit is not None and error_rate is not None and error_rate > limit:
            return f"{error_rate:.0%} of the writes failed in {seconds:g} s, at most {limit:.0%}"
        limit = self._budget.get("lag_bytes")
        if limit is None or (lag_bytes is not None and lag_bytes <= limit):
            self._lagging_since = None
            return ""
        if self._lagging_since is None:
            self._lagging_since = now_ns
        if now_ns - self._lagging_since < seconds * 1e9:
            return ""
        lag = "not observed" if lag_bytes is None else f"{lag_bytes} bytes"
        return f"the standby's lag is {lag} for {seconds:g} s, at most {limit:g} bytes"


@contextmanager
def watched(run: Run, context: Context) -> Iterator[None]:
    """Watch the budget of a run's plan, if it has one, and end the run when it is passed.

    That is what `drill abort` does: after the present step, with its undo.
    """
    if "abort" not in run.plan:
        yield
        return
    over = threading.Event()
    thread = threading.Thread(target=_watch, args=(run, context, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _watch(run: Run, context: Context, over: threading.Event) -> None:
    budget = run.plan["abort"]
    clients = Clients(context.directory / "probes", budget["over_seconds"])
    judge = Judge(budget)
    lag = _lag_of(context) if "lag_bytes" in budget else lambda: None
    while not over.wait(_POLL_SECONDS) and not _is_broken_on_purpose(run, context):
        try:
            now, bytes_ = time.monotonic_ns(), lag()
            if "lag_bytes" in budget:
                context.journal.write("lag", bytes=bytes_)
            why = judge.passed(now, clients.error_rate(now), bytes_)
        except Exception as error:  # noqa: BLE001  (what cannot be watched is not within it)
            why = f"it cannot be watched: {type(error).__name__}: {error}"
        if why:
            runs.ask_to_end(run, f"abort budget: {why}")
            return


def _is_broken_on_purpose(run: Run, context: Context) -> bool:
    return run.plan["impact"] == "production" and context.marked("fault") is not None


def _lag_of(context: Context) -> Callable[[], int | None]:
    """Asks the primary how many bytes its standby has not flushed; None when it does not say."""
    primary, standby = context.servers[context.home.name], context.away.database.application_name

    def ask() -> int | None:
        try:
            found = [one for one in primary.replicas() if one.application_name == standby]
        except AnlanError:
            return None
        return found[0].flush_lag_bytes if found else None

    return ask


def _parsed(line: bytes) -> Mapping[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError:
        return {}  # torn by a kill
    return entry if isinstance(entry, dict) else {}
