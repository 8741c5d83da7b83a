"""`anlan evidence key`: the public key that an environment's evidence is signed with now."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli import common


@click.command()
@click.argument("environment", shell_complete=common.complete_environment)
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the key (PEM) there.",
)
@common.json_option
def key(environment: str, out: Path | None, as_json: bool) -> int:
    """Print the public key that the evidence of ENVIRONMENT is signed with now, and its id.

    It is asked of the signer itself: the secret manager, the key management service or the key
    file that the environment's settings name. Hand it to auditors over a way that they trust: it
    is what `anlan evidence verify --trust` wants. Keys of former signers stay in evidence/keys of
    the state directory. The id goes to standard error, unless the key is written to a file.

    \b
    Examples:
      anlan evidence key local > evidence.pub
      anlan evidence key local --out evidence.pub
    """
    from orchestrator.drivers.secrets import Secrets  # noqa: PLC0415
    from orchestrator.drivers.signers import signer_of, signer_settings  # noqa: PLC0415
    from orchestrator.evidence.keys import key_id, parse_public_key  # noqa: PLC0415

    found = common.find_environment(environment)
    pem = signer_of(found, Secrets(found)).public_key_pem()
    name, driver = key_id(parse_public_key(pem.encode())), signer_settings(found)["driver"]
    if out is not None:
        common.write_out(out, pem.encode())
    if as_json:
        about = {"environment": environment, "signer": driver, "key_id": name, "public_key": pem}
        common.emit({**about, **({"file": str(out)} if out else {})})
    elif out is not None:
        click.echo(f"{name}  {out}")
    else:
        click.echo(pem, nl=False)
        click.echo(f"{name}  signer {driver}", err=True)
    return 0
