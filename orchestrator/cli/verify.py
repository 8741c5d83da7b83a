"""`anlan evidence verify`, which is also the command of the standalone verifier.

It needs nothing but the bundle and the key file: no environment, no network, no state.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import common
from orchestrator.model.errors import InputError

if TYPE_CHECKING:
    from orchestrator.evidence import Problem, Rederive, Verification
    from orchestrator.evidence.tlog.note import Checkpoint

_COLOURS = {
    **dict.fromkeys(("VALID", "pass"), "green"),
    **dict.fromkeys(("INVALID", "fail"), "red"),
}
_SIGNS = {"pass": "✔", "fail": "✘", "inconclusive": "?"}
trust_option = click.option(
    "--trust",
    "trust",
    multiple=True,
    required=True,
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A trust file (trust.json), or a public key (PEM); of keys more than one may be given.",
)


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@trust_option
@click.option("--run", "run_id", default="", help="The run that it must be about.")
@click.option("--environment", default="", help="The environment that it must be about.")
@click.option(
    "--not-before", metavar="TIME", default="", help="Refuse an older run, e.g. 2026-10-01."
)
@click.option(
    "--at",
    metavar="TIME",
    default="",
    help="Count the age (max_age_days of a trust file) to this time.  [default: now]",
)
@click.option(
    "--approvals",
    "rule",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The approval rule (YAML) that a run with impact on production must have had.",
)
@click.option(
    "--threshold",
    type=click.IntRange(min=1),
    help="How many of the trust keys must have signed (a trust file says it).  [default: 1]",
)
@click.option("--from", "since", metavar="DATE", default="", help="When the period must begin.")
@click.option("--to", "until", metavar="DATE", default="", help="When the period must end.")
@click.option(
    "--checkpoint",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Of a period: the head of the log that you kept the last time; it must continue that.",
)
@click.option(
    "--report",
    "reports",
    multiple=True,
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A report that came with it: it must be what the bundle renders to.",
)
@common.json_option
def verify(
    *,
    bundle: Path,
    trust: Sequence[Path],
    run_id: str,
    environment: str,
    not_before: str,
    at: str,
    rule: Path | None,
    threshold: int | None,
    since: str,
    until: str,
    checkpoint: Path | None,
    reports: Sequence[Path],
    as_json: bool,
) -> int:
    """Verify an evidence bundle offline and show what it proves: of a run, or of a period.

    Trusts FILE alone, and derives every verdict, policy result and the report again from the raw
    data. Of a period also whether a run is left out. Exit code 0: VALID; 1: INVALID, UNTRUSTED,
    INCOMPLETE or STALE; 2: unusable input.

    \b
    Examples:
      anlan evidence verify failover-20261124t201500-ab12.zip --trust evidence.pub
      anlan evidence verify bundle.zip --trust trust.json --at 2026-12-31T00:00:00Z
      anlan evidence verify q4.zip --trust trust.json --environment local \\
        --from 2026-10-01 --to 2027-01-01 --checkpoint last.txt
      anlan evidence verify bundle.zip --trust trust.json --report drill.pdf --report drill.xlsx
    """
    from orchestrator.cli.verify_reports import check_reports  # noqa: PLC0415
    from orchestrator.evidence import Expectation  # noqa: PLC0415
    from orchestrator.evidence import verify as verify_bundle  # noqa: PLC0415
    from orchestrator.evidence.period.bindings import Asked  # noqa: PLC0415
    from orchestrator.evidence.period.verify import is_period, verify_period  # noqa: PLC0415
    from orchestrator.evidence.trust import file as trust_file  # noqa: PLC0415

    trusted = trust_file.load(trust, threshold)
    expect = Expectation(
        run_id,
        environment,
        moment(not_before, "--not-before"),
        _rule(rule),
        moment(at, "--at"),
    )
    asked = Asked(moment(since, "--from"), moment(until, "--to"), load_checkpoint(checkpoint))
    of_period = is_period(bundle)
    if of_period and run_id:
        raise InputError("is the bundle of a period, not of one run: leave --run", file=str(bundle))
    if not of_period and asked != Asked():
        raise InputError(
            "is no bundle of a period: --from, --to and --checkpoint are about the whole log, "
            "which a run's has not",
            "ask for the bundle of a period: `anlan evidence export --environment NAME …`",
            file=str(bundle),
        )
    if of_period:
        with progress_bar("runs") as progress:
            found = verify_period(
                bundle, trusted, rederive(), expect=expect, asked=asked, progress=progress
            )
    else:
        found = verify_bundle(bundle, trusted, rederive(), expect=expect)
    if found.status != "INVALID":  # else what it renders to says nothing
        found = found.with_problems(check_reports(reports, bundle, of_period=of_period))
    if as_json:
        common.emit({"bundle": str(bundle), **found.to_json()})
    elif of_period:
        _show_period(bundle, found)
    else:
        _show(bundle, found)
    return 0 if found.status == "VALID" else 1


def rederive() -> Rederive:
    """Return how this tool derives verdicts, policy results and reports again."""
    from orchestrator.evidence import Rederive  # noqa: PLC0415
    from orchestrator.policy.rederive import rederive_findings, rederive_recovered  # noqa: PLC0415
    from orchestrator.report import render_bundle  # noqa: PLC0415
    from orchestrator.verdict import derive  # noqa: PLC0415

    return Rederive(rederive_findings, derive, rederive_recovered, render_bundle)


def echo(text: str) -> None:
    """Print for people: colours on a terminal only, and not when NO_COLOR is set."""
    click.echo(text, color=False if os.environ.get("NO_COLOR") else None)


def status_text(status: str) -> str:
    """Return the status of a bundle or a log, in its colour."""
    return click.style(status, fg=_COLOURS.get(status, "yellow"), bold=True)


def say_problems(problems: Sequence[Problem]) -> None:
    """Print each problem: its code, where it is, what it is."""
    for problem in problems:
        where = f"{_plain(problem.path)}: " if problem.path else ""
        code = click.style(f"{problem.code:<18}", fg="red")
        echo(f"  {code} {where}{_plain(problem.message)}")


def _rule(file: Path | None) -> dict[str, Any] | None:
    from orchestrator.evidence.persons.approvals import load_rule  # noqa: PLC0415

    return load_rule(file) if file else None


def load_checkpoint(file: Path | None) -> Checkpoint | None:
    """Return the checkpoint that an auditor kept. Raises InputError when it is none."""
    from orchestrator.evidence import dsse  # noqa: PLC0415
    from orchestrator.evidence.tlog import note  # noqa: PLC0415

    if file is None:
        return None
    try:
        return note.parse(file.read_bytes())
    except (OSError, dsse.SignatureError) as error:
        raise InputError(
            f"cannot be read: {error}",
            "give the file that `anlan evidence log checkpoint` made",
            file=str(file),
        ) from error


def moment(text: str, option: str) -> datetime | None:
    """Return the moment that an option names, None when it is empty. Raises InputError."""
    return common.moment(text, option) if text else None


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """Give what shows how many of how many are done, if standard error is a terminal."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    with click.progressbar(length=1, label=label, file=sys.stderr, show_pos=True) as bar:

        def show(done: int, total: int) -> None:
            bar.length = max(total, 1)
            bar.update(done - bar.pos)

        yield show


