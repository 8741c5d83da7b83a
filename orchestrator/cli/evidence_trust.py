"""`anlan evidence trust`: make, change and show a trust file; `countersign`: sign a bundle too."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import common
from orchestrator.cli.drill_approve import PASSPHRASE, passphrase_of
from orchestrator.cli.verify import echo, moment
from orchestrator.model.errors import InputError

if TYPE_CHECKING:
    from orchestrator.evidence import Trust

_ROLES = ("orchestrator", "log", "operator", "approver", "verifier")
_FILE = click.option(
    "--file",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("trust.json"),
    show_default=True,
    help="The trust file to change.",
)


@click.group("trust")
def trust() -> None:
    """Make and keep a trust file: whom an auditor believes, in which role, and when."""


@trust.command()
@click.argument("environment", shell_complete=common.complete_environment)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("trust.json"),
    show_default=True,
    help="File to write; one with other content is not replaced.",
)
@common.json_option
def init(environment: str, out: Path, as_json: bool) -> int:
    """Draft a trust file from an environment: its evidence key, its log, who vouches for it.

    It is what the environment says of itself. Compare every fingerprint with its owner by another
    way (`anlan evidence trust show`) before you verify anything with it.

    \b
    Example:
      anlan evidence trust init production --out trust.json
    """
    from orchestrator.evidence.tlog import log, note  # noqa: PLC0415
    from orchestrator.evidence.tlog.tiles import CHECKPOINT  # noqa: PLC0415
    from orchestrator.evidence.trust import edit as trust_edit  # noqa: PLC0415

    found = common.find_environment(environment)
    try:
        public_key = found.evidence_public_key.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"cannot read the evidence key: {error.strerror}",
            f"provision the environment: `anlan up {environment}`",
            file=str(found.evidence_public_key),
        ) from error
    head = log.log_of(common.state_directory(), environment).read(CHECKPOINT)
    origin = note.parse(head).origin if head else ""
    made = trust_edit.draft(environment, public_key, origin, found.evidence, found.approvals)
    if out.exists() and _document(out) != made:
        raise InputError(
            "there is another trust file already",
            "change it by `anlan evidence trust add`, or name another one by --out",
            file=str(out),
        )
    _write(out, made)
    if as_json:
        common.emit({"file": str(out), "trust": made})
        return 0
    _show(out, made)
    if not origin:
        echo("no log yet: any log of these keys counts; write its origin in after the first drill")
    echo("compare every id with the environment's owner by another way before you trust it")
    return 0


@trust.command()
@click.argument("name")
@click.option(
    "--role",
    "roles",
    multiple=True,
    type=click.Choice([*_ROLES, "witness", "timestamp-authority"]),
    required=True,
    help="What it may sign; may be given again (a witness or an authority is that alone).",
)
@click.option(
    "--key",
    "--roots",
    "source",
    metavar="FILE",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Its public key (PEM); of a timestamp authority its root certificates (PEM).",
)
@click.option(
    "--intermediates",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The certificates (PEM) between an authority's roots and its own.",
)
@click.option("--from", "begins", metavar="TIME", default="", help="Valid from.")
@click.option("--until", "ends", metavar="TIME", default="", help="Valid until.")
@click.option("--replaces", metavar="NAME", default="", help="The key that ends when this begins.")
@_FILE
@common.json_option
def add(
    *,
    name: str,
    roles: Sequence[str],
    source: Path,
    intermediates: Path | None,
    begins: str,
    ends: str,
    replaces: str,
    file: Path,
    as_json: bool,
) -> int:
    """Add a key, a witness or a timestamp authority called NAME; again it changes nothing.

    \b
    Examples:
      anlan evidence trust add olga --role operator --key olga.pub
      anlan evidence trust add evidence-2027 --role orchestrator --role log --key new.pub \\
          --from 2027-01-01T00:00:00Z --replaces production-evidence
      anlan evidence trust add witness.example/a --role witness --key witness.pub
      anlan evidence trust add tsa.example --role timestamp-authority --roots root.pem
    """
    from orchestrator.evidence.keys import parse_public_key  # noqa: PLC0415
    from orchestrator.evidence.trust import edit as trust_edit  # noqa: PLC0415

    alone = [role for role in roles if role not in _ROLES]
    if alone and (len(set(roles)) > 1 or replaces):
        raise InputError(f"a {alone[0]} is that alone", "add it by itself", path="--role")
    if intermediates and "timestamp-authority" not in roles:
        raise InputError("only a timestamp authority has them", path="--intermediates")
    text = _text(source)
    entry: dict[str, Any] = {"name": name, "public_key": text}
    part = "keys"
    if "timestamp-authority" in roles:
        part, entry = "timestamp_authorities", {"name": name, "roots": text}
        if intermediates:
            entry["intermediates"] = _text(intermediates)
    else:
        parse_public_key(text.encode(), file=str(source))  # an error names the key's file
    if "witness" in roles:
        part = "witnesses"
    elif part == "keys":
        entry["roles"] = [role for role in _ROLES if role in roles]
    entry |= _window(begins, ends)
    before = _document(file)
    made = trust_edit.with_key(before, entry, part=part, replaces=replaces, file=str(file))
    return _done(file, before, made, as_json=as_json)


@trust.command()
@click.argument("key", metavar="KEYID|NAME")
@click.option(
    "--at",
    metavar="TIME",
    required=True,
    help="The first moment when somebody else may have had it.",
)
@click.option("--why", required=True, help="Why; shown by every verification that it concerns.")
@_FILE
@common.json_option
def revoke(*, key: str, at: str, why: str, file: Path, as_json: bool) -> int:
    """Revoke a key from a time on: it counts only for what witnesses saw signed before.

    \b
    Example:
      anlan evidence trust revoke evidence-2026 --at 2026-11-02T00:00:00Z --why "backup was stolen"
    """
    from orchestrator.evidence.trust import edit as trust_edit  # noqa: PLC0415

    since = moment(at, "--at")
    if since is None:
        raise InputError("no time", "write it like 2026-10-01T08:00:00Z", path="--at")
    before = _document(file)
    made = trust_edit.revoked(before, key, since, why, file=str(file))
    return _done(file, before, made, as_json=as_json)


@trust.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@common.json_option
def show(file: Path, as_json: bool) -> int:
    """Show who is trusted: names, roles, ids to compare, and from when until when.

    \b
    Example:
      anlan evidence trust show trust.json
    """
    data = _document(file)
    if as_json:
        common.emit({"file": str(file), "trust": data, "ids": _ids(_trust(file, data))})
    else:
        _show(file, data)
    return 0


@click.command()
@click.argument("bundle", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--key",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"Your private key (PEM). If it is encrypted: {PASSPHRASE}, else you are asked.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the signed bundle there.  [default: BUNDLE itself]",
)
@common.json_option
def countersign(bundle: Path, key: Path, out: Path | None, as_json: bool) -> int:
    """Sign a bundle beside its orchestrator: as operator, approver or verifier of a trust file.

    Your signature is over the manifest, so over every file. Verify the bundle first: signing it
    proves only that you did. Signing twice changes nothing.

    \b
    Example:
      anlan evidence countersign failover-20261124t201500-ab12.zip --key verifier.key
    """
    from orchestrator.evidence import LocalSigner, key_id  # noqa: PLC0415
    from orchestrator.evidence.countersign import countersign as sign  # noqa: PLC0415

    try:
        packed = bundle.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read the bundle: {error.strerror}",
            "name the file that you were given",
            file=str(bundle),
        ) from error
    signer = LocalSigner.from_file(key, passphrase_of(key))
    signed = sign(packed, signer, file=str(bundle))
    target = out or bundle
    if signed != packed or target != bundle:
        common.write_out(target, signed)
    name = key_id(signer.public_key)
    if as_json:
        common.emit({"bundle": str(target), "key": name, "changed": signed != packed})
    else:
        echo(f"{target}: signed by {name}" + ("" if signed != packed else " already"))
    return 0


def _window(begins: str, ends: str) -> dict[str, str]:
    from orchestrator.model.fact import timestamp  # noqa: PLC0415

    times = {
        "valid_from": moment(begins, "--from"),
        "valid_until": moment(ends, "--until"),
    }
    return {name: timestamp(time) for name, time in times.items() if time is not None}


def _done(file: Path, before: Mapping[str, Any], made: Mapping[str, Any], *, as_json: bool) -> int:
    changed = before != made
    if changed:
        _write(file, made)
    if as_json:
        common.emit({"file": str(file), "changed": changed, "trust": made})
    else:
        _show(file, made)
    return 0


def _write(file: Path, data: Mapping[str, Any]) -> None:
    text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    common.write_out(file, text.encode())


def _document(file: Path) -> dict[str, Any]:
    from orchestrator.evidence.trust import file as trust_file  # noqa: PLC0415

    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read the trust file: {error.strerror}",
            "begin one: `anlan evidence trust init ENVIRONMENT`",
            file=str(file),
        ) from error
    return trust_file.document(content, file=str(file))


def _trust(file: Path, data: Mapping[str, Any]) -> Trust:
    from orchestrator.evidence.trust import file as trust_file  # noqa: PLC0415

    return trust_file.trust_of(data, file=str(file))


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii")
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror}", "give a PEM file", file=str(file)
        ) from error
    except UnicodeDecodeError as error:
        raise InputError("is no text in PEM", "give a PEM file", file=str(file)) from error


def _ids(given: Trust) -> dict[str, list[str]]:
    """Name → what to compare by another way: a key's id, the sha256 of each root certificate."""
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415

    from orchestrator.evidence import key_id  # noqa: PLC0415

    return {
        **{one.name: [one.id] for one in given.signers},
        **{one.name: [key_id(one.key)] for one in given.witnesses},
        **{
            one.name: [f"sha256:{root.fingerprint(SHA256()).hex()}" for root in one.roots]
            for one in given.authorities
        },
    }


