#!/usr/bin/python
"""The ERP server's virtual environment and configuration, before it runs.

Returns ``digest``: a restart is due when it changes.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from ansible.module_utils.anlan_erp import build, database_uri, is_built
from ansible.module_utils.anlan_files import differs, write
from ansible.module_utils.basic import AnsibleModule

LIMITS = (
    "session_max_age_seconds",
    "session_timeout_seconds",
    "login_attempts",
    "password_length",
)
ARGUMENTS: dict[str, Any] = {
    "machine": {"type": "path", "required": True},
    "address": {"type": "str", "required": True},
    "port": {"type": "int", "required": True},
    "ca_file": {"type": "path", "required": True},
    "databases": {"type": "list", "elements": "dict", "required": True},
    "login": {"type": "dict", "required": True, "no_log": True},
    "venv": {"type": "path", "required": True},
    "requirements": {"type": "path", "required": True},
    "forbidden_passwords": {"type": "path", "required": True},
    **{name: {"type": "int", "required": True} for name in LIMITS},
}
CONFIGURATION = """\
# Written by anlan. The server goes to whichever database takes writes.
[database]
uri = {uri}
list = False

[web]
listen = {address}:{port}

[session]
max_age = {session_max_age_seconds}
timeout = {session_timeout_seconds}
max_attempt = {login_attempts}

[password]
length = {password_length}
forbidden = {machine}/etc/erp-forbidden-passwords

[ssl]
certificate = {machine}/tls/erp.crt
privatekey = {machine}/tls/erp.key
"""
# The ERP knows no setting for version and groups of TLS; OpenSSL takes them from this file.
OPENSSL = """\
# Written by anlan.
openssl_conf = erp
[erp]
ssl_conf = erp_ssl
[erp_ssl]
system_default = erp_tls
[erp_tls]
Protocol = -ALL,TLSv1.3
Groups = X25519:P-256:P-384
"""

# Started without a writable database the ERP would answer every login with an error, for ever: it
# loads its modules once, and does not end when that fails.
START = """\
# Written by anlan: waits for a database that takes writes, then becomes the ERP's server.
import configparser
import os
import sys
import time

import psycopg

settings = configparser.ConfigParser(interpolation=None)
settings.read(sys.argv[1])
uri = settings["database"]["uri"].replace("/?", f"/{sys.argv[2]}?", 1)
while True:
    try:
        psycopg.connect(uri).close()
        break
    except psycopg.OperationalError:
        time.sleep(0.1)
server = os.path.join(os.path.dirname(sys.executable), "trytond")
os.execv(server, [server, "-c", sys.argv[1], "-d", sys.argv[2]])
"""


def files(parameters: dict[str, Any]) -> dict[Path, bytes]:
    """The files of the configuration with their content."""
    etc = Path(parameters["machine"]) / "etc"
    uri = database_uri(parameters["login"], parameters["databases"], parameters["ca_file"])
    text = CONFIGURATION.format(
        uri=uri,
        address=parameters["address"],
        port=parameters["port"],
        machine=parameters["machine"],
        **{name: parameters[name] for name in LIMITS},
    )
    return {
        etc / "trytond.conf": text.encode(),
        etc / "erp-openssl.cnf": OPENSSL.encode(),
        etc / "erp-start.py": START.encode(),
        etc / "erp-forbidden-passwords": Path(parameters["forbidden_passwords"]).read_bytes(),
    }


def main() -> None:
    """Ansible's entry."""
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True)
    parameters = module.params
    venv, requirements = Path(parameters["venv"]), Path(parameters["requirements"])
    actions = []
    try:
        if not is_built(venv):
            actions.append("virtual environment")
            if not module.check_mode:
                build(venv, requirements)
        wanted = files(parameters)
        for path, content in wanted.items():
            if differs(path, content, 0o600):
                actions.append(path.name)
                if not module.check_mode:
                    write(path, content, 0o600)
    except (OSError, KeyError) as error:
        module.fail_json(msg=f"ERP of {parameters['machine']}: {error}")
    digest = hashlib.sha256(b"".join(wanted.values()) + requirements.read_bytes()).hexdigest()
    module.exit_json(changed=bool(actions), actions=actions, digest=digest)


if __name__ == "__main__":
    main()
