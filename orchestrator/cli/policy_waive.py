"""`anlan policy waive`, `withdraw` and `waivers`: signed exceptions from a policy, for a while."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import signing
from orchestrator.cli.common import (
    complete_environment,
    console,
    descriptor_path,
    emit,
    json_option,
    state_directory,
)
from orchestrator.cli.policy_common import folder_option, load_rules, table_of
from orchestrator.model.errors import InfrastructureError, InputError
from orchestrator.model.schema import nearest

if TYPE_CHECKING:
    from orchestrator.evidence.persons.waivers import Judged
    from orchestrator.model.policy import Policy
    from orchestrator.model.waiver import Waiver

_EXIT_DAMAGED = 2


_key_option = click.option(
    "--key",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="Your private key (PEM); its public part is in the environment's approval rule.",
)


@click.command()
@click.argument("environment", metavar="ENV", shell_complete=complete_environment)
@click.argument("name", metavar="POLICY")
@folder_option
@click.option(
    "--subject",
    "subjects",
    multiple=True,
    required=True,
    help="Subject, or a pattern of subjects (b/*); may be given again.",
)
@click.option("--reason", required=True, help="Why, and what is done instead.")
@click.option("--owner", required=True, help="Who answers for the risk.")
@click.option("--until", required=True, help="The last day (YYYY-MM-DD, UTC).")
@_key_option
@click.option("--dry-run", is_flag=True, help="Say what would be signed; write nothing.")
@json_option
def waive(
    *,
    environment: str,
    name: str,
    folder: Path | None,
    subjects: tuple[str, ...],
    reason: str,
    owner: str,
    until: str,
    key: Path,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Sign an exception: POLICY need not hold at these subjects of ENV until a day.

    The finding stays what it is and carries the waiver; `policy check` ends with 0 when all that
    does not hold is waived. It is in the evidence log before it is in force. The same waiver again
    changes nothing.

    \b
    Example:
      anlan policy waive local clocks-in-step --subject b/postgresql --owner "Li Wei" \\
        --reason "clock card ordered, PO 4711" --until 2027-01-31 --key approver.key
    """
    from orchestrator.cli.drill_approve import passphrase_of  # noqa: PLC0415
    from orchestrator.evidence.keys import LocalSigner, load_private_key  # noqa: PLC0415
    from orchestrator.evidence.persons.waivers import make, same  # noqa: PLC0415
    from orchestrator.model.fact import timestamp  # noqa: PLC0415

    descriptor = json.loads(descriptor_path(environment).read_text())
    rules = {one.id: one for one in load_rules(folder).policies}
    if name not in rules:
        todo = nearest(name, rules) or "see `anlan policy list`"
        raise InputError(f"there is no policy {name!r}", todo)
    for subject in subjects:
        _check_subject(rules[name], subject, sorted(descriptor["sites"]))
    now = datetime.now(UTC)
    wanted = {
        "policy": name,
        "subjects": list(dict.fromkeys(subjects)),
        "environment": environment,
        "owner": owner,
        "reason": reason,
        "from": timestamp(now),
        "until": timestamp(_end_of(until)),
    }
    signer = LocalSigner(load_private_key(key, passphrase_of(key)))
    rule = descriptor.get("approvals", {})
    waiver, envelope = make(rule, wanted, signer, now)
    judged = judged_waivers(environment, descriptor, now)
    there = next((one for one in judged.counting if same(one, waiver)), None)
    if there is None and not dry_run:
        for one, content in _begun(environment, rule, judged):
            if same(one, waiver):
                waiver, envelope = one, content
        _log(environment, envelope)
        _keep(environment, waiver.digest, envelope)
    did = "was there already" if there else "would be kept" if dry_run else "kept"
    kept = there or waiver
    if as_json:
        emit({**kept.to_json(), "new": there is None, "dry_run": dry_run})
        return
    click.echo(
        f"{name} at {', '.join(kept.subjects)} of {environment} until {timestamp(kept.ends)}, "
        f"owner {owner}, signed by {kept.approver}: {did}"
    )


