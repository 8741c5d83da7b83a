"""Bring an unsealed secret manager to what `anlan_vault_wish` says; every step looks first."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import string
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hvac
from ansible.module_utils import anlan_vault_wish as wish
from ansible.module_utils.anlan_files import ensure, write
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from hvac.exceptions import InvalidPath, InvalidRequest

ALPHABET = string.ascii_letters + string.digits


@dataclass(frozen=True)
class Step:
    """One thing the server should hold: `differs` looks, `apply` does.

    ``root`` says that the provisioner's policy does not suffice to apply it.
    """

    name: str
    differs: Callable[[hvac.Client], bool]
    apply: Callable[[hvac.Client], None]
    root: bool = True


def read(client: hvac.Client, path: str) -> dict[str, Any] | None:
    """The data at ``path``; None when there is none."""
    try:
        answer = client.read(path)
    except InvalidPath:
        return None
    return answer["data"] if answer else None


def _write(client: hvac.Client, path: str, data: dict[str, Any]) -> Any:
    return client.write_data(path, data=data)


def _setting(name: str, path: str, wished: dict[str, Any]) -> Step:
    def differs(client: hvac.Client) -> bool:
        return not wish.holds(read(client, path), wished)

    def apply(client: hvac.Client) -> None:
        _write(client, path, wished)

    return Step(name, differs, apply)


def _mount(path: str, kind: str, wished: dict[str, Any]) -> Step:
    """A secret engine (kind `mounts`) or a login method (kind `auth`)."""

    def differs(client: hvac.Client) -> bool:
        return f"{path}/" not in (read(client, f"sys/{kind}") or {})

    def apply(client: hvac.Client) -> None:
        _write(client, f"sys/{kind}/{path}", wished)

    return Step(f"{kind} {path}", differs, apply)


def _audit(file: str) -> Step:
    def differs(client: hvac.Client) -> bool:
        found = (read(client, "sys/audit") or {}).get("file/")
        return found is None or found["options"].get("file_path") != file

    def apply(client: hvac.Client) -> None:
        if "file/" in (read(client, "sys/audit") or {}):
            client.sys.disable_audit_device("file")
        options = {"file_path": file, "mode": "0600"}
        client.sys.enable_audit_device("file", path="file", options=options)

    return Step("audit device", differs, apply)


def _pki_root() -> Step:
    def differs(client: hvac.Client) -> bool:
        return not authority(client)

    def apply(client: hvac.Client) -> None:
        _write(client, "pki/root/generate/internal", wish.PKI_ROOT)

    return Step("PKI root", differs, apply)


def authority(client: hvac.Client) -> str:
    """The PKI's root certificate, PEM; empty when there is none yet."""
    try:
        found = read(client, "pki/cert/ca") or {}
    except InvalidRequest:
        return ""
    text = str(found.get("certificate") or "").strip()
    return f"{text}\n" if text else ""


def evidence_key(client: hvac.Client) -> bytes:
    """The newest public key of the evidence signatures, PEM (SubjectPublicKeyInfo)."""
    data = read(client, "transit/keys/evidence")
    if data is None:
        raise InvalidPath("transit/keys/evidence is missing")
    raw = base64.b64decode(data["keys"][str(data["latest_version"])]["public_key"])
    return ed25519.Ed25519PublicKey.from_public_bytes(raw).public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _database_plugin(binary: Path) -> Step:
    path = f"sys/plugins/catalog/database/{wish.DATABASE_PLUGIN}"
    digest = hashlib.sha256(binary.read_bytes()).hexdigest()

    def differs(client: hvac.Client) -> bool:
        return not wish.holds(read(client, path), {"sha256": digest, "builtin": False})

    def apply(client: hvac.Client) -> None:
        renewed = read(client, path) is not None
        _write(client, path, {"sha256": digest, "command": binary.name})
        if renewed:
            _write(client, "sys/plugins/reload/backend", {"plugin": wish.DATABASE_PLUGIN})

    return Step("database plugin", differs, apply)


def _policy(name: str, text: str) -> Step:
    return _setting(f"policy {name}", f"sys/policies/acl/{name}", {"policy": text})


