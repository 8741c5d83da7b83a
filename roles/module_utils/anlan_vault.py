"""Logins to the secret manager (Vault API) for the roles' modules."""

from __future__ import annotations

import contextlib
import json
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hvac
import requests
from hvac.exceptions import VaultError
from requests.adapters import HTTPAdapter

TIMEOUT_SECONDS = 15
LOGIN_ARGUMENTS: dict[str, Any] = {
    "secrets_url": {"type": "str", "required": True},
    "ca_file": {"type": "path", "required": True},
    "credentials_file": {"type": "path", "required": True},
}


class SecretsUnavailable(Exception):
    """The secret manager refused or did not answer; the message says what to do."""


class _Pinned(HTTPAdapter):
    """Accepts a certificate that is itself trusted, though its issuer is not."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        context = ssl.create_default_context()
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        super().init_poolmanager(*args, ssl_context=context, **options)


def connect(url: str, ca_file: str | Path, token: str = "", pinned: bool = False) -> hvac.Client:
    """A client that trusts ``ca_file`` and ignores the environment's proxies and tokens.

    With ``pinned`` the file holds the server's very certificate.
    """
    session = requests.Session()
    session.trust_env = False
    session.verify = str(ca_file)
    if pinned:
        session.mount(url, _Pinned())
    return hvac.Client(
        url=url, token=token, verify=str(ca_file), timeout=TIMEOUT_SECONDS, session=session
    )


def log_in(
    url: str,
    ca_file: str | Path,
    credentials_file: str | Path,
    pinned: bool = False,
    wait: float = 5.0,
) -> hvac.Client:
    """Log in by AppRole with the ``{role_id, secret_id}`` of ``credentials_file``.

    A server that is just starting gets ``wait`` seconds. Raises SecretsUnavailable.
    """
    try:
        credentials = json.loads(Path(credentials_file).read_text())
    except (OSError, ValueError) as error:
        raise SecretsUnavailable(
            f"no credentials in {credentials_file} ({error}): apply the role `secrets` first"
        ) from error
    client = connect(url, ca_file, pinned=pinned)
    deadline = time.monotonic() + wait
    while True:
        try:
            client.auth.approle.login(credentials["role_id"], credentials["secret_id"])
            return client
        except (VaultError, requests.RequestException, OSError) as error:
            if time.monotonic() > deadline:
                silent = isinstance(error, requests.RequestException)
                reason = f"it does not answer ({type(error).__name__})" if silent else error
                raise SecretsUnavailable(
                    f"the secret manager at {url} gives no login: {reason}. "
                    "Is it running and unsealed? Apply the role `secrets`."
                ) from error
            time.sleep(0.2)


@contextlib.contextmanager
def session(parameters: dict[str, Any]) -> Iterator[hvac.Client]:
    """A login for the time of a block; its token is revoked at the end."""
    client = log_in(
        parameters["secrets_url"], parameters["ca_file"], parameters["credentials_file"]
    )
    try:
        yield client
    except (VaultError, requests.RequestException) as error:
        raise SecretsUnavailable(f"{parameters['secrets_url']}: {error}") from error
    finally:
        with contextlib.suppress(VaultError, requests.RequestException):
            client.auth.token.revoke_self()
