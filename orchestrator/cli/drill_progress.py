"""What a person sees of a run: a line for each step as it ends, and the summary."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from orchestrator.cli import common
from orchestrator.engine.finish import bundle_path
from orchestrator.evidence.layout import RUN_STATEMENT
from orchestrator.model.policy import STATUSES

if TYPE_CHECKING:
    from orchestrator.engine.runs import Run

_TARGETS = {
    "rto_seconds": "RTO",
    "rpo_seconds": "RPO",
    "rpo_transactions": "RPO",
    "rebuild_seconds": "rebuild",
}
_UNITS = {
    "rto_seconds": " s",
    "rpo_seconds": " s",
    "rpo_transactions": " transactions",
    "rebuild_seconds": " s",
}


class Progress:
    """Prints the journal's entries as they come, on standard error; a live line on a terminal."""

    def __init__(self, run: Run, *, quiet: bool) -> None:
        self._quiet = quiet
        self._console = common.progress_console()
        self._titles = {step["id"]: step["title"]["en"] for step in run.plan["steps"]}
        self._began: dict[str, tuple[int, str]] = {}
        self._bad: dict[str, list[str]] = {}
        self._run = run
        self._status: Any = None
        self._doing, self._figures = "planning", ""

    def __enter__(self) -> Progress:
        if not self._quiet:
            self._console.print(f"run {self._run.run_id}")
            if sys.stderr.isatty():
                self._status = self._console.status("planning")
                self._status.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def say(self, text: str) -> None:
        """Print a line."""
        self._console.print(text, markup=False)

    def __call__(self, entry: Mapping[str, Any]) -> None:
        """Take an entry of the run's journal."""
        if self._quiet:
            return
        kind, step = entry["kind"], str(entry.get("step", ""))
        if kind in {"begin", "undo_begin"}:
            undo = "undo: " if kind == "undo_begin" else ""
            self._began[step] = int(entry["t"]), undo + self._titles[step]
            self._now()
        elif kind in {"end", "undo_end"}:
            self._ended(entry, step)
        elif kind == "check" and entry["ok"] is not True:
            sign = "[bold red]✘[/]" if entry["ok"] is False else "[bold yellow]?[/]"
            text = f"      {sign} {entry['name']}: {_escaped(entry['detail'])}"
            self._bad.setdefault(step, []).append(text)
        elif kind == "retry":
            wait = f"again in {entry['wait_seconds']:g} s"
            self._line(f"      [yellow]{wait}[/] [dim]{_escaped(entry['error'])}[/]")
        elif kind == "transition":
            self._line(f"      [dim]{entry['verb']} {entry['site']}[/]")
        elif kind == "collecting":
            self._show("collecting facts")
        elif kind == "aborted":
            self._line(f"  [bold yellow]aborted[/] ({_escaped(entry.get('reason', ''))}), undoing")

    def _ended(self, entry: Mapping[str, Any], step: str) -> None:
        """A step's line, with what was wrong below it: other steps may run at the same time."""
        began, text = self._began.pop(step)
        seconds = (int(entry["t"]) - began) / 1e9
        good = entry["status"] == "done"
        sign = "[green]✔[/]" if good else "[bold red]✘[/]"
        self._line(f"  {sign} {seconds:7.2f} s  {text}")
        if not good:
            self._line(f"      [red]{_escaped(entry['error'])}[/]")
        for line in self._bad.pop(step, []):
            self._line(line)
        self._now()

    def _now(self) -> None:
        self._show(", ".join(text for _, text in self._began.values()))

    def live(self, figures: str) -> None:
        """Show these figures beside what is being done; on a terminal only."""
        self._figures = figures
        self._show(self._doing)

    def _show(self, doing: str) -> None:
        self._doing = doing
        if self._status is not None:
            text = " · ".join(filter(None, (self._doing, self._figures)))
            self._status.update(_escaped(text))

    def _line(self, text: str) -> None:
        self._console.print(text)


def _escaped(text: str) -> str:
    from rich.markup import escape  # noqa: PLC0415

    return escape(text)


def print_summary(run: Run, state: Path) -> None:
    """Print verdict, targets, phases, policies and where the evidence is."""
    result: Mapping[str, Any] = run.result or {}
    derived = result["derived"]
    out = common.console()
    out.print(
        f"\n{common.verdict_text(derived['verdict'])}  {run.plan['drill']['title']['en']} "
        f"on {run.plan['environment']['name']}"
    )
    for reason in derived["reasons"]:
        out.print(f"  - {_escaped(reason)}")
    for target in derived["targets"]:
        out.print("  " + target_text(target))
    if derived["rto_seconds"] is not None and not any(
        target["name"] == "rto_seconds" for target in derived["targets"]
    ):
        out.print(f"  RTO {derived['rto_seconds']:.2f} s")
    if derived["phases"]:
        parts = [f"{phase['name']} {phase['seconds']:.2f}" for phase in derived["phases"]]
        out.print(f"  phases  {' + '.join(parts)} s")
    if ledger := derived["ledger"]:
        doubt = ledger["in_doubt_committed"] + ledger["in_doubt_absent"]
        out.print(
            f"  ledger  {ledger['acknowledged']} acknowledged, {ledger['recovered']} recovered, "
            f"{len(ledger['lost_keys'])} lost, {doubt} in doubt"
        )
    checks = [check["ok"] for check in derived["checks"]]
    out.print(f"  checks  {checks.count(True)} of {len(checks)} passed")
    if policies := derived["policies"]:
        out.print("  policies  " + policies_text(policies))
    if waived := derived["waived"]:
        out.print(f"  waived  {', '.join(one['policy'] for one in waived)} (still not satisfied)")
    out.print(f"  evidence  {bundle_path(state, run.run_id)} ({Path(RUN_STATEMENT).name} signed)")
    out.print(f"  report  {run.directory / 'report.html'}")


def target_text(target: Mapping[str, Any]) -> str:
    """Return a target and what was measured, as rich markup."""
    name = target["name"]
    measured = target["measured"]
    sign = {True: "[green]✔[/]", False: "[bold red]✘[/]", None: "[bold yellow]?[/]"}[target["met"]]
    shown = "not observed" if measured is None else f"{measured:.4g}{_UNITS[name]}"
    return f"{sign} {_TARGETS[name]} {shown} (target ≤ {target['target']:g}{_UNITS[name]})"


def policies_text(policies: Mapping[str, int]) -> str:
    """Return the counts of policies, as rich markup; failures are coloured."""
    parts = []
    for status in ("satisfied", *STATUSES[:3], "not-applicable"):
        count, bad = policies[status], status in STATUSES[:3]
        text = f"{count} {status.replace('-', ' ')}"
        if count and bad:
            text = f"[{common.VERDICT_STYLES[status]}]{text}[/]"
        if count or status in {"satisfied", "not-satisfied", "unknown"}:
            parts.append(text)
    return ", ".join(parts)
