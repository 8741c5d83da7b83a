"""The secret manager (Vault API, by hvac): read secrets, sign evidence, ask for its health."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import methodcaller
from pathlib import Path
from typing import Any

import hvac
import requests
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hvac.exceptions import Forbidden, InvalidPath, VaultError

from orchestrator.drivers.credentials import Credentials
from orchestrator.model.environment import Environment
from orchestrator.model.errors import InfrastructureError

_TIMEOUT_SECONDS = 10
# What the role `secrets` makes.
_APPROLES = ("provisioner", "orchestrator")
_PKI_ROLE = "service"
_NAMES = ("username", "access_key")
"""How the names of logins end in a KV entry; all else in it is secret."""
_HANDED_OUT: set[str] = set()


def handed_out() -> frozenset[str]:
    """Every secret that this process was given or logged in with: they are in no evidence."""
    return frozenset(_HANDED_OUT)


@dataclass(frozen=True)
class SecretsHealth:
    """What `sys/health` says of the server."""

    initialized: bool
    sealed: bool
    standby: bool
    version: str


class Secrets:
    """The secret manager of an environment, as the AppRole `orchestrator` or another's file.

    Nothing is read until a verb asks. A refused token is replaced by a fresh login once. Verbs
    raise InfrastructureError: it is down, sealed, or the policy says no.
    """

    def __init__(self, environment: Environment, credentials_file: Path | None = None) -> None:
        self.settings = environment.secrets
        self._credentials_file = credentials_file or environment.secrets.credentials_file
        self._ca_file = str(environment.tls.ca_file)
        self._login: Any = None  # the client that holds a token

    def kv(self, path: str) -> Mapping[str, str]:
        """The newest version of a KV entry, e.g. `erp-probe` or `object-store/a`."""
        answer = self.ask(
            f"read {path}",
            lambda client: client.secrets.kv.v2.read_secret_version(
                path=path, mount_point=self.settings.kv_mount, raise_on_deleted_version=True
            ),
        )
        entry = {str(name): str(value) for name, value in answer["data"]["data"].items()}
        _HANDED_OUT.update(value for name, value in entry.items() if not name.endswith(_NAMES))
        return entry

    def login_of(self, path: str) -> Credentials:
        """The username and password of a KV entry that holds a login."""
        entry = self.kv(path)
        return Credentials(entry["username"], entry["password"])

    def database_login(self, role: str = "orchestrator") -> Credentials:
        """The login of a static role of the database engine, as of its last rotation."""
        answer = self.ask(
            f"read the database login {role}",
            lambda client: client.secrets.database.get_static_credentials(
                name=role, mount_point=self.settings.database_mount
            ),
        )
        _HANDED_OUT.add(answer["data"]["password"])
        return Credentials(answer["data"]["username"], answer["data"]["password"])

    def health(self) -> SecretsHealth:
        """Whether the server is initialised and unsealed; needs no login."""
        try:
            answer = self.connect().sys.read_health_status(method="GET")
            data = answer.json() if isinstance(answer, requests.Response) else answer
        except (VaultError, requests.RequestException, OSError) as error:
            raise self._down("ask for its health", error) from error
        return SecretsHealth(
            initialized=bool(data["initialized"]),
            sealed=bool(data["sealed"]),
            standby=bool(data["standby"]),
            version=str(data["version"]),
        )

    def audit_devices(self) -> Mapping[str, Mapping[str, Any]]:
        """The enabled audit devices by path, as the server describes them."""
        answer = self.ask(
            "list the audit devices", lambda client: client.sys.list_enabled_audit_devices()
        )
        data = answer.get("data", answer)
        return {str(path): dict(device) for path, device in data.items()}

    def mounts(self) -> Mapping[str, str]:
        """The mounted secret engines: path to type."""
        answer = self.ask(
            "list the mounts", lambda client: client.sys.list_mounted_secrets_engines()
        )
        return {str(path): str(mount["type"]) for path, mount in answer["data"].items()}

    def certificates(self) -> tuple[str, ...]:
        """The serial numbers of the certificates that the PKI has issued."""
        answer = self.ask(
            "list the certificates",
            lambda client: client.secrets.pki.list_certificates(
                mount_point=self.settings.pki_mount
            ),
        )
        return tuple(answer["data"]["keys"])

    def snapshot(self) -> bytes:
        """The whole storage (raft), sealed: opened by the unseal keys alone."""
        answer = self.ask("take a snapshot", lambda client: client.sys.take_raft_snapshot())
        return bytes(answer.content)

    def issue(
        self, common_name: str, addresses: Sequence[str], *, ttl_seconds: int
    ) -> tuple[bytes, bytes]:
        """A new certificate for IP addresses, and its key (PEM); needs the provisioner's login."""
        names = ",".join(addresses)
        answer = self.ask(
            f"issue a certificate for {common_name}",
            lambda client: client.secrets.pki.generate_certificate(
                name=_PKI_ROLE,
                common_name=common_name,
                mount_point=self.settings.pki_mount,
                extra_params={
                    "alt_names": names,
                    "ip_sans": names,
                    "ttl": f"{ttl_seconds}s",
                    "exclude_cn_from_sans": True,
                    "private_key_format": "pkcs8",
                },
            ),
        )
        data = answer["data"]
        return f"{data['certificate']}\n".encode(), f"{data['private_key']}\n".encode()

    def rotate_database_login(self, role: str) -> None:
        """Make a new password for a static role of the database engine; the provisioner may."""
        self.ask(
            f"rotate the database login {role}",
            lambda client: client.secrets.database.rotate_static_role_credentials(
                name=role, mount_point=self.settings.database_mount
            ),
        )

    def everything(self) -> Iterator[tuple[str, Any]]:
        """Every KV entry and every setting by its path; the provisioner may read them."""
        settings = self.settings
        for path in self._kv_paths(""):
            yield f"{settings.kv_mount}/{path}", dict(self.kv(path))
        for path in (
            "sys/audit",
            "sys/auth",
            "sys/mounts",
            *(f"sys/policies/acl/{name}" for name in _APPROLES),
            *(f"auth/approle/role/{name}" for name in _APPROLES),
            *(f"auth/approle/role/{name}/role-id" for name in _APPROLES),
            f"{settings.pki_mount}/cert/ca",
            f"{settings.pki_mount}/roles/{_PKI_ROLE}",
            f"{settings.transit_mount}/keys/{settings.evidence_key}",
        ):
            answer = self.ask(f"read {path}", methodcaller("read", path))
            yield path, None if answer is None else answer["data"]

    def _kv_paths(self, folder: str) -> Iterator[str]:
        answer = self.ask(
            f"list {self.settings.kv_mount}/{folder}",
            lambda client: client.secrets.kv.v2.list_secrets(
                path=folder, mount_point=self.settings.kv_mount
            ),
        )
        for name in answer["data"]["keys"]:
            path = f"{folder}{name}"
            if name.endswith("/"):
                yield from self._kv_paths(path)
            else:
                yield path

    def ask(self, what: str, verb: Callable[[Any], Any]) -> Any:
        """Call `verb` with a logged-in client; log in afresh once if the token is refused."""
        fresh = self._login is None
        try:
            try:
                return verb(self._logged_in())
            except Forbidden:
                if fresh:
                    raise
                self._login = None
                return verb(self._logged_in())
        except Forbidden as error:
            raise InfrastructureError(
                f"the secret manager refuses to {what}: {error}",
                f"the policy of AppRole `{self._credentials_file.stem}` lacks it: apply the role "
                "`secrets`",
            ) from error
        except InvalidPath as error:
            raise InfrastructureError(
                f"the secret manager cannot {what}: there is no such entry",
                "apply the roles `secrets` and `credentials`",
            ) from error
        except (VaultError, requests.RequestException, OSError) as error:
            raise self._down(what, error) from error

    def _logged_in(self) -> Any:
        if self._login is None:
            file = self._credentials_file
            try:
                credentials = json.loads(file.read_text())
                role_id, secret_id = credentials["role_id"], credentials["secret_id"]
            except (OSError, ValueError, KeyError) as error:
                raise InfrastructureError(
                    f"no AppRole login in {file}: {error}", "apply the role `secrets`"
                ) from error
            client = self.connect()
            client.auth.approle.login(role_id=role_id, secret_id=secret_id)
            _HANDED_OUT.update((secret_id, client.token))
            self._login = client
        return self._login

    def connect(self, token: str = "") -> Any:
        """A client (hvac) with this token, or none: for what is asked before there is a login."""
        session = requests.Session()
        session.trust_env = False
        session.verify = self._ca_file
        return hvac.Client(
            url=self.settings.url,
            token=token,
            verify=self._ca_file,
            timeout=_TIMEOUT_SECONDS,
            session=session,
        )

    def _down(self, what: str, error: Exception) -> InfrastructureError:
        return InfrastructureError(
            f"the secret manager at {self.settings.url} did not {what}: {error}",
            "start it and unseal it (role `secrets`)",
        )


