#!/usr/bin/python
"""Files and folders that are not to exist; one task instead of one for each path."""

from __future__ import annotations

import shutil
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    """Ansible's entry."""
    module = AnsibleModule(
        {"paths": {"type": "list", "elements": "path", "required": True}}, supports_check_mode=True
    )
    there = [
        path for path in map(Path, module.params["paths"]) if path.exists() or path.is_symlink()
    ]
    try:
        for path in [] if module.check_mode else there:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    except OSError as error:
        module.fail_json(msg=f"cannot remove: {error}")
    module.exit_json(changed=bool(there), actions=[str(path) for path in there])


if __name__ == "__main__":
    main()
