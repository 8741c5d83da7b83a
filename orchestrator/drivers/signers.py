"""Who signs an environment's evidence, as its descriptor says (`evidence.signer`).

The secret manager's Transit unless it names another: AWS KMS, or an encrypted key file for where
there is neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from orchestrator.drivers.kms import KmsSigner
from orchestrator.drivers.secrets import Secrets, TransitSigner
from orchestrator.evidence.keys import (
    LocalSigner,
    PublicKey,
    Signer,
    load_public_key,
    parse_public_key,
    read_private_file,
)
from orchestrator.model.environment import Environment
from orchestrator.model.errors import InputError

TRANSIT = "transit"


def signer_settings(environment: Environment) -> Mapping[str, Any]:
    """Return the signer's settings (in schema `evidence-settings`): those of Transit by default."""
    settings: Mapping[str, Any] = environment.evidence.get("signer", {"driver": TRANSIT})
    return settings


def signer_of(environment: Environment, secrets: Secrets) -> Signer:
    """Return the signer of an environment's evidence; nothing is asked or read yet.

    Its verbs raise InfrastructureError when who holds the key does not answer, InputError when a
    key file cannot be used.
    """
    settings = signer_settings(environment)
    if settings["driver"] == "kms":
        return KmsSigner(settings["key"])
    if settings["driver"] == "file":
        return FileSigner(Path(settings["key"]), Path(settings["passphrase_file"]))
    return TransitSigner(secrets)


def trusted_key(environment: Environment, secrets: Secrets) -> PublicKey:
    """Return the public key that an auditor of the environment is given now.

    Of Transit it is the file that was published when the environment was provisioned; another
    signer is asked for it. Raises InputError, InfrastructureError.
    """
    if signer_settings(environment)["driver"] == TRANSIT:
        return load_public_key(environment.evidence_public_key)
    return parse_public_key(signer_of(environment, secrets).public_key_pem().encode())


class FileSigner:
    """Signs with an encrypted private key (PEM, Ed25519 or P-256); its passphrase is in a file.

    A file, because an unattended worker can be given one that nobody else reads (systemd's
    LoadCredential, a mounted secret), and it shows in no list of processes, environment or log.
    Both files must be their owner's alone. Verbs raise InputError.
    """

    def __init__(self, key: Path, passphrase_file: Path) -> None:
        self._key = key
        self._passphrase_file = passphrase_file

    def public_key_pem(self) -> str:
        """The public key (PEM, SubjectPublicKeyInfo)."""
        return self._signer.public_key_pem()

    def sign(self, message: bytes) -> bytes:
        """The signature of `message`, see `orchestrator.evidence.keys.Signer`."""
        return self._signer.sign(message)

    @cached_property
    def _signer(self) -> LocalSigner:
        asked = False

        def passphrase() -> str:
            nonlocal asked
            asked = True
            return self._passphrase()

        signer = LocalSigner.from_file(self._key, passphrase)
        if not asked:
            raise InputError(
                "this private key is not encrypted: a copy of the file alone can sign evidence",
                f"`openssl pkey -in {self._key} -aes256 -out NEW`, then remove this one",
                file=str(self._key),
            )
        return signer

    def _passphrase(self) -> str:
        """The first line of its file."""
        content = read_private_file(self._passphrase_file, "the passphrase")
        try:
            line = content.decode().partition("\n")[0].rstrip("\r")
        except UnicodeDecodeError as error:
            raise InputError("is not UTF-8", file=str(self._passphrase_file)) from error
        if not line:
            raise InputError(
                "the passphrase is empty",
                "write it as the first line",
                file=str(self._passphrase_file),
            )
        return line
