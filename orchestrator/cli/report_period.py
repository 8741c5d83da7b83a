"""`anlan report --environment NAME`: the report of an environment over a period."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from orchestrator.cli import common
from orchestrator.model.errors import InfrastructureError, InputError
from orchestrator.model.period import Period

_KINDS = ("period", "service")
_MONTH = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")
if TYPE_CHECKING:
    from orchestrator.report.period.view import Kind

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Wished:
    """Which report over a period is asked for, by the options of the command."""

    environment: str | None = None
    since: str | None = None
    until: str | None = None
    month: str | None = None
    kind: str | None = None

    @property
    def given(self) -> bool:
        """Whether any of them was."""
        return any((self.environment, self.since, self.until, self.month, self.kind))


@dataclass(frozen=True)
class Form:
    """How it is written: format, language, where to, folders with the font of the PDF."""

    name: str
    lang: str
    out: Path | None
    fonts: tuple[Path, ...]


def options(function: F) -> F:
    """Add the options of a report over a period."""
    for option in reversed(
        (
            click.option(
                "--environment",
                metavar="NAME",
                shell_complete=common.complete_environment,
                help="Instead of one run: this environment over a period.",
            ),
            click.option(
                "--from",
                "since",
                metavar="DATE",
                help="Begin of the period, e.g. 2026-10-01 (UTC).",
            ),
            click.option(
                "--to", "until", metavar="DATE", help="Its end, which is not in it: 2027-01-01."
            ),
            click.option(
                "--month", metavar="YYYY-MM", help="The period is this month, e.g. 2026-11 (UTC)."
            ),
            click.option(
                "--kind",
                type=click.Choice(_KINDS),
                help="Of a period: recovery and compliance, or the service review.  "
                "[default: period]",
            ),
        )
    ):
        function = option(function)
    return function


def source_of(run: str | None, wished: Wished) -> Callable[[], Period]:
    """Return what reads the period that is asked for: of a bundle, or of the state directory.

    Raises InputError when the options do not name one.
    """
    if run is not None:
        if wished.environment or wished.since or wished.until or wished.month:
            raise InputError(
                "a bundle has its own environment and period",
                "leave out --environment, --from, --to and --month",
            )
        bundle = Path(run)

        def from_bundle() -> Period:
            from orchestrator.evidence.period.record import period_of  # noqa: PLC0415

            return period_of(bundle)

        return from_bundle
    if not wished.environment:
        raise InputError(
            "--from, --to, --month and --kind are about an environment over a period",
            "name it with --environment, or give the bundle of a period",
        )
    since, until = span_of(wished, datetime.now(UTC))
    environment, state = wished.environment, common.state_directory()

    def from_state() -> Period:
        from orchestrator.evidence.period.record import period_from_state  # noqa: PLC0415

        return period_from_state(state, environment, since, until)

    return from_state


def span_of(wished: Wished, now: datetime) -> tuple[datetime, datetime]:
    """Return [since, until) of the options. Raises InputError for none, or one that is not over."""
    if wished.month:
        if wished.since or wished.until:
            raise InputError("--month is a period already", "leave out --from and --to")
        found = _MONTH.fullmatch(wished.month)
        if not found:
            raise InputError(f"{wished.month!r} is no month", "write 2026-11", path="--month")
        year, month = int(found[1]), int(found[2])
        following = (year + 1, 1) if month == 12 else (year, month + 1)
        since, until = datetime(year, month, 1, tzinfo=UTC), datetime(*following, 1, tzinfo=UTC)
    elif wished.since and wished.until:
        since, until = common.moment(wished.since, "--from"), common.moment(wished.until, "--to")
    else:
        raise InputError(
            "the period is not given", "name --from and --to, or --month", path="--environment"
        )
    if since >= until:
        raise InputError(
            f"the period begins at {since:%Y-%m-%dT%H:%MZ} and ends at {until:%Y-%m-%dT%H:%MZ}",
            "give a --from before --to; the day of --to is not in the period",
        )
    if until > now:
        raise InputError(
            f"the period ends at {until:%Y-%m-%dT%H:%MZ}, which is not over",
            f"what is due until then is not known yet: --from {since:%Y-%m-%d} "
            f"--to {now:%Y-%m-%dT%H:%MZ} is the latest",
        )
    return since, until


def write_period(
    read: Callable[[], Period], kind: str | None, form: Form, *, as_json: bool
) -> Path:
    """Write the report of the period that `read` gives; returns its file.

    Raises InputError when its runs are none, InfrastructureError when it cannot be written.
    """
    from orchestrator.evidence.files import write_atomically  # noqa: PLC0415
    from orchestrator.report.period.build import build_period  # noqa: PLC0415
    from orchestrator.report.period.formats import ENDINGS, render  # noqa: PLC0415

    chosen: Kind = "service" if kind == "service" else "period"
    period = read()
    with _Progress(quiet=as_json) as progress:
        view = build_period(period, chosen, progress=progress)
    content = render(view, form.name, form.lang, fonts=form.fonts)
    language = "" if form.lang == "en" or form.name == "json" else f".{form.lang}"
    name = (
        f"{view.environment}-{view.since[:10]}-{view.until[:10]}.{chosen}{language}."
        f"{ENDINGS[form.name]}"
    )
    target = form.out or Path(name.replace("/", "-"))
    try:
        write_atomically(target, content)
    except OSError as error:
        raise InfrastructureError(
            f"{target} cannot be written: {error.strerror}", "name another place with --out"
        ) from error
    if as_json:
        common.emit(
            {
                "environment": view.environment,
                "since": view.since,
                "until": view.until,
                "kind": chosen,
                "runs": len(view.runs),
                "format": form.name,
                "report": str(target),
            }
        )
    else:
        click.echo(target)
    return target


class _Progress:
    """Says on a terminal how many runs were read."""

    def __init__(self, *, quiet: bool) -> None:
        self._console = common.progress_console()
        self._status = None if quiet else self._console.status("reading the runs")

    def __enter__(self) -> _Progress:
        if self._status is not None and self._console.is_terminal:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None and self._console.is_terminal:
            self._status.stop()

    def __call__(self, done: int, of: int) -> None:
        if self._status is not None:
            self._status.update(f"{done} of {of} runs read")
