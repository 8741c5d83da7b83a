"""What the commands of `anlan policy` share: the rules, the facts, a table."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.common import descriptor_path, find_environment, read_folder, state_directory
from orchestrator.model.errors import InputError
from orchestrator.model.folders import data_folder
from orchestrator.model.policy import Policy
from orchestrator.model.schema import nearest

if TYPE_CHECKING:
    from orchestrator.policy import Rules

folder_option = click.option(
    "--policies",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder of policies.  [default: the one that comes with anlan]",
)


site_option = click.option(
    "--site", help="Only subjects of this site; `common` for what belongs to none."
)


def load_rules(folder: Path | None) -> Rules:
    """Return the rules of a folder, or of the one that comes with anlan. Raises InputError."""
    from orchestrator.policy import decode_rules, parse_rules  # noqa: PLC0415  (commands import when called)

    folder = folder or data_folder("policies")
    name = str(folder)
    return parse_rules(decode_rules(read_folder(folder), folder=name), folder=name)


def find_policy(rules: Rules, name: str) -> Policy:
    """Return the policy of this id. Raises InputError."""
    found = {item.id: item for item in rules.policies}
    if name not in found:
        raise InputError(
            f"there is no policy {name!r}", nearest(name, found) or "see `anlan policy list`"
        )
    return found[name]


def facts_of(environment: str, kinds: Iterable[str], file: Path | None) -> list[Any]:
    """The facts of a file, or of the running systems."""
    from orchestrator.collect.kinds import collect_kinds  # noqa: PLC0415
    from orchestrator.drivers.secrets import Secrets  # noqa: PLC0415
    from orchestrator.engine.records import records_of  # noqa: PLC0415
    from orchestrator.model.fact import parse_facts  # noqa: PLC0415

    if file is None:
        described = find_environment(environment)
        records = records_of(described, state_directory())
        return collect_kinds(described, Secrets(described), sorted(kinds), records)
    try:
        document = json.loads(file.read_text())
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=str(file)) from error
    except ValueError as error:
        raise InputError(f"not JSON: {error}", file=str(file)) from error
    inner = document.get("facts") if isinstance(document, dict) else None
    return parse_facts(inner if isinstance(inner, dict) else document, file=str(file))


def exit_code(statuses: Container[str | None]) -> int:
    """1 when something is not satisfied, else 5 when something is not known, else 0."""
    if "not-satisfied" in statuses:
        return 1
    return 5 if "unknown" in statuses or "expired" in statuses else 0


def table_of(*columns: str) -> Any:
    """Return a rich table with these columns, in the look of every command."""
    from rich import box  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=box.SIMPLE, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def at_site(policies: Sequence[Policy], environment: str, site: str | None) -> list[Policy]:
    """Return the policies with the subjects of one site (or `common`) alone; all without one.

    A policy without such a subject is left out. Raises InputError for a site that does not exist.
    """
    if site is None:
        return list(policies)
    sites = sorted(json.loads(descriptor_path(environment).read_text())["sites"])
    if site not in (*sites, "common"):
        todo = f"its sites are {', '.join(sites)}, and `common`"
        raise InputError(f"there is no site {site!r}", todo, path="--site")
    chosen = []
    for policy in policies:
        named = [
            subject if site == "common" else subject.replace("{site}", site)
            for subject in policy.subjects
        ]
        subjects = tuple(subject for subject in named if subject.startswith(f"{site}/"))
        if subjects:
            chosen.append(dataclasses.replace(policy, subjects=subjects))
    return chosen
