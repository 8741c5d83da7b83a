"""`anlan report`: the report of a run or of a period, in the format that its reader wants."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from orchestrator.cli import common, report_period
from orchestrator.model.errors import InfrastructureError, InputError

_FORMATS = ("html", "pdf", "xlsx", "json", "oscal")


@click.command("report")
@click.argument("run", metavar="[RUN|BUNDLE]", required=False, shell_complete=common.complete_run)
@report_period.options
@click.option(
    "--format",
    "form",
    type=click.Choice(_FORMATS),
    default="html",
    show_default=True,
    help="Which format.",
)
@click.option(
    "--lang",
    type=click.Choice(("en", "zh")),
    default="en",
    show_default=True,
    help="Language of pdf, xlsx, oscal and a period's html; json and a run's html hold both.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write it.  [default: beside the run's files; of a bundle or period in this "
    "folder]",
)
@click.option("--open", "show", is_flag=True, help="Open it with the program for such files.")
@click.option(
    "--fonts",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="ANLAN_FONTS",
    help="Folder with the font of the pdf (Noto Sans CJK).  [env: ANLAN_FONTS]",
)
@common.json_option
def report(
    run: str | None,
    *,
    environment: str | None,
    since: str | None,
    until: str | None,
    month: str | None,
    kind: str | None,
    form: str,
    lang: str,
    out: Path | None,
    show: bool,
    fonts: Path | None,
    as_json: bool,
) -> int:
    """Write the report of a run that has ended, or of an environment over a period.

    A run is named by its id or by its bundle, a period by --environment and its dates or by its
    bundle. Every format shows the same values, and the same evidence gives the same bytes. A
    bundle is all that is needed; verify it first (`anlan evidence verify`): a report proves
    nothing by itself.

    \b
    pdf    for who decides, who audits and who repairs, in one document (PDF/A-2b)
    xlsx   steps, checks, findings, controls, facts, evidence as tables
    json   what all the others show, for programs (schemas report, period-report)
    oscal  OSCAL 1.2.1 assessment results

    \b
    Examples:
      anlan report failover-20261128t202116-7b2c --open
      anlan report failover-20261128t202116-7b2c --format pdf --lang zh
      anlan report failover-20261128t202116-7b2c.zip --format xlsx --out drill.xlsx
      anlan report --environment local --from 2026-10-01 --to 2027-01-01 --format pdf
      anlan report --environment local --month 2026-11 --kind service --format pdf --lang zh
      anlan report q4.zip --format pdf
    """
    from orchestrator.evidence.period.verify import is_period  # noqa: PLC0415
    from orchestrator.report.fonts import FOLDERS  # noqa: PLC0415

    # A folder that was named is the only one that is looked into.
    places = (fonts,) if fonts else FOLDERS
    wished = report_period.Wished(environment, since, until, month, kind)
    if run is not None and environment:
        raise InputError("a run or bundle and --environment are two things", "name one of them")
    if run is None or (Path(run).is_file() and is_period(Path(run))):
        if run is None and not wished.given:
            raise InputError(
                "nothing is named to report on",
                "name a run, a bundle, or --environment with --from and --to or --month",
            )
        wanted = report_period.Form(form, lang, out, tuple(places))
        read = report_period.source_of(run, wished)
        written = report_period.write_period(read, kind, wanted, as_json=as_json)
        return _open(written, show=show)
    if wished.given:
        raise InputError(
            "--from, --to, --month and --kind are about a period",
            "leave them out for one run, or name --environment instead of the run",
        )
    from orchestrator.evidence.files import write_atomically  # noqa: PLC0415
    from orchestrator.report.run_formats import FILES, render_format  # noqa: PLC0415

    bundle = Path(run)
    if bundle.is_file():
        contents, folder, file = _from_bundle(bundle), Path(), str(bundle)
        name = f"{bundle.stem}.{FILES[form]}"
    else:
        contents, folder = _from_state(run)
        name, file = FILES[form], str(folder)
    target = out or folder / (name if lang == "en" else _with_language(name, form, lang))
    try:
        content = render_format(contents, form, lang, fonts=places, file=file)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"its files are not those of a run: {error}",
            "`anlan evidence verify` says what is wrong with a bundle",
            file=file,
        ) from error
    try:
        write_atomically(target, content)
    except OSError as error:
        raise InfrastructureError(
            f"{target} cannot be written: {error.strerror}", "name another place with --out"
        ) from error
    if as_json:
        common.emit({"run_id": _run_id(contents), "format": form, "report": str(target)})
    else:
        click.echo(target)
    return _open(target, show=show)


def _open(target: Path, *, show: bool) -> int:
    if show:
        click.launch(str(target))
    return 0


def _from_state(run: str) -> tuple[dict[str, bytes], Path]:
    from orchestrator.engine.runs import load  # noqa: PLC0415
    from orchestrator.evidence.layout import read_run_directory  # noqa: PLC0415

    if run.endswith(".zip") or "/" in run:
        raise InputError("there is no such bundle", "name its file, or the id of a run", file=run)
    directory = load(common.state_directory(), run).directory
    return read_run_directory(directory), directory


def _from_bundle(path: Path) -> dict[str, bytes]:
    from orchestrator.evidence.bundle import Limits, PackageError, unpack  # noqa: PLC0415

    limits = Limits()
    try:
        with path.open("rb") as stream:
            return unpack(stream.read(limits.archive_bytes + 1), limits)
    except PackageError as error:
        raise InputError(
            f"it is no bundle ({error.code}): {error}",
            "`anlan evidence export RUN` makes one",
            file=str(path),
        ) from error
    except OSError as error:
        todo = "check the path and your rights"
        raise InputError(f"cannot be read: {error.strerror}", todo, file=str(path)) from error


def _with_language(name: str, form: str, lang: str) -> str:
    if form in {"html", "json"}:
        return name
    stem, _, ending = name.rpartition(".")
    return f"{stem}.{lang}.{ending}"


def _run_id(contents: Mapping[str, bytes]) -> str:
    from orchestrator.evidence.layout import PLAN  # noqa: PLC0415
    from orchestrator.model.canonical import strict_loads  # noqa: PLC0415

    return str(strict_loads(contents[PLAN])["run_id"])