@click.command()
@click.argument("environment", metavar="ENV", shell_complete=complete_environment)
@click.argument("name", metavar="WAIVER")
@click.option("--reason", required=True, help="Why it is needed no more.")
@_key_option
@json_option
def withdraw(*, environment: str, name: str, reason: str, key: Path, as_json: bool) -> None:
    """End a waiver of ENV before its last day; that is signed and logged as the waiver was.

    WAIVER is its digest, or the beginning of it, as `anlan policy waivers` shows it. Again it
    changes nothing.

    \b
    Example:
      anlan policy withdraw local 3f9c0a12 --reason "the clock card is in" --key approver.key
    """
    from orchestrator.cli.drill_approve import passphrase_of  # noqa: PLC0415
    from orchestrator.evidence.keys import LocalSigner, load_private_key  # noqa: PLC0415
    from orchestrator.evidence.persons import attestations  # noqa: PLC0415

    descriptor = json.loads(descriptor_path(environment).read_text())
    rule, state, now = descriptor.get("approvals", {}), state_directory(), datetime.now(UTC)
    judged = judged_waivers(environment, descriptor, now)
    waiver = _named(name, judged, state, rule)
    content = attestations.kept_withdrawal(state, waiver.digest, rule)
    if content is None:
        signer = LocalSigner(load_private_key(key, passphrase_of(key)))
        content = attestations.withdraw(rule, waiver, signer, reason=reason, now=now)
    is_new = _log(environment, content)
    for file, one in judged.waivers.items():
        if one.digest == waiver.digest:
            (_folder(environment) / file).unlink(missing_ok=True)
    if as_json:
        emit({"waiver": waiver.to_json(), "withdrawn": True, "new": is_new})
        return
    did = "withdrawn" if is_new else "was withdrawn already"
    click.echo(f"{waiver.policy} at {', '.join(waiver.subjects)} of {environment}: {did}")


@click.command()
@click.argument("environment", metavar="ENV", shell_complete=complete_environment)
@json_option
def waivers(environment: str, as_json: bool) -> int:
    """List the waivers of ENV: in force, not yet, expired, and what cannot be counted.

    \b
    Exit codes: 0, or 2 when a file is damaged.

    \b
    Example:
      anlan policy waivers local
    """
    now = datetime.now(UTC)
    judged = judged_waivers(environment, None, now)
    rows = _rows(judged)
    if as_json:
        emit({"waivers": rows, "problems": [one.to_json() for one in judged.problems]})
    elif not rows and not judged.problems:
        click.echo(f"no policy is waived in {environment}")
    else:
        _show(rows)
        tell_problems(judged)
    return _EXIT_DAMAGED if judged.damaged else 0


def judged_waivers(environment: str, descriptor: dict[str, Any] | None, now: datetime) -> Judged:
    """Return the waivers that an environment keeps, judged by its approval rule and the log."""
    from orchestrator.evidence.persons.attestations import standing  # noqa: PLC0415
    from orchestrator.evidence.persons.waivers import judge, read_folder  # noqa: PLC0415

    if descriptor is None:
        descriptor = json.loads(descriptor_path(environment).read_text())
    try:
        files = read_folder(descriptor_path(environment).parent)
    except OSError as error:
        raise InfrastructureError(
            f"the waivers cannot be read: {error.strerror}", f"look at {_folder(environment)}"
        ) from error
    judged = judge(files, descriptor.get("approvals"), environment, now)
    if not judged.counting:
        return judged
    return standing(state_directory(), judged, signing.entries_of(environment))


def tell_problems(judged: Judged) -> None:
    """Name each waiver that does not count, on standard error."""
    for one in judged.problems:
        click.echo(f"waiver not counted: {one.path} ({one.code}): {one.message}", err=True)


def _check_subject(policy: Policy, pattern: str, sites: list[str]) -> None:
    """Raises InputError for a pattern that none of the policy's subjects matches."""
    from orchestrator.policy.evaluate import population  # noqa: PLC0415

    known = population(policy, sites)
    if not any(fnmatchcase(subject, pattern) for subject in known):
        raise InputError(
            f"policy {policy.id} has no subject {pattern!r}",
            nearest(pattern, known) or f"its subjects: {', '.join(known)}",
            path="--subject",
        )


