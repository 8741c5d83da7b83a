"""Following a run from another process: its journal's entries as they come, and live figures."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.drill_progress import Progress

if TYPE_CHECKING:
    from orchestrator.cli.webhook import Webhook
    from orchestrator.engine.runs import Run

_POLL_SECONDS = 0.1
_LOOK_SECONDS = 1.0
_RATE_SECONDS = 2.0


class Tail:
    """New whole lines of a file that is appended to; a torn last line is waited for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def entries(self) -> Iterator[Mapping[str, Any]]:
        """The entries since the last call; a line that is no JSON (torn by a kill) is left out."""
        try:
            with self._path.open("rb") as stream:
                stream.seek(self._offset)
                content = stream.read()
        except FileNotFoundError:
            return
        whole = content.rfind(b"\n") + 1
        self._offset += whole
        for line in content[:whole].splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                continue


class Live:
    """What the status line says beside the step: time since the fault, and the ledger's rate."""

    def __init__(self, run: Run) -> None:
        self._target = run.plan["targets"].get("rto_seconds")
        self._ledger = Tail(run.directory / "probes" / "ledger" / "journal.jsonl")
        self._acknowledged: list[int] = []
        self._fault: int | None = None
        self._served = False
        self._lag: int | None = None

    def take(self, entry: Mapping[str, Any]) -> None:
        """Note an entry of the run's journal."""
        if entry["kind"] == "mark" and entry["name"] == "fault":
            self._fault = int(entry["t"])
        elif entry["kind"] == "lag":
            self._lag = entry["bytes"]
        elif entry["kind"] == "end" and entry["step"] in {"await-erp-write", "start-twin-erp"}:
            self._served = True

    def text(self) -> str:
        """The figures of this moment; empty before there are any."""
        now = time.monotonic_ns()
        fresh = [int(e["t"]) for e in self._ledger.entries() if e["kind"] == "acknowledged"]
        since = now - int(_RATE_SECONDS * 1e9)
        self._acknowledged = [t for t in (*self._acknowledged, *fresh) if t >= since]
        parts = []
        if self._fault is not None and not self._served:
            target = f", target {self._target:g} s" if self._target else ""
            parts.append(f"{(now - self._fault) / 1e9:.1f} s since the fault{target}")
        if self._lag is not None and self._fault is None:
            parts.append(f"lag {self._lag / 1024:.0f} KiB")
        if self._acknowledged:
            parts.append(f"ledger {len(self._acknowledged) / _RATE_SECONDS:.0f} writes/s")
        return " · ".join(parts)


def follow(run: Run, progress: Progress, *, as_json: bool, webhook: Webhook | None = None) -> None:
    """Show a run until it is finished or nobody works on it any more; tell a webhook as well.

    Raises InfrastructureError when that does not take an event.
    """
    journal, live = Tail(run.directory / "raw" / "steps.jsonl"), Live(run)
    number = attempt = 0
    header: Mapping[str, Any] = {}
    looked = time.monotonic()
    while True:
        seen = False
        for entry in journal.entries():
            seen = True
            if entry["kind"] == "header":
                header, attempt = entry, attempt + 1
                if attempt > 1 and not as_json:
                    progress.say(f"  attempt {attempt}")
            event = cloud_event(run, number, entry, header)
            if as_json:
                click.echo(json.dumps(event, ensure_ascii=False))
            else:
                progress(entry)
            if webhook is not None:
                webhook.send(event)
            live.take(entry)
            number += 1
        if not seen and time.monotonic() - looked > _LOOK_SECONDS:
            # A run that is worked on is locked; a moment's look does not disturb it.
            if run.reload().state not in {"running", "stalled"}:
                return
            looked = time.monotonic()
        progress.live(live.text())
        time.sleep(_POLL_SECONDS)


def cloud_event(
    run: Run, number: int, entry: Mapping[str, Any], header: Mapping[str, Any]
) -> dict[str, Any]:
    """An entry of the journal as a CloudEvent 1.0; (source, id) names it for ever."""
    began = datetime.fromisoformat(str(header["utc"]))
    at = began + timedelta(microseconds=(int(entry["t"]) - int(header["t"])) / 1000)
    return {
        "specversion": "1.0",
        "id": f"{run.run_id}/{number}",
        "source": f"/anlan/environments/{run.plan['environment']['name']}",
        "type": f"dev.anlan.drill.{entry['kind']}",
        "subject": run.run_id,
        "time": at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "data": dict(entry),
    }
