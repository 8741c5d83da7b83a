#!/usr/bin/python
"""A certificate of the secret manager's PKI in files, renewed before it expires.

Writes PREFIX.key (0600), PREFIX.crt (leaf, then intermediates) and, with ``combined``, PREFIX.pem
(certificate and key, 0600). Returns ``digest`` of the certificate (for restart_on, reload_on),
``not_after`` (ISO 8601, UTC), ``serial`` and the ``reasons`` of a change.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from ansible.module_utils.anlan_files import differs, ensure, write
from ansible.module_utils.anlan_pki import issue, reasons
from ansible.module_utils.anlan_vault import LOGIN_ARGUMENTS, SecretsUnavailable, session
from ansible.module_utils.basic import AnsibleModule
from cryptography import x509

ARGUMENTS: dict[str, Any] = {
    **LOGIN_ARGUMENTS,
    "common_name": {"type": "str", "required": True},
    "alt_names": {"type": "list", "elements": "str", "default": []},
    "ip_sans": {"type": "list", "elements": "str", "default": []},
    "path_prefix": {"type": "path", "required": True},
    "owner": {"type": "str"},
    "ttl_hours": {"type": "int", "default": 2160},
    "renew_before_hours": {"type": "int", "default": 720},
    "combined": {"type": "bool", "default": False},
    "mount": {"type": "str", "default": "pki"},
    "role": {"type": "str", "default": "service"},
}
KEY_MODE = 0o600
CERTIFICATE_MODE = 0o644


class Files:
    """The files of one certificate."""

    def __init__(self, prefix: str) -> None:
        self.certificate = Path(f"{prefix}.crt")
        self.key = Path(f"{prefix}.key")
        self.combined = Path(f"{prefix}.pem")


def main() -> None:
    """Ansible's entry."""
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True)
    parameters, check = module.params, module.check_mode
    if parameters["ttl_hours"] <= parameters["renew_before_hours"]:
        module.fail_json(msg="ttl_hours must exceed renew_before_hours, or every run would renew")
    files, owner = Files(parameters["path_prefix"]), parameters["owner"]
    why = reasons(parameters, files.certificate, files.key)
    try:
        if why and not check:
            with session(parameters) as client:
                certificate, key = issue(client, parameters)
            write(files.key, key, KEY_MODE, owner)
            write(files.certificate, certificate, CERTIFICATE_MODE, owner)
        if why and check:
            module.exit_json(changed=True, reasons=why, digest="", not_after="", serial="")
        text, key = files.certificate.read_bytes(), files.key.read_bytes()
        if not why and differs(files.key, key, KEY_MODE, owner):
            why.append(f"owner or mode of {files.key}")
            ensure(files.key, key, KEY_MODE, owner, check)
        if ensure(files.certificate, text, CERTIFICATE_MODE, owner, check):
            why.append(f"owner or mode of {files.certificate}")
        if parameters["combined"] and ensure(files.combined, text + key, KEY_MODE, owner, check):
            why.append(f"content, owner or mode of {files.combined}")
    except (SecretsUnavailable, OSError, KeyError) as error:
        module.fail_json(msg=f"no certificate {files.certificate}: {error}")
    leaf = x509.load_pem_x509_certificate(text)
    module.exit_json(
        changed=bool(why),
        reasons=why,
        digest=hashlib.sha256(text).hexdigest(),
        not_after=leaf.not_valid_after_utc.isoformat(),
        serial=f"{leaf.serial_number:x}",
    )


if __name__ == "__main__":
    main()