def _credentials(name: str, file: Path) -> Step:
    """The file with role_id and secret_id of an AppRole; a lost secret_id is destroyed."""
    role = f"auth/approle/role/{name}"

    def differs(client: hvac.Client) -> bool:
        try:
            held = json.loads(file.read_text())
            private = (file.stat().st_mode & 0o777) == 0o600
            role_id = (read(client, f"{role}/role-id") or {}).get("role_id")
            looked = _write(client, f"{role}/secret-id/lookup", {"secret_id": held["secret_id"]})
            known = isinstance(looked, dict) and bool(looked.get("data"))
            return not (private and known and held["role_id"] == role_id)
        except (OSError, ValueError, KeyError, InvalidPath, InvalidRequest):
            return True

    def apply(client: hvac.Client) -> None:
        try:
            held = client.auth.approle.list_secret_id_accessors(name)["data"]["keys"]
        except InvalidPath:
            held = []
        for accessor in held:
            client.auth.approle.destroy_secret_id_accessor(name, accessor)
        data = {
            "role_id": client.auth.approle.read_role_id(name)["data"]["role_id"],
            "secret_id": client.auth.approle.generate_secret_id(name)["data"]["secret_id"],
        }
        write(file, json.dumps(data).encode(), 0o600)

    return Step(f"credentials file of {name}", differs, apply)


def _entry(path: str, spec: dict[str, Any]) -> Step:
    """A KV entry: missing fields are made up once, existing ones are never touched."""
    fixed = {"username": spec["username"]} if spec.get("username") else {}
    fields = list(spec.get("fields") or (["password"] if fixed else []))

    def found(client: hvac.Client) -> dict[str, Any]:
        return read(client, f"kv/data/{path}") or {}

    def differs(client: hvac.Client) -> bool:
        return not {*fixed, *fields} <= set(found(client).get("data") or {})

    def apply(client: hvac.Client) -> None:
        entry = found(client)
        version = (entry.get("metadata") or {}).get("version", 0)
        data = {field: made_up(field) for field in fields} | fixed | (entry.get("data") or {})
        client.secrets.kv.v2.create_or_update_secret(path, data, cas=version, mount_point="kv")

    return Step(f"secret kv/{path}", differs, apply, root=False)


def made_up(field: str) -> str:
    """A random value; letters and digits alone, for it enters many files' syntaxes."""
    length = 20 if field.endswith("access_key") else 40
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def _export(file: Path, content: Callable[[hvac.Client], bytes]) -> Step:
    return Step(
        f"file {file.name}",
        lambda client: ensure(file, content(client), 0o644, check=True),
        lambda client: write(file, content(client), 0o644),
        root=False,
    )


def steps(parameters: dict[str, Any]) -> list[Step]:
    """Everything the server should hold, in the order of making."""
    folder = Path(parameters["machine"]) / "secrets"
    trust = Path(parameters["trust_directory"])
    cidrs = parameters["bound_cidrs"]
    plugin = Path(parameters["plugin_directory"]) / wish.DATABASE_PLUGIN
    names = ("provisioner", "orchestrator")
    return [
        _audit(parameters["audit_log"]),
        *(_mount(path, "mounts", wished) for path, wished in wish.MOUNTS.items()),
        _mount("approle", "auth", {"type": "approle"}),
        _pki_root(),
        _setting("PKI role service", "pki/roles/service", wish.PKI_ROLE),
        _setting("transit key evidence", "transit/keys/evidence", wish.EVIDENCE_KEY),
        *(_policy(name, text) for name, text in wish.POLICIES.items()),
        *(
            _setting(f"AppRole {name}", f"auth/approle/role/{name}", wish.approle(name, cidrs))
            for name in names
        ),
        _database_plugin(plugin),
        *(_credentials(name, folder / f"{name}.json") for name in names),
        *(_entry(path, spec) for path, spec in sorted(parameters["generate"].items())),
        _export(trust / "ca.pem", lambda client: authority(client).encode()),
        _export(trust / "evidence.pub", evidence_key),
    ]
