"""The process that runs one role through ansible-runner: a request on stdin, a result on stdout.

`python -m stacks.components.ansible_worker`, started by `stacks.components.ansible.run_role`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import ansible_runner

from stacks.components import ancestry

_INVENTORY = "localhost ansible_connection=local ansible_python_interpreter={python}\n"
_MESSAGE_LIMIT = 2000
_PREFIX = "anlan-role-"


class Recorder:
    """Takes ansible-runner's events and keeps what a RoleResult needs."""

    def __init__(self) -> None:
        self.changed: list[str] = []
        self.details: list[str] = []
        self.failed: tuple[str, str] | None = None
        self.tasks = 0
        self._item_message = ""
        self._output: list[str] = []

    def __call__(self, event: dict[str, Any]) -> bool:
        """Note one event; returns False, so that no event file is kept."""
        kind, data = event.get("event", ""), event.get("event_data", {})
        result = data.get("res") or {}
        if kind == "runner_on_ok":
            self.tasks += 1
            if result.get("changed"):
                self.changed.append(_task(data))
                self.details.append(_detail(data, result))
        elif kind == "runner_item_on_failed":
            self._item_message = _message(result)
        elif kind in ("runner_on_failed", "runner_on_unreachable"):
            self.tasks += 1
            if not data.get("ignore_errors"):
                self.failed = _task(data), self._item_message or _message(result)
            self._item_message = ""
        elif kind in ("verbose", "error", "warning"):
            self._output.append(event.get("stdout", "").strip())
        return False

    def result(self, succeeded: bool, seconds: float) -> dict[str, Any]:
        """Return the fields of a RoleResult. A rescued task is no failure of the role."""
        failed: tuple[str | None, str] = (None, "")
        if not succeeded:
            output = "\n".join(line for line in self._output if line)
            failed = self.failed or ("(before the first task)", output or "Ansible gave no reason")
        return {
            "changed": self.changed,
            "details": self.details,
            "failed_task": failed[0],
            "message": failed[1][-_MESSAGE_LIMIT:],
            "tasks": self.tasks,
            "seconds": round(seconds, 3),
        }


def main() -> None:
    """Serve one request."""
    request = json.loads(sys.stdin.readline())
    ancestors = ancestry.engine_ancestors()
    started = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
    try:
        recorder = Recorder()
        runner = ansible_runner.run(
            private_data_dir=str(folder),
            playbook=[_play(request)],
            inventory=_INVENTORY.format(python=sys.executable),
            envvars=_environment(folder, Path(request["roles"])),
            cmdline="--check" if request["check"] else None,
            event_handler=recorder,
            cancel_callback=lambda: not ancestry.alive(ancestors),
            settings={"pexpect_timeout": 0.2, "suppress_env_files": True},
            quiet=True,
        )
        result = recorder.result(runner.status == "successful", time.monotonic() - started)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _remove_leftovers()
    json.dump(result, sys.stdout)


def _play(request: dict[str, Any]) -> dict[str, Any]:
    role = {"role": request["role"], "vars": request["variables"]}
    return {"hosts": "localhost", "gather_facts": False, "roles": [role]}


def _environment(folder: Path, roles: Path) -> dict[str, str]:
    settings, temporary = folder / "ansible.cfg", folder / "tmp"
    settings.touch()  # empty: no setting of the user or of the current directory counts
    temporary.mkdir()
    binaries = str(Path(sys.executable).parent)
    return {
        "PATH": f"{binaries}:{os.environ.get('PATH', os.defpath)}",
        "TMPDIR": str(temporary),  # what a killed run leaves lies in the folder that is removed
        "ANSIBLE_CONFIG": str(settings),
        "ANSIBLE_HOME": str(folder / "home"),
        "ANSIBLE_LOCAL_TEMP": str(folder / "local"),
        "ANSIBLE_REMOTE_TEMP": str(folder / "remote"),
        "ANSIBLE_COLLECTIONS_PATH": str(folder / "collections"),
        "ANSIBLE_ROLES_PATH": str(roles),
        "ANSIBLE_LIBRARY": str(roles / "library"),
        "ANSIBLE_MODULE_UTILS": str(roles / "module_utils"),
        "ANSIBLE_INVENTORY_ENABLED": "ini",
        "ANSIBLE_PIPELINING": "true",
        "ANSIBLE_FORKS": "1",
        "ANSIBLE_NOCOLOR": "true",
        "ANSIBLE_DEPRECATION_WARNINGS": "false",
        "ANSIBLE_RETRY_FILES_ENABLED": "false",
        "PYTHONUNBUFFERED": "1",
    }


def _task(data: dict[str, Any]) -> str:
    return str(data.get("task") or "unnamed task").strip()


def _detail(data: dict[str, Any], result: dict[str, Any]) -> str:
    """A task and what it changed, as the modules of this repository name it."""
    loop = [item.get("actions") for item in result.get("results", []) if isinstance(item, dict)]
    named = [name for names in (result.get("actions"), *loop) for name in names or ()]
    return f"{_task(data)}: {', '.join(map(str, named))}" if named else _task(data)


def _message(result: dict[str, Any]) -> str:
    parts = [str(result[key]).strip() for key in ("msg", "stderr") if result.get(key)]
    return ": ".join(parts) or "no message"


def _remove_leftovers() -> None:
    """Remove the folders of runs that were killed."""
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(ValueError, OSError):
            pid = int(left.name.removeprefix(_PREFIX).split("-")[0])
            if left.owner() == Path(f"/proc/{os.getpid()}").owner() and not _runs(pid):
                shutil.rmtree(left, ignore_errors=True)


def _runs(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


if __name__ == "__main__":
    main()
