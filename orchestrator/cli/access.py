"""`anlan access`: who may do what, a reviewer's decisions on it, and how it has changed since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import signing
from orchestrator.cli.common import (
    complete_environment,
    console,
    emit,
    find_environment,
    json_option,
)
from orchestrator.cli.drill_approve import PASSPHRASE, passphrase_of
from orchestrator.model.access import SYSTEMS, Difference, Right, right_from_json
from orchestrator.model.errors import InfrastructureError, InputError

if TYPE_CHECKING:
    from orchestrator.evidence.persons.access_reviews import Decision
    from orchestrator.model.environment import Environment
    from orchestrator.model.fact import Fact
    from orchestrator.report.access_sheet import System

_EXIT_DIFFERS, _EXIT_UNKNOWN = 1, 5
_KIND = "access_rights"
_ENV = click.argument("name", metavar="ENV", shell_complete=complete_environment)
_KEY = click.option(
    "--key",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"Your private key (PEM). If it is encrypted: {PASSPHRASE}, else you are asked.",
)


@click.group()
def access() -> None:
    """Review who may do what: list, decide, sign, and find what changed since."""


@access.command()
@_ENV
@click.option(
    "--sheet",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the sheet for the reviewer to this file (XLSX).",
)
@json_option
def review(name: str, sheet: Path | None, as_json: bool) -> int:
    """Collect the rights of every person and service in ENV, and compare with the review.

    \b
    Exit codes: 0 as reviewed, or nobody has reviewed yet, 1 different from the review,
    5 a system could not be asked.
    \b
    Examples:
      anlan access review local
      anlan access review local --sheet review.xlsx
    """
    facts = _facts(find_environment(name))
    missing = [fact for fact in facts if fact.status != "observed"]
    if sheet is not None:
        from orchestrator.report.access_sheet import write_sheet  # noqa: PLC0415

        _write(sheet, write_sheet(name, _systems(facts)))
    if as_json:
        emit({"environment": name, "facts": [fact.to_json() for fact in facts]})
    else:
        _show(facts)
        if sheet is not None:
            click.echo(f"for the reviewer: {sheet}")
    if missing:
        return _EXIT_UNKNOWN
    return _EXIT_DIFFERS if any(_differs(fact) for fact in facts) else 0


@access.command()
@_ENV
@_KEY
@click.option("--reason", required=True, help="Why; kept in the signed review.")
@json_option
def accept(name: str, key: Path, reason: str, as_json: bool) -> None:
    """Sign all rights that there are now in ENV as reviewed.

    Your key says who you are: its public part is in the environment's approval rule.

    \b
    Example:
      anlan access accept local --key alice.key --reason "first baseline, CAB 2026-11"
    """
    from orchestrator.evidence.persons.access_reviews import KEEP, Decision  # noqa: PLC0415

    environment = find_environment(name)
    systems = _systems(_facts(environment))
    decisions = {one.subject: [Decision(right, KEEP) for right in one.rights] for one in systems}
    _sign(environment, decisions, key, reason, as_json=as_json)


@access.command("sign-off")
@_ENV
@click.option(
    "--sheet",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The sheet of `anlan access review`, decided on.",
)
@_KEY
@click.option("--reason", default="", help="Kept in the signed review.")
@json_option
def sign_off(name: str, sheet: Path, key: Path, reason: str, as_json: bool) -> None:
    """Sign the decisions of a sheet: what is kept is reviewed, what is not must go.

    Refused for a sheet that was edited outside of the columns of the decision, or that is for
    other rights than ENV has now.

    \b
    Example:
      anlan access sign-off local --sheet review.xlsx --key alice.key
    """
    from orchestrator.evidence.persons.access_reviews import Decision  # noqa: PLC0415
    from orchestrator.report.access_sheet import read_sheet  # noqa: PLC0415

    environment = find_environment(name)
    try:
        content = sheet.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read it: {error.strerror}", file=str(sheet)) from error
    lines = read_sheet(content, name, _systems(_facts(environment)), file=str(sheet))
    decisions = {
        subject: [Decision(one.right, one.word, one.comment, one.reviewer) for one in said]
        for subject, said in lines.items()
    }
    _sign(environment, decisions, key, reason, as_json=as_json)


def _facts(environment: Environment) -> list[Fact]:
    from orchestrator.collect.kinds import collect_kinds  # noqa: PLC0415
    from orchestrator.drivers.secrets import Secrets  # noqa: PLC0415

    return collect_kinds(environment, Secrets(environment), [_KIND])


def _systems(facts: Sequence[Fact]) -> list[System]:
    """The rights of every system. Raises InfrastructureError when one could not be asked."""
    from orchestrator.report.access_sheet import System  # noqa: PLC0415

    systems = []
    for fact in facts:
        if fact.status != "observed":
            raise InfrastructureError(
                f"{fact.subject} is {fact.status}: {fact.error}",
                "a review is of every system: start it, or give the orchestrator the right",
            )
        systems.append(System(fact.subject, _name(fact.subject), _rights(fact)))
    return sorted(systems, key=lambda one: one.subject)


def _rights(fact: Fact) -> list[Right]:
    return [right_from_json(one) for one in fact.data["rights"]]


def _name(subject: str) -> str:
    site, _, rest = subject.partition("/")
    return SYSTEMS.get(subject) or SYSTEMS[f"{{site}}/{rest}"].replace("{site}", site)


def _sign(
    environment: Environment,
    decisions: Mapping[str, Sequence[Decision]],
    key: Path,
    reason: str,
    *,
    as_json: bool,
) -> None:
    from orchestrator.evidence.keys import LocalSigner, load_private_key  # noqa: PLC0415
    from orchestrator.evidence.persons.access_reviews import (  # noqa: PLC0415
        REMOVE,
        keep_review,
        sign_review,
    )

    signer = LocalSigner(load_private_key(key, passphrase_of(key)))
    who, content = sign_review(
        environment.name,
        decisions,
        environment.approvals,
        signer,
        reason=reason,
        now=datetime.now(UTC),
    )
    _log(environment.name, content)
    try:
        kept = keep_review(environment.root, content)
    except OSError as error:
        raise InfrastructureError(
            f"the review could not be kept: {error}", "make the environment's folder writable"
        ) from error
    said = [one for some in decisions.values() for one in some]
    remove = [str(one.right) for one in said if one.word == REMOVE]
    if as_json:
        emit(
            {
                "environment": environment.name,
                "reviewer": who,
                "rights": len(said),
                "remove": remove,
                "file": str(kept),
            }
        )
        return
    click.echo(f"{who} reviewed {len(said)} rights of {environment.name}: {kept}")
    for text in remove:
        click.echo(f"  to be removed: {text}")


def _log(environment: str, content: bytes) -> None:
    """Log a signed review before it counts. Raises InfrastructureError: then it does not."""
    from orchestrator.evidence import dsse  # noqa: PLC0415
    from orchestrator.evidence.persons import attestations  # noqa: PLC0415
    from orchestrator.evidence.retained.kept import ToLog  # noqa: PLC0415

    subject = attestations.subject_of(attestations.REVIEW, environment)
    one = ToLog(attestations.REVIEW, subject, dsse.parse(content).payload, content)
    try:
        signing.signing_store(environment).record_statement(environment, one)
    except InfrastructureError as error:
        raise InfrastructureError(
            f"the review was not kept, for it could not be logged: {error.what}", error.todo
        ) from error


def _write(path: Path, content: bytes) -> None:
    from orchestrator.evidence.files import write_atomically  # noqa: PLC0415

    try:
        write_atomically(path, content)
    except OSError as error:
        raise InfrastructureError(
            f"cannot write {path}: {error.strerror}", "name another file by --sheet"
        ) from error


def _changes(fact: Fact) -> list[tuple[str, str]]:
    """What differs from the review: (how, the right); nothing without a review."""
    return [(how, text) for how in vars(Difference()) for text in fact.data.get(how) or ()]


def _differs(fact: Fact) -> bool:
    return bool(_changes(fact))


def _show(facts: Sequence[Fact]) -> None:
    from rich import box  # noqa: PLC0415
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=box.SIMPLE, header_style="bold")
    for column in ("system", "principals", "rights", "review"):
        table.add_column(column, overflow="fold")
    for fact in facts:
        if fact.status != "observed":
            said = escape(f"{fact.status}: {fact.error}")
            table.add_row(_name(fact.subject), "?", "?", said)
            continue
        data: dict[str, Any] = fact.data
        by = f"{data['reviewer']}, {data['reviewed_at']}"
        said = escape(data["review_problem"]) or f"{by}: {_summary(fact)}"
        rights = str(len(data["rights"]))
        table.add_row(_name(fact.subject), str(data["principals"]), rights, said)
    screen = console()
    screen.print(table)
    for fact in facts:
        for how, text in _changes(fact):
            screen.print(f"{how.replace('_', ' ')}: {_name(fact.subject)}: {escape(text)}")


def _summary(fact: Fact) -> str:
    counts: dict[str, int] = {}
    for how, _ in _changes(fact):
        counts[how] = counts.get(how, 0) + 1
    told = ", ".join(f"{number} {how.replace('_', ' ')}" for how, number in counts.items())
    return told or "as reviewed"
