"""How `anlan policy check` hands its findings over: which format, to where."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from orchestrator.cli.common import json_option
from orchestrator.model.errors import InfrastructureError, InputError
from orchestrator.model.policy import Policy

F = TypeVar("F", bound=Callable[..., Any])
_FORMATS = ("table", "json", "sarif", "junit", "ocsf")


def output_options(function: F) -> F:
    """Add `--format`, its short form `--json`, and `--output`."""
    for option in (
        click.option(
            "--output",
            type=click.Path(dir_okay=False, path_type=Path),
            help="Write what --format says to this file, whole or not at all.",
        ),
        json_option,
        click.option(
            "--format",
            "form",
            type=click.Choice(_FORMATS),
            default="table",
            show_default=True,
            help="SARIF 2.1.0, JUnit XML, or OCSF 1.6.0 (JSON lines).",
        ),
    ):
        function = option(function)
    return function


def deliver(
    findings: Mapping[str, Any],
    policies: Sequence[Policy],
    environment: str,
    form: str,
    output: Path | None,
) -> bool:
    """Print or write the findings document in a format; False when they are to be a table.

    Raises InputError for a table to a file, InfrastructureError when it cannot be written.
    """
    from orchestrator.drivers.files import write_atomically  # noqa: PLC0415
    from orchestrator.report.formats import RENDERERS  # noqa: PLC0415

    if form == "table":
        if output is not None:
            known = ", ".join(_FORMATS[1:])
            raise InputError(
                "a table is for the screen", f"give --format: {known}", path="--output"
            )
        return False
    text = RENDERERS[form](findings, {one.id: one for one in policies}, environment)
    if output is None:
        click.echo(text, nl=False)
        return True
    try:
        write_atomically(output, text, mode=0o644)
    except OSError as error:
        raise InfrastructureError(
            f"cannot write {output}: {error.strerror}", "name another file by --output"
        ) from error
    return True