class TransitSigner:
    """Signs with the environment's ed25519 evidence key, which never leaves the secret manager."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self.key = secrets.settings.evidence_key

    @property
    def key_id(self) -> str:
        """The id of the key that signs now: `sha256:` and the sha256 of its public key (DER)."""
        der = self._public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return f"sha256:{hashlib.sha256(der).hexdigest()}"

    def public_key_pem(self) -> str:
        """The public key of the newest version (PEM, SubjectPublicKeyInfo)."""
        pem = self._public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return pem.decode()

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of the Ed25519 signature (RFC 8032) of `message`."""
        settings = self._secrets.settings
        answer = self._secrets.ask(
            f"sign with {self.key}",
            lambda client: client.secrets.transit.sign_data(
                name=self.key,
                hash_input=base64.b64encode(message).decode(),
                mount_point=settings.transit_mount,
            ),
        )
        return base64.b64decode(str(answer["data"]["signature"]).rsplit(":", 1)[1])

    def _public_key(self) -> Ed25519PublicKey:
        settings = self._secrets.settings
        answer = self._secrets.ask(
            f"read the key {self.key}",
            lambda client: client.secrets.transit.read_key(
                name=self.key, mount_point=settings.transit_mount
            ),
        )
        data = answer["data"]
        raw = base64.b64decode(data["keys"][str(data["latest_version"])]["public_key"])
        return Ed25519PublicKey.from_public_bytes(raw)
