#!/usr/bin/python
"""The secret manager's database engine: a connection, and a user whose password it rotates.

The password that the engine gave is readable while the database is down.
"""

from __future__ import annotations

import contextlib
from typing import Any

import hvac
from ansible.module_utils.anlan_vault import LOGIN_ARGUMENTS, SecretsUnavailable, session
from ansible.module_utils.anlan_vault_setup import read
from ansible.module_utils.anlan_vault_wish import DATABASE_PLUGIN, holds
from ansible.module_utils.basic import AnsibleModule
from hvac.exceptions import InvalidPath, VaultError

ARGUMENTS: dict[str, Any] = {
    **LOGIN_ARGUMENTS,
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "databases": {"type": "list", "elements": "dict", "default": []},
    "database": {"type": "str", "default": "erp"},
    "secret_path": {"type": "str", "default": "vault-admin"},
    "role": {"type": "str", "default": "orchestrator"},
    "rotation_hours": {"type": "int", "default": 24},
}


def connection(parameters: dict[str, Any], username: str) -> dict[str, Any]:
    """The connection's settings without the password, as the server shows them."""
    hosts = ",".join(f"{place['address']}:{place['port']}" for place in parameters["databases"])
    return {
        "connection_url": (
            f"postgresql://{{{{username}}}}:{{{{password}}}}@{hosts}/{parameters['database']}"
            f"?sslmode=verify-full&sslrootcert={parameters['ca_file']}"
            "&target_session_attrs=read-write&connect_timeout=3"
        ),
        "username": username,
        # The server sends the hash, so that no log of the database can hold the password.
        "password_authentication": "scram-sha-256",
    }


def make(client: hvac.Client, parameters: dict[str, Any], check: bool) -> list[str]:
    """Bring connection and role into order; returns what differed."""
    admin = (read(client, f"kv/data/{parameters['secret_path']}") or {}).get("data")
    if not admin:
        raise SecretsUnavailable(f"kv/{parameters['secret_path']} is missing: role `secrets`")
    actions = []
    name, role = parameters["database"], parameters["role"]
    wished = connection(parameters, admin["username"])
    found = read(client, f"database/config/{name}") or {}
    same = holds(found.get("connection_details"), wished)
    if not same or found.get("allowed_roles") != [role]:
        actions.append("connection")
        if not check:
            data = {**wished, "password": admin["password"]}
            data |= {"plugin_name": DATABASE_PLUGIN, "allowed_roles": [role]}
            client.write_data(f"database/config/{name}", data=data)
    settings = {
        "username": role,
        "db_name": name,
        "rotation_period": parameters["rotation_hours"] * 3600,
    }
    try:
        current = read(client, f"database/static-roles/{role}")
    except VaultError:  # the server answers 400 for a role it never had
        current = None
    if not holds(current, settings):
        actions.append("static role")
        if not check:
            client.write_data(f"database/static-roles/{role}", data=settings)
    return actions


def remove(client: hvac.Client, parameters: dict[str, Any], check: bool) -> list[str]:
    """Forget role and connection."""
    actions = []
    for path in (
        f"database/static-roles/{parameters['role']}",
        f"database/config/{parameters['database']}",
    ):
        with contextlib.suppress(InvalidPath):
            if read(client, path) is not None:
                actions.append(path)
                if not check:
                    client.delete(path)
    return actions


def main() -> None:
    """Ansible's entry."""
    module = AnsibleModule(
        ARGUMENTS, supports_check_mode=True, required_if=[("state", "present", ["databases"])]
    )
    absent = module.params["state"] == "absent"
    try:
        with session(module.params) as client:
            actions = (remove if absent else make)(client, module.params, module.check_mode)
    except SecretsUnavailable as error:
        if absent:  # with the secret manager its settings are gone
            module.exit_json(changed=False, actions=[], reason=str(error))
        if module.check_mode:
            module.exit_json(changed=True, actions=[str(error)])
        module.fail_json(msg=f"database credentials: {error}")
    module.exit_json(changed=bool(actions), actions=actions)


if __name__ == "__main__":
    main()