def _show(bundle: Path, found: Verification) -> None:
    echo(f"{status_text(found.status)}  {_plain(str(bundle))}")
    say_problems(found.problems)
    if not (summary := found.summary):
        return
    if found.status not in {"VALID", "STALE"}:
        echo(click.style("what it states, which is not proven:", dim=True))
    rows = [
        ("run", summary["run_id"]),
        ("drill", f"{summary['drill']} on {summary['environment']}"),
        ("time", f"{summary['started_at']} to {summary['ended_at']}"),
        *_measures(summary),
        ("policies", _counts(summary["policies"])),
        ("log", " to ".join(str(index) for index in summary["log"]) or "–"),
        ("signed by", _signers(summary["signed_by"])),
        *_vouching(summary),
        ("made with", f"anlan {summary['tool']}"),
    ]
    echo(f"  {'verdict':<11}{_verdict(summary['verdict'])}  (derived again)")
    for name, value in rows:
        echo(f"  {name:<11}{_plain(str(value))}")


def _show_period(bundle: Path, found: Verification) -> None:
    echo(f"{status_text(found.status)}  {_plain(str(bundle))}")
    say_problems(found.problems)
    if not (summary := found.summary):
        return
    if found.status != "VALID":
        echo(click.style("what it states, which is not proven:", dim=True))
    verdicts = ", ".join(
        f"{count} {_verdict(verdict)}" for verdict, count in summary["verdicts"].items()
    )
    counted = f"{len(summary['runs'])} finished, {len(summary['unfinished'])} unfinished"
    removed = f", {len(gone)} removed" if (gone := summary["removed"]) else ""
    echo(f"  {'runs':<13}{counted}, {len(summary['missing'])} due and not there{removed}")
    echo(f"  {'verdicts':<13}{verdicts or 'none'}  (derived again)")
    rows = [
        ("period", f"{summary['since']} until {summary['until']}, of {summary['environment']}"),
        *(
            ("unfinished", f"{one['run_id']}: {one['drill']}, planned {one['planned_at']}")
            for one in summary["unfinished"]
        ),
        *(
            ("missing", f"{one['run_id']}: {one['drill']}, due {one['due_at']}")
            for one in summary["missing"]
        ),
        *(
            (
                "removed",
                f"{one['run_id']}: {one['drill']}, {one['started_at']}; by its tombstone "
                f"{one['verdict']}, kept for {one['evidence_days']} days",
            )
            for one in gone
        ),
        *(
            (one["verdict"], f"{one['run_id']}: {one['drill']}, {one['started_at']}")
            for one in summary["runs"]
            if one["verdict"] != "pass"
        ),
        ("log", f"{summary['origin']}, {summary['log_size']} entries"),
        ("root", summary["root"]),
        ("signed by", ", ".join(summary["signers"]) or "none of the trust keys"),
    ]
    for name, value in rows:
        echo(f"  {_plain(str(name)):<13}{_plain(str(value))}")