def _show(file: Path, data: Mapping[str, Any]) -> None:
    from rich.table import Table  # noqa: PLC0415

    given = _trust(file, data)
    ids, limits = _ids(given), given.thresholds
    table = Table("name", "role", "valid", box=None, pad_edge=False)
    for part, role, wanted in (
        ("keys", "", 0),
        ("witnesses", "witness", limits.witnesses),
        ("timestamp_authorities", "timestamp authority", limits.timestamps),
    ):
        for one in data.get(part, ()):
            said = ", ".join(one["roles"]) if not role else f"{role}, {wanted} wanted"
            table.add_row(one["name"], said, _valid(one))
    common.console().print(table)
    for name, values in ids.items():  # whole on any terminal: they are to be compared
        echo("".join(f"{value}  {name}\n" for value in values).rstrip())
    echo(f"environment  {given.environment or 'any'}")
    echo(f"logs         {', '.join(sorted(given.logs)) or 'any'}")
    counts = {role: getattr(limits, role) for role in ("orchestrator", *_ROLES[2:])}
    echo(f"signed by    {', '.join(f'{n} {role}' for role, n in counts.items() if n)}")
    if given.max_age_days is not None:
        echo(f"age          {given.max_age_days:g} days at most")
    if given.approvals is not None:
        echo(f"approvals    {given.approvals['required']} needed on production")


def _valid(entry: Mapping[str, Any]) -> str:
    if "revoked_at" in entry:
        return f"revoked {entry['revoked_at']}: {entry.get('revoked_why', 'no reason given')}"
    begins, ends = entry.get("valid_from"), entry.get("valid_until")
    words = [f"from {begins}" if begins else "", f"until {ends}" if ends else ""]
    return " ".join(word for word in words if word) or "always"
