#!/usr/bin/python
"""Read one entry of the secret manager's KV store; use it in a task with ``no_log: true``.

Returns ``data`` (the entry) and ``version``; with ``paths`` also ``secrets`` (path to entry).
"""

from __future__ import annotations

from typing import Any

from ansible.module_utils.anlan_vault import LOGIN_ARGUMENTS, SecretsUnavailable, session
from ansible.module_utils.basic import AnsibleModule
from hvac.exceptions import InvalidPath

ARGUMENTS: dict[str, Any] = {
    **LOGIN_ARGUMENTS,
    "path": {"type": "str"},
    "paths": {"type": "list", "elements": "str", "default": []},
    "mount": {"type": "str", "default": "kv"},
}


def main() -> None:
    """Ansible's entry."""
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True, required_one_of=[["path", "paths"]])
    wanted = list(module.params["paths"])
    if module.params["path"]:
        wanted.insert(0, module.params["path"])
    found: dict[str, dict[str, Any]] = {}
    path = ""
    try:
        with session(module.params) as client:
            for path in wanted:
                found[path] = client.secrets.kv.v2.read_secret_version(
                    path, mount_point=module.params["mount"], raise_on_deleted_version=True
                )["data"]
    except InvalidPath:
        module.fail_json(
            msg=f"the secret manager holds no {module.params['mount']}/{path}: "
            "name it in `generate` of the role `secrets` and apply that role"
        )
    except SecretsUnavailable as error:
        hint = f"cannot read {module.params['mount']}/{path}: " if path else ""
        module.fail_json(msg=f"{hint}{error}")
    module.exit_json(
        changed=False,
        data=found[wanted[0]]["data"],
        version=found[wanted[0]]["metadata"]["version"],
        secrets={path: entry["data"] for path, entry in found.items()},
    )


if __name__ == "__main__":
    main()
