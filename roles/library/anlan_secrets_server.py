#!/usr/bin/python
"""The files the secret manager needs to start: folders, configuration, a first certificate.

The first certificate is self-signed, lives a day and is replaced by one of the server's own PKI.
Returns ``digest`` of the configuration.
"""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import json
from pathlib import Path
from typing import Any

from ansible.module_utils.anlan_files import ensure, write
from ansible.module_utils.basic import AnsibleModule
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ARGUMENTS: dict[str, Any] = {
    "machine": {"type": "path", "required": True},
    "address": {"type": "str", "required": True},
    "port": {"type": "int", "required": True},
    "cluster_port": {"type": "int", "required": True},
    "plugin_directory": {"type": "path", "required": True},
    "trust_directory": {"type": "path", "required": True},
}
FIRST_CERTIFICATE_HOURS = 24


def configuration(parameters: dict[str, Any]) -> bytes:
    """Vault's configuration as JSON."""
    machine, address = Path(parameters["machine"]), parameters["address"]
    api, cluster = parameters["port"], parameters["cluster_port"]
    return json.dumps(
        {
            "api_addr": f"https://{address}:{api}",
            "cluster_addr": f"https://{address}:{cluster}",
            "cluster_name": "anlan",
            "default_lease_ttl": "1h",
            "disable_mlock": True,
            "listener": [
                {
                    "tcp": {
                        "address": f"{address}:{api}",
                        "cluster_address": f"{address}:{cluster}",
                        "tls_cert_file": str(machine / "tls" / "secrets.crt"),
                        "tls_disable_client_certs": True,
                        "tls_key_file": str(machine / "tls" / "secrets.key"),
                        "tls_min_version": "tls13",
                    }
                }
            ],
            "log_level": "info",
            "plugin_directory": str(Path(parameters["plugin_directory"]).resolve()),
            "storage": {
                "raft": {
                    "node_id": "secrets",
                    "path": str(machine / "data" / "secrets"),
                    "performance_multiplier": "1",
                }
            },
            "ui": False,
        },
        indent=1,
        sort_keys=True,
    ).encode()


def serves(certificate_file: Path, key_file: Path) -> bool:
    """Whether a server can start with this pair and clients can still accept it."""
    try:
        certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    except (OSError, ValueError, TypeError):
        return False
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=10)
    return key.public_key() == certificate.public_key() and certificate.not_valid_after_utc > soon


def self_signed(address: str) -> tuple[bytes, bytes]:
    """A certificate for ``address`` signed by its own key, and that key, both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "secrets (first start)")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(hours=FIRST_CERTIFICATE_HOURS))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), False
        )
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM), key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def make(parameters: dict[str, Any], check: bool) -> list[str]:
    """Bring the files into order; returns what differed."""
    machine = Path(parameters["machine"])
    changes = []
    for folder, mode in (
        (machine / "secrets", 0o700),
        (machine / "data" / "secrets", 0o700),
        (Path(parameters["trust_directory"]), 0o755),
    ):
        if folder.is_dir() and (folder.stat().st_mode & 0o777) == mode:
            continue
        changes.append(str(folder))
        if not check:
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(mode)
    certificate_file, key_file = (machine / "tls" / f"secrets.{end}" for end in ("crt", "key"))
    if not serves(certificate_file, key_file):
        changes.append(str(certificate_file))
        if not check:
            certificate, key = self_signed(parameters["address"])
            write(key_file, key, 0o600)
            write(certificate_file, certificate, 0o644)
    file = machine / "etc" / "secrets.json"
    if ensure(file, configuration(parameters), 0o600, None, check):
        changes.append(str(file))
    return changes


def main() -> None:
    """Ansible's entry."""
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True)
    try:
        changes = make(module.params, module.check_mode)
    except OSError as error:
        module.fail_json(msg=f"files of the secret manager: {error}")
    digest = hashlib.sha256(configuration(module.params)).hexdigest()
    module.exit_json(changed=bool(changes), actions=changes, digest=digest)


if __name__ == "__main__":
    main()
