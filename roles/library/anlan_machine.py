#!/usr/bin/python
"""A machine of the local target: a directory tree and a supervisord that stands for the machine.

A machine whose supervisord died is dead as a whole: what it left running is ended before a new
supervisord starts, as a power cycle would.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from ansible.module_utils.anlan_files import differs, owner_ids, write
from ansible.module_utils.anlan_process import end_processes, machine_processes
from ansible.module_utils.anlan_supervisor import Supervisor
from ansible.module_utils.basic import AnsibleModule

ARGUMENTS: dict[str, Any] = {
    "machine": {"type": "path", "required": True},
    "name": {"type": "str", "required": True},
    "address": {"type": "str", "required": True},
    "service_user": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "stop_timeout_seconds": {"type": "float", "default": 60.0},
}
SOCKET_PATH_LIMIT = 107
START_TIMEOUT_SECONDS = 15.0
ORPHAN_GRACE_SECONDS = 3.0
# Folder, mode, and whether the servers' user owns it (it creates files in there).
TREE = (
    (".", 0o755, False),
    ("etc", 0o755, False),
    ("etc/programs", 0o700, False),
    ("tls", 0o755, False),
    ("run", 0o755, True),
    ("log", 0o700, True),  # the logs name users, keys and addresses
    ("data", 0o755, True),
)
CONFIGURATION = """\
[supervisord]
identifier=anlan-{name}
nodaemon=true
silent=true
directory={machine}
logfile={machine}/log/supervisord.log
logfile_maxbytes=10MB
logfile_backups=2
pidfile={machine}/run/supervisord.pid
childlogdir={machine}/log
umask=022
minfds=4096

[unix_http_server]
file={machine}/run/supervisor.sock
chmod=0600

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[include]
files={machine}/etc/programs/*.ini
"""


class Machine:
    """The machine as it should be."""

    def __init__(self, parameters: dict[str, Any]) -> None:
        self.parameters = parameters
        self.directory = Path(parameters["machine"])
        self.configuration = self.directory / "etc" / "supervisord.conf"
        self.text = CONFIGURATION.format(
            name=parameters["name"], machine=str(self.directory).replace("%", "%%")
        ).encode()
        self.supervisor = Supervisor(self.directory)

    def check_inputs(self) -> None:
        """Raise ValueError for a path or an address that cannot serve."""
        longest = self.directory / "run" / ".s.PGSQL.65535.lock"
        if len(str(longest)) > SOCKET_PATH_LIMIT:
            raise ValueError(
                f"{self.directory} is too long for unix sockets ({len(str(longest))} > "
                f"{SOCKET_PATH_LIMIT} bytes): choose a shorter root for the environment"
            )
        address = self.parameters["address"]
        try:
            with socket.socket() as probe:
                probe.bind((address, 0))
        except OSError as error:
            raise ValueError(f"this host cannot listen on {address}: {error}") from error

    def wrong_folders(self) -> list[tuple[Path, int, str | None]]:
        """Folders that are missing or have another mode or owner."""
        wrong = []
        for name, mode, servers in TREE:
            path = self.directory / name
            owner = self.parameters["service_user"] if servers else None
            try:
                status = path.stat()
                same = (status.st_mode & 0o7777) == mode
                same = same and (os.geteuid() != 0 or status.st_uid == owner_ids(owner)[0])
            except OSError:
                same = False
            if not same:
                wrong.append((path, mode, owner))
        return wrong

    def needs(self) -> list[str]:
        """What differs: of absent | tree | configuration | start."""
        if self.parameters["state"] == "absent":
            there = self.directory.exists() or machine_processes(self.directory)
            return ["absent"] if there else []
        needs = ["tree"] if self.wrong_folders() else []
        if differs(self.configuration, self.text, 0o600):
            needs.append("configuration")  # read at the next start of the machine
        if self.supervisor.pid() is None:
            needs.append("start")
        return needs

    def make(self, needs: list[str]) -> None:
        """Do what `needs` named for a machine that is to be present."""
        for path, mode, owner in self.wrong_folders():
            path.mkdir(parents=True, exist_ok=True)
            if os.geteuid() == 0:
                os.chown(path, *owner_ids(owner))
            path.chmod(mode)
        if "configuration" in needs:
            write(self.configuration, self.text, 0o600)
        if "start" in needs:
            end_processes(self.directory, ORPHAN_GRACE_SECONDS)
            self._start()

    def _start(self) -> None:
        self.supervisor.socket.unlink(missing_ok=True)
        # Nothing of the caller's environment (it may hold secrets) reaches the servers.
        environment = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
        environment |= {"LANG": "C.UTF-8", "ANLAN_MACHINE": str(self.directory)}
        output = self.directory / "log" / "supervisord.out"
        with output.open("ab") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", "supervisor.supervisord", "-c", str(self.configuration)],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                cwd=self.directory,
                env=environment,
                start_new_session=True,
                umask=0o077,
            )
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while self.supervisor.pid() != process.pid:
            if process.poll() is not None or time.monotonic() > deadline:
                tail = output.read_text(errors="replace")[-1500:]
                raise OSError(f"supervisord of {self.directory} did not start: {tail}")
            time.sleep(0.03)

    def remove(self) -> None:
        """Stop the programs in their order, end what is left, delete the directory."""
        pid = self.supervisor.pid()
        if pid is not None:
            process = psutil.Process(pid)
            self.supervisor.shutdown()
            psutil.wait_procs([process], timeout=self.parameters["stop_timeout_seconds"])
        end_processes(self.directory, ORPHAN_GRACE_SECONDS)
        if self.directory.exists():
            shutil.rmtree(self.directory)


def main() -> None:
    """Ansible's entry."""
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True)
    machine = Machine(module.params)
    try:
        if module.params["state"] == "present":
            machine.check_inputs()
        needs = machine.needs()
        if needs and not module.check_mode:
            machine.remove() if "absent" in needs else machine.make(needs)
    except (OSError, ValueError, KeyError, psutil.Error) as error:
        module.fail_json(msg=f"machine {module.params['name']}: {error}")
    module.exit_json(changed=bool(needs), actions=needs, pid=machine.supervisor.pid() or 0)


if __name__ == "__main__":
    main()
