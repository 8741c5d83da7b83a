"""`anlan witness`: be the one who sees that a log has one history alone."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import common
from orchestrator.model.errors import InputError

if TYPE_CHECKING:
    from orchestrator.evidence.witness.folder import WitnessFolder

_FOLDER = click.argument("folder", type=click.Path(file_okay=False, path_type=Path))


@click.group()
def witness() -> None:
    """Watch the evidence logs of others: an auditor's witness, or a second site's.

    A witness cosigns the head of a log when it continues the one that it cosigned before. So the
    log's owner cannot show two histories, even with every key of his own.

    \b
    Examples:
      anlan witness init /srv/witness --name auditor.example/w1
      anlan witness trust /srv/witness anlan.dev/log/erp/5b78f07978d38931 evidence.pub
      anlan witness serve /srv/witness --listen 0.0.0.0:7380
      anlan witness show /srv/witness
    """


@witness.command()
@_FOLDER
@click.option("--name", required=True, help="Its name for ever, such as auditor.example/w1.")
@common.json_option
def init(folder: Path, name: str, as_json: bool) -> None:
    """Make a witness: a folder with a key of its own, which must never leave it.

    Prints what the owner of a log puts into his evidence settings, and an auditor into what she
    trusts. Called again it prints the same; it never replaces a key.

    \b
    Example:
      anlan witness init /srv/witness --name auditor.example/w1
    """
    from orchestrator.evidence.witness import folder as witness_folder  # noqa: PLC0415

    made = witness_folder.init(folder, name)
    if as_json:
        common.emit(_about(made))
        return
    click.echo(f"# the witness {made.name}; in one line for other tools:\n# {_line(made)}")
    click.echo("# for the evidence settings of a log's owner (url: where it is reached), and, name")
    click.echo("# and public_key, for what an auditor trusts:")
    click.echo("witnesses:")
    click.echo(f"  - name: {made.name}")
    click.echo(f"    url: file://{folder.absolute()}")
    click.echo("    public_key: |")
    for line in made.public_key_pem().splitlines():
        click.echo(f"      {line}")


@witness.command()
@_FOLDER
@click.argument("origin")
@click.argument("keyfile", type=click.Path(dir_okay=False, path_type=Path))
@common.json_option
def trust(folder: Path, origin: str, keyfile: Path, as_json: bool) -> None:
    """Accept a log: its ORIGIN, and the public key (KEYFILE, PEM) that signs its checkpoints.

    Get both from the log's owner by a way that you trust. The origin is the first line of `anlan
    evidence log checkpoint`. When the owner has rotated the key, call it again with the new one.

    \b
    Example:
      anlan witness trust /srv/witness anlan.dev/log/erp/5b78f07978d38931 evidence.pub
    """
    from orchestrator.evidence.keys import key_id, load_public_key  # noqa: PLC0415
    from orchestrator.evidence.witness.folder import WitnessFolder  # noqa: PLC0415

    key = load_public_key(keyfile)
    new = WitnessFolder(folder).trust(origin, key)
    if as_json:
        common.emit({"origin": origin, "key": key_id(key), "new": new})
    else:
        click.echo(f"{origin}: {key_id(key)} {'is accepted' if new else 'was accepted already'}")


@witness.command()
@_FOLDER
@common.json_option
def show(folder: Path, as_json: bool) -> None:
    """Show the logs that a witness knows, and the head of each that it cosigned last.

    The file named is that head: give it to `anlan evidence log verify --checkpoint FILE`, which
    shows that the log you are handed continues what the witness saw.

    \b
    Example:
      anlan witness show /srv/witness --json
    """
    from orchestrator.evidence.witness.folder import WitnessFolder  # noqa: PLC0415

    there = WitnessFolder(folder)
    rows = [one.to_json() for one in there.logs()]
    if as_json:
        common.emit({**_about(there), "logs": rows})
        return
    click.echo(f"{there.name}\n  key   {_line(there)}")
    if not rows:
        click.echo("  knows no log: `anlan witness trust FOLDER ORIGIN KEYFILE`")
    for row in rows:
        click.echo(f"  log   {row['origin']}")
        if row["checkpoint"] is None:
            click.echo("        nothing was cosigned yet")
            continue
        click.echo(f"        {row['size']} entries, cosigned {row['cosigned_at']}")
        click.echo(f"        root {row['root']}\n        {row['checkpoint']}")


@witness.command()
@_FOLDER
@click.option(
    "--listen",
    default="127.0.0.1:7380",
    show_default=True,
    metavar="HOST:PORT",
    help="Port 0: any.",
)
@click.option(
    "--tls-certificate",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Certificate chain (PEM); read once, at the start.",
)
@click.option(
    "--tls-key", type=click.Path(dir_okay=False, path_type=Path), help="Its private key (PEM)."
)
def serve(folder: Path, listen: str, tls_certificate: Path | None, tls_key: Path | None) -> None:
    """Answer over HTTP (c2sp.org/tlog-witness) until SIGTERM or Ctrl-C.

    One line on standard error for each request: time, from where, status, log and size. It may run
    beside others on the same folder.

    \b
    Examples:
      anlan witness serve /srv/witness
      anlan witness serve /srv/witness --listen 0.0.0.0:7380 --tls-certificate c.pem --tls-key k.pem
    """
    from orchestrator.drivers.witness_server import WitnessServer  # noqa: PLC0415
    from orchestrator.evidence.witness.folder import WitnessFolder  # noqa: PLC0415

    if (tls_certificate is None) != (tls_key is None):
        raise InputError("--tls-certificate and --tls-key go together", "give both or none")
    tls = (tls_certificate, tls_key) if tls_certificate and tls_key else None
    server = WitnessServer(WitnessFolder(folder), _address(listen), tls)

    def end(_number: int, _frame: Any) -> None:
        threading.Thread(target=server.shutdown, daemon=True).start()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    with server:  # waits for what was begun
        click.echo(f"{server.witness.name} answers at {server.url}", err=True)
        server.serve_forever(poll_interval=0.2)


def _about(there: WitnessFolder) -> dict[str, Any]:
    pem = there.public_key_pem()
    return {"name": there.name, "public_key": pem, "verifier_key": _line(there)}


def _line(there: WitnessFolder) -> str:
    from orchestrator.evidence.tlog.note import verifier_key  # noqa: PLC0415

    return verifier_key(there.name, there.public_key)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not (port.isascii() and port.isdigit()) or int(port) > 65_535:
        raise InputError(f"{text!r} is no address", "such as 127.0.0.1:7380", path="--listen")
    return host, int(port)