def _end_of(day: str) -> datetime:
    """The last millisecond of a day. Raises InputError."""
    try:
        return datetime.combine(date.fromisoformat(day), time(23, 59, 59, 999000), UTC)
    except ValueError as error:
        raise InputError(f"not a day: {day!r}", "write YYYY-MM-DD", path="--until") from error


def _folder(environment: str) -> Path:
    from orchestrator.evidence.persons.waivers import FOLDER  # noqa: PLC0415

    return descriptor_path(environment).parent / FOLDER


def _keep(environment: str, digest: str, envelope: bytes) -> None:
    from orchestrator.drivers.files import write_atomically  # noqa: PLC0415

    path = _folder(environment) / f"{digest}.json"
    try:
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, envelope.decode(), mode=0o644)
    except OSError as error:
        raise InfrastructureError(
            f"the waiver cannot be kept: {error.strerror}", f"look at {path.parent}"
        ) from error


def _log(environment: str, envelope: bytes) -> bool:
    """Log what an approver signed; whether that was new. Raises InfrastructureError."""
    from orchestrator.evidence import dsse  # noqa: PLC0415
    from orchestrator.evidence.persons import attestations  # noqa: PLC0415
    from orchestrator.evidence.retained.kept import ToLog  # noqa: PLC0415

    before = len(signing.entries_of(environment))
    subject = attestations.subject_of(attestations.WAIVER, environment)
    one = ToLog(attestations.WAIVER, subject, dsse.parse(envelope).payload, envelope)
    try:
        entry = signing.signing_store(environment).record_statement(environment, one)
    except InfrastructureError as error:
        raise InfrastructureError(
            f"nothing was changed, for it could not be logged: {error.what}", error.todo
        ) from error
    return entry.index >= before


def _begun(
    environment: str, rule: dict[str, Any], judged: Judged
) -> Iterator[tuple[Waiver, bytes]]:
    """The waivers that are not in force yet: of a command that died, and of before there was a log.

    Each with its envelope; none that was withdrawn.
    """
    from orchestrator.evidence.persons.attestations import kept_waivers  # noqa: PLC0415

    unlogged = {p.path.rpartition("/")[2] for p in judged.problems if p.code == "waiver-unlogged"}
    for name in sorted(unlogged):
        yield judged.waivers[name], (_folder(environment) / name).read_bytes()
    yield from kept_waivers(state_directory(), rule).values()


def _named(name: str, judged: Judged, state: Path, rule: dict[str, Any]) -> Waiver:
    """The waiver whose digest begins so. Raises InputError when there is not exactly one."""
    from orchestrator.evidence.persons.attestations import kept_waivers  # noqa: PLC0415

    there = {one.digest: one for one in judged.waivers.values()}
    there |= {digest: one for digest, (one, _) in kept_waivers(state, rule, withdrawn=True).items()}
    found = [one for digest, one in there.items() if digest.startswith(name)]
    if len(found) != 1:
        what = "is ambiguous" if found else "does not exist"
        raise InputError(f"waiver {name!r} {what}", "see `anlan policy waivers`", path="WAIVER")
    return found[0]


def _rows(judged: Judged) -> list[dict[str, Any]]:
    """The validly signed waivers with their state, the soonest to end first."""
    codes = {one.path.rpartition("/")[2]: one.code for one in judged.problems}
    rows = []
    for name, one in sorted(judged.waivers.items(), key=lambda item: item[1].ends):
        state = "in force" if one in judged.counting else "not yet"
        if name in codes:
            state = codes[name].removeprefix("waiver-")
        rows.append({**one.to_json(), "state": state})
    return rows


def _show(rows: list[dict[str, Any]]) -> None:
    from rich.markup import escape  # noqa: PLC0415

    table = table_of("waiver", "policy", "subjects", "state", "until", "owner, approver, reason")
    for row in rows:
        who = f"{row['owner']}, signed by {row['approver']}\n{row['reason']}"
        subjects = ", ".join(row["subjects"])
        cells = (row["digest"][:8], row["policy"], subjects, row["state"], row["until"])
        table.add_row(*cells, escape(who))
    console().print(table)
