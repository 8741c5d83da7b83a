"""Kind `host_files`: who can read and write the files of a machine that hold secrets, or are it.

Data: `keys` and `configuration` (how many files), and as `PATH MODE OWNER`: `exposed_keys` (files
with a private key that others than their owner can read or write), `exposed_configuration` (the
same of files below etc/ and secrets/: logins, passfiles, keys of the store), `foreign_owners` (of
these, owned by neither root, the service's user nor this process's), `open_directories` (with
secrets or data in them, which others may enter or change), `exposed_logs` (that others can read or
write). Paths are below the machine's directory. Contents are looked at for the words of a private
key alone and are kept nowhere.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.collect.machines import machines
from orchestrator.collect.observe import Collector, Observation
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment, MachineSettings
from orchestrator.model.errors import InfrastructureError

KIND = "host_files"
_KEY = b"PRIVATE KEY-----"
_HEAD_BYTES = 65_536
_OTHERS = 0o077
_WRITE = 0o022
# Whoever may only pass through a folder sees nothing of it.
_SECRET_FOLDERS = ("secrets", "etc/programs", "data/pg", "data/secrets", "data/pgbackrest", "log")
_KEPT_FOLDERS = ("etc", "tls", "data", "run")


def collectors(environment: Environment, secrets: Secrets) -> list[Collector]:
    """One collector for each machine: `a/files`, `b/files`, `common/files`."""
    return [
        Collector(
            kind=KIND,
            subject=f"{name}/files",
            source=f"the file system of machine {name}, {machine.directory}",
            query="stat of every file below etc, secrets, tls and log, and of the directories "
            f"{', '.join(_SECRET_FOLDERS + _KEPT_FOLDERS)}",
            look=partial(look, machine),
        )
        for name, machine in machines(environment).items()
    ]


def look(machine: MachineSettings) -> Observation:
    """Look at a machine's files. Raises OSError, InfrastructureError."""
    base = machine.directory
    if not base.is_dir():
        raise InfrastructureError(f"there is no machine in {base}", "`anlan up` makes it")
    settings = [*_files(base / "etc"), *_files(base / "secrets")]
    keys = [file for file in (*_files(base / "tls"), *settings) if _holds_key(file)]
    secret = dict.fromkeys((*keys, *settings))
    own = {"root", machine.service_user, pwd.getpwuid(os.geteuid()).pw_name}
    folders = [base / name for name in _SECRET_FOLDERS if (base / name).is_dir()]
    kept = [base / name for name in _KEPT_FOLDERS if (base / name).is_dir()]

    def told(paths: Iterator[Path]) -> list[str]:
        return [f"{path.relative_to(base)} {_mode(path):04o} {_owner(path)}" for path in paths]

    data: dict[str, Any] = {
        "keys": len(keys),
        "configuration": len(settings),
        "exposed_keys": told(file for file in keys if _mode(file) & _OTHERS),
        "exposed_configuration": told(
            file for file in settings if file not in keys and _mode(file) & _OTHERS
        ),
        "foreign_owners": told(file for file in secret if _owner(file) not in own),
        "open_directories": [
            *told(folder for folder in folders if _mode(folder) & _OTHERS),
            *told(folder for folder in kept if _mode(folder) & _WRITE),
        ],
        "exposed_logs": told(
            file
            for file in _files(base / "log")
            if _mode(file) & _OTHERS and _mode(base / "log") & _OTHERS
        ),
    }
    return Observation(data, len(secret) + len(folders) + len(kept))


def _files(folder: Path) -> list[Path]:
    """The files below a folder; of a link its target. One that went away meanwhile is none."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _holds_key(file: Path) -> bool:
    if file.suffix == ".key":
        return True
    with file.open("rb") as stream:
        return _KEY in stream.read(_HEAD_BYTES)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _owner(path: Path) -> str:
    owner = path.stat().st_uid
    try:
        return pwd.getpwuid(owner).pw_name
    except KeyError:
        return str(owner)
