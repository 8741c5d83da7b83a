"""`python -m tests.bench`: measure, print a table. It judges no time by its exit code."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from orchestrator.model.errors import AnlanError
from tests.bench import (
    engine,
    failover,
    kept,
    ledger,
    log,
    policies,
    readiness,
    report,
    restore,
    switchover,
    verifying,
)
from tests.bench.figures import Comparison, Goal, Parts, alternate, medians
from tests.bench.place import Place, find_place, throwaway_state

_LEAST_RUNS = 3
_CHOICES = (
    "restore",
    "kept",
    "failover",
    "switchover",
    "readiness",
    "policies",
    "ledger",
    "engine",
    "verifying",
    "log",
    "report",
)


@dataclass(frozen=True)
class Section:
    """One thing measured: its lines of the table, and the parts of both sides by their medians."""

    name: str
    lines: Sequence[Comparison]
    ours: dict[str, float]
    bare: dict[str, float]


@click.command()
@click.argument("descriptor", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--runs", default=3, show_default=True, type=click.IntRange(_LEAST_RUNS))
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(list(_CHOICES)),
    help="Measure this alone; may be repeated.",
)
@click.option(
    "--outages",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    help="Measure the outage of so many failovers more, for its percentiles (half a minute each).",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def main(
    descriptor: Path | None, runs: int, only: tuple[str, ...], outages: int, as_json: bool
) -> None:
    """Measure the drills against the bare tools, each pair in the same run.

    DESCRIPTOR is an environment.json; without it the environment `local` of the state directory
    is used, and provisioned first if it is not there. The environment is failed over for real, and
    ends as it began.
    """
    begun = datetime.now(UTC)
    load = os.getloadavg()
    try:
        sections = [measure(runs) for name, measure in _ALONE.items() if name in (only or _ALONE)]
        if not only or set(only) - _ALONE.keys() or outages:
            with find_place(descriptor) as place:
                place.command("env", "check")
                sections += [
                    measure(place, runs)
                    for name, measure in _SECTIONS.items()
                    if name in (only or _SECTIONS)
                ]
                if outages:
                    sections.append(_outages(place, outages))
    except AnlanError as error:
        raise click.ClickException(str(error)) from error
    machine = {
        "at": begun.isoformat(timespec="seconds"),
        "minutes": round((datetime.now(UTC) - begun).total_seconds() / 60, 1),
        "cpus": os.cpu_count(),
        "system": platform.platform(),
        "load_before": load,
        "load_after": os.getloadavg(),
    }
    if as_json:
        click.echo(json.dumps(_document(machine, runs, sections), indent=2))
    else:
        _print(machine, runs, sections)


def _say(text: str) -> None:
    click.echo(text, err=True)


def _failover(place: Place, runs: int) -> Section:
    _say("failover")
    ours, bare = alternate(runs, lambda: failover.drill(place), lambda: failover.bare(place), _say)
    line = Comparison(
        "failover: RTO",
        "from the kill to the first acknowledged ERP write",
        _column(ours, "rto"),
        _column(bare, "rto"),
        Goal(1.2, 0.2),
    )
    return Section("failover", [line], medians(ours), medians(bare))


def _switchover(place: Place, runs: int) -> Section:
    _say("switchover")
    ours, bare = alternate(
        runs, lambda: switchover.drill(place), lambda: switchover.bare(place), _say
    )
    line = Comparison(
        "switchover: RTO",
        "from the order to the first acknowledged ERP write at the other site",
        _column(ours, "rto"),
        _column(bare, "rto"),
        Goal(1.2, 0.2),
    )
    return Section("switchover", [line], medians(ours), medians(bare))


def _readiness(place: Place, runs: int) -> Section:
    _say("readiness: a failover first, which it must be able to name")
    place.drill("failover")
    ours = []
    for number in range(runs):
        ours.append(readiness.drill(place))
        _say(f"  {number + 1}/{runs}: {ours[-1]['command']:.3f} s")
    line = Comparison(
        "readiness",
        "the command, from its start to its end, evidence included",
        _column(ours, "command"),
        [],
        Goal(0, 10.0),
    )
    return Section("readiness", [line], medians(ours), {})


def _policies(place: Place, runs: int) -> Section:
    _say("policies")
    ours = []
    for number in range(runs):
        ours.append(policies.check(place))
        _say(f"  {number + 1}/{runs}: {ours[-1]['check']:.3f} s")
    lines = [
        Comparison(
            "policies: check",
            "`anlan policy check` with all policies, from its start to its end",
            _column(ours, "check"),
            [],
            Goal(0, 15.0),
        ),
        Comparison(
            "policies: judging",
            "80 policies on the facts of 10,000 environments, in processor time, scaled from all "
            f"policies on those of {policies.ENVIRONMENTS}",
            _column(ours, "judging"),
            [],
            Goal(0, 60.0),
        ),
    ]
    return Section("policies", lines, medians(ours), {})


def _ledger(place: Place, runs: int) -> Section:
    _say("ledger: pgbench's tables first")
    with ledger.database(place):
        ours, bare = alternate(
            runs, lambda: ledger.beside(place), lambda: ledger.alone(place), _say
        )
    line = Comparison(
        "ledger: pgbench",
        "seconds a transaction while the ledger's writers work; bare: without them",
        _column(ours, "transaction"),
        _column(bare, "transaction"),
        Goal(1.02),
    )
    return Section("ledger", [line], medians(ours), medians(bare))


def _verifying(runs: int) -> Section:
    """Needs no environment."""
    _say("verifying")
    ours = []
    for number in range(runs):
        ours.append(verifying.sample())
        each, peak = ours[-1]["bundle"], ours[-1]["peak_bytes"] / 2**20
        _say(
            f"  {number + 1}/{runs}: {each * 1e3:.0f} ms a bundle, {1 / each:.1f} a second, "
            f"at most {peak:.0f} MiB"
        )
    lines = [
        Comparison(
            f"verifying: {verifying.QUARTER} bundles",
            "processor time for a quarter's evidence, scaled from that of "
            f"{verifying.BUNDLES - 1} bundles of real size",
            [verifying.QUARTER * one["bundle"] for one in ours],
            [],
            Goal(0, 10.0),
        ),
        Comparison(
            "verifying: the first bundle",
            "processor time, with the policies parsed for the first time",
            _column(ours, "first"),
            [],
        ),
    ]
    return Section("verifying", lines, medians([_seconds_of(one) for one in ours]), {})


def _log(runs: int) -> Section:
    """Needs no environment."""
    _say("log")
    ours = []
    for number in range(runs):
        ours.append(log.sample())
        rate, peak = 1 / ours[-1]["append"], ours[-1]["peak_bytes"] / 2**20
        _say(f"  {number + 1}/{runs}: {rate:.0f} statements a second, at most {peak:.0f} MiB")
    lines = [
        Comparison(
            "log: 2,000 statements",
            f"logged, {log.BATCH} under a checkpoint, each on disk",
            [2_000 * one["append"] for one in ours],
            [],
            Goal(0, 1.0),
        ),
        Comparison(
            "log: a million entries",
            "processor time to verify all of a log: every hash, entry and the checkpoint",
            _column(ours, "verify"),
            [],
            Goal(0, 20.0),
        ),
    ]
    return Section("log", lines, medians([_seconds_of(one) for one in ours]), {})


def _report(runs: int) -> Section:
    """Needs no environment."""
    _say("report")
    ours = []
    for number in range(runs):
        ours.append(report.sample())
        each, peak = ours[-1]["quarter"], ours[-1]["peak_bytes"] / 2**20
        _say(f"  {number + 1}/{runs}: {each:.1f} s a quarter, at most {peak:.0f} MiB")
    lines = [
        Comparison(
            "report: PDF of one drill",
            "processor time, in a process that has rendered nothing yet",
            _column(ours, "drill"),
            [],
            Goal(0, 2.0),
        ),
        Comparison(
            "report: PDF of a quarter",
            f"processor time for {report.QUARTER} runs of real size, read one at a time",
            _column(ours, "quarter"),
            [],
            Goal(0, 15.0),
        ),
    ]
    return Section("report", lines, medians([_seconds_of(one) for one in ours]), {})


def _seconds_of(parts: Parts) -> Parts:
    return {name: value for name, value in parts.items() if not name.endswith("_bytes")}


def _outages(place: Place, count: int) -> Section:
    _say("outages")
    ours = []
    for number in range(count):
        ours.append(failover.drill(place))
        _say(f"  {number + 1}/{count}: {ours[-1]['rto']:.3f} s")
    line = Comparison(
        f"failover: 99th percentile of {count}",
        "from the kill to the first acknowledged ERP write",
        _column(ours, "rto"),
        [],
        Goal(0, 5.0),
        percentile=99,
    )
    return Section("outages", [line], medians(ours), {})


def _restore(place: Place, runs: int) -> Section:
    _say("restore: a backup first")
    target = restore.make_target(place)
    ours, bare = alternate(
        runs,
        lambda: restore.drill(place, target),
        lambda: restore.bare(place, target),
        _say,
    )
    lines = [
        Comparison(
            "restore: database",
            "from the order until the database takes writes",
            _column(ours, "database"),
            _column(bare, "database"),
        ),
        Comparison(
            "restore: ERP (RTO)",
            "from the order until the ERP is used (the drill logs in, writes and reads; bare: a "
            "login)",
            _column(ours, "served"),
            _column(bare, "served"),
        ),
        Comparison(
            "restore: ERP, checked",
            "the same for bare; the drill until the last of its checks",
            _column(ours, "checked"),
            _column(bare, "served"),
            Goal(1.25),
        ),
    ]
    return Section("restore", lines, medians(ours), medians(bare))


def _kept(place: Place, runs: int) -> Section:
    size_bytes = int(os.environ.get("ANLAN_BENCH_KEPT_MB", "2000")) * 1_000_000
    _say(f"kept: {size_bytes / 1e6:g} MB are filled in and backed up first")
    with kept.filled(place, size_bytes):
        kept.restore(place, kept=True)
        ours, bare = [], []
        for number in range(runs):
            kept.change(place, number)
            bare.append(kept.restore(place, kept=False))
            ours.append(kept.restore(place, kept=True))
            _say(f"  {number + 1}/{runs}: {ours[-1]['open']:.3f} s, new {bare[-1]['open']:.3f} s")
    line = Comparison(
        "kept twin: database",
        "a hundredth changed, restored onto what is there until it takes writes; bare: a new twin",
        _column(ours, "open"),
        _column(bare, "open"),
        Goal(0.2),
    )
    return Section("kept", [line], medians(ours), medians(bare))


def _engine(place: Place, runs: int) -> Section:
    _say("engine")
    root = place.descriptor.resolve().parent
    with throwaway_state(root, place.name) as apart:
        ours, bare = alternate(runs, lambda: engine.drill(apart), lambda: engine.bare(apart), _say)
    lines = [
        Comparison(
            f"engine: {name}",
            f"of one of {engine.STEPS} steps that do nothing; bare: the call",
            _column(ours, name),
            _column(bare, name),
        )
        for name in ("step", "undo")
    ]
    return Section("engine", lines, medians(ours), medians(bare))


_ALONE: Mapping[str, Callable[[int], Section]] = {
    "verifying": _verifying,
    "log": _log,
    "report": _report,
}
"""What needs no environment."""
_SECTIONS: Mapping[str, Callable[[Place, int], Section]] = {
    "restore": _restore,
    "kept": _kept,
    "failover": _failover,
    "switchover": _switchover,
    "readiness": _readiness,
    "policies": _policies,
    "ledger": _ledger,
    "engine": _engine,
}


def _column(samples: Sequence[Parts], name: str) -> list[float]:
    return [one[name] for one in samples]


def _document(machine: dict[str, Any], runs: int, sections: Sequence[Section]) -> dict[str, Any]:
    return {
        "machine": machine,
        "runs": runs,
        "lines": [line.document() for section in sections for line in section.lines],
        "parts": {
            section.name: {"ours_seconds": section.ours, "bare_seconds": section.bare}
            for section in sections
        },
    }


def _print(machine: dict[str, Any], runs: int, sections: Sequence[Section]) -> None:
    out = Console(highlight=False, width=None if Console().is_terminal else 120)
    table = Table("", "drill", "bare", "ratio", "goal", box=box.SIMPLE_HEAD, pad_edge=False)
    for section in sections:
        for line in section.lines:
            table.add_row(
                line.name, _spread(line.ours), _spread(line.bare), _ratio(line), _goal(line)
            )
    out.print(table)
    for section in sections:
        for name, parts in (("drill", section.ours), ("bare", section.bare)):
            if not parts:
                continue
            shown = ", ".join(f"{part} {_seconds(value)}" for part, value in parts.items())
            out.print(f"{section.name}, {name}: {shown}")
    for section in sections:
        for line in section.lines:
            goal = f"; goal {line.goal}" if line.goal else ""
            out.print(f"{line.name}: {line.counts}{goal}")
    before, after = machine["load_before"][0], machine["load_after"][0]
    out.print(
        f"medians of {runs} runs (least to most), {machine['at']}, {machine['cpus']} CPUs, "
        f"load {before:.1f} before and {after:.1f} after, {machine['minutes']} minutes"
    )


def _spread(samples: Sequence[float]) -> str:
    if not samples:
        return "–"
    return f"{_seconds(median(samples))} ({_seconds(min(samples))}–{_seconds(max(samples))})"


def _seconds(value: float) -> str:
    if value >= 0.1:
        return f"{value:.2f} s"
    return f"{value * 1e3:.3g} ms" if value >= 1e-4 else f"{value * 1e6:.2f} µs"


def _ratio(line: Comparison) -> str:
    return f"{line.ratio:.2f}" if line.ratio and line.ratio < 100 else "–"


def _goal(line: Comparison) -> str:
    if line.limit is None:
        return "–"
    judged = "" if line.percentile == 50 else f"p{line.percentile} {_seconds(line.judged)} "
    return f"{judged}≤ {_seconds(line.limit)} " + (
        "[green]met[/]" if line.met else "[bold red]missed[/]"
    )


if __name__ == "__main__":
    main()