def _plain(text: str) -> str:
    """What a bundle says, for a terminal: nothing in it may move the cursor or hide a line."""
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def _signers(signed_by: Sequence[dict[str, str]]) -> str:
    """Who signed, each with the roles of its signatures; a key without a name by its id."""
    roles: dict[str, list[str]] = {}
    for one in signed_by:
        roles.setdefault(one["name"], []).append(one["role"])
    shown = (f"{name} ({', '.join(sorted(found))})" for name, found in roles.items())
    return ", ".join(shown) or "none of the trust keys"


def _vouching(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """Who else vouches for the log, and by when the result was there by their word."""
    rows = []
    for title, name in (("witnesses", "witnesses"), ("stamped by", "timestamps")):
        if names := sorted({one["name"] for one in summary[name]}):
            rows.append((title, ", ".join(names)))
    if summary["existed_by"]:
        rows.append(("existed by", f"{summary['existed_by']}, by the word of those"))
    return rows


def _verdict(verdict: str | None) -> str:
    if verdict is None:
        return "–"
    return click.style(
        f"{_SIGNS.get(verdict, '·')} {verdict}", fg=_COLOURS.get(verdict, "yellow"), bold=True
    )


def _measures(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """What was measured, or should have been: title and text."""
    names = (
        ("RTO", "rto_seconds", " s"),
        ("RPO", "rpo_transactions", " transactions"),
        ("RPO", "rpo_seconds", " s"),
    )
    return [(title, text) for title, name, unit in names if (text := _measure(summary, name, unit))]


def _measure(summary: dict[str, Any], name: str, unit: str) -> str:
    value = summary[name]
    shown = "not observed" if value is None else f"{value:g}{unit}"
    target = next((one for one in summary["targets"] if one["name"] == name), None)
    if target is None:
        return "" if value is None else shown
    met = {True: "met", False: "MISSED", None: "not observed"}[target["met"]]
    return f"{shown} (target {target['target']:g}{unit}: {met})"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "none"
