#!/usr/bin/python
"""One program of a machine under its supervisord: present with this configuration, running, ready.

Idempotent and safe to interrupt: what is loaded is compared with what is on the disk by
supervisord itself, and a reload is recorded only after the signal went out.
"""

from __future__ import annotations

import getpass
import os
import pwd
import shlex
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.anlan_files import differs, owner_ids, write
from ansible.module_utils.anlan_supervisor import UP, Supervisor
from ansible.module_utils.basic import AnsibleModule

ARGUMENTS: dict[str, Any] = {
    "machine": {"type": "path", "required": True},
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["started", "stopped", "absent"], "default": "started"},
    "command": {"type": "list", "elements": "str"},
    "user": {"type": "str"},
    "directory": {"type": "path"},
    "environment": {"type": "dict", "default": {}, "no_log": True},
    "priority": {"type": "int", "default": 500},
    "stopsignal": {"type": "str", "default": "TERM"},
    "stopwaitsecs": {"type": "int", "default": 10},
    "autorestart": {"type": "bool", "default": True},
    # Whether it starts with the machine; default: as autorestart.
    "autostart": {"type": "bool"},
    "restart_on": {"type": "str", "default": ""},
    "reload_on": {"type": "str"},
    "reload_signal": {"type": "str", "default": "HUP"},
    # Reload now, whatever reload_on says (a configuration file was just put right).
    "reload": {"type": "bool", "default": False},
    # Folders the program needs, made 0700 for its user.
    "folders": {"type": "list", "elements": "path", "default": []},
    "ready": {
        "type": "dict",
        "options": {"tcp": {"type": "str"}, "command": {"type": "list", "elements": "str"}},
        "mutually_exclusive": [["tcp", "command"]],
    },
    "ready_timeout_seconds": {"type": "float", "default": 30.0},
}
LOG_TAIL_BYTES = 1500


class NotReady(Exception):
    """The program did not come up; the message holds its state and the tail of its log."""


def quoted(name: str, value: str) -> str:
    """One KEY="value" of supervisord's ini syntax, which knows no escapes."""
    if any(mark in value for mark in ('"', "\n", " ;", " #")):
        raise ValueError(
            f"environment variable {name} holds a double quote, a newline, ' ;' or ' #', which "
            "supervisord cannot express: put it in a file and name the file"
        )
    return f'{name}="{value.replace("%", "%%")}"'


def ini(parameters: dict[str, Any]) -> str:
    """The supervisord section of the program."""
    name, machine, user = parameters["name"], parameters["machine"], parameters["user"]
    environment = {key: str(value) for key, value in parameters["environment"].items()}
    # What a killed program leaves lies inside the machine and goes with it.
    environment.setdefault("TMPDIR", f"{machine}/run")
    autostart = parameters["autostart"]
    if autostart is None:
        autostart = parameters["autorestart"]
    other = user if user and user != getpass.getuser() else None
    if other:
        environment = {"HOME": pwd.getpwnam(other).pw_dir, "USER": other, **environment}
    if parameters["restart_on"]:
        environment["ANLAN_RESTART_ON"] = parameters["restart_on"]
    command = shlex.join(parameters["command"]).replace("%", "%%")
    if " ;" in command or " #" in command:
        raise ValueError(f"the command of {name} holds ' ;' or ' #', a comment to supervisord")
    lines = [
        f"[program:{name}]",
        f"command={command}",
        f"directory={parameters['directory'] or machine}",
        f"environment={','.join(quoted(*item) for item in sorted(environment.items()))}",
        f"priority={parameters['priority']}",
        f"autostart={str(autostart).lower()}",
        f"autorestart={str(parameters['autorestart']).lower()}",
        "startsecs=1",
        "startretries=3",
        f"stopsignal={parameters['stopsignal']}",
        f"stopwaitsecs={parameters['stopwaitsecs']}",
        "killasgroup=true",
        "umask=077",
        "redirect_stderr=true",
        f"stdout_logfile={machine}/log/{name}.log",
        "stdout_logfile_maxbytes=20MB",
        "stdout_logfile_backups=3",
    ]
    if other:
        lines.append(f"user={other}")
    return "\n".join(lines) + "\n"


def is_ready(ready: dict[str, Any] | None) -> bool:
    """One try of the readiness test; without a test a live process is ready."""
    if ready and ready["tcp"]:
        host, _, port = ready["tcp"].rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=1.0).close()
        except OSError:
            return False
    elif ready and ready["command"]:
        try:
            done = subprocess.run(ready["command"], capture_output=True, timeout=10, check=False)
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0
    return True


class Program:
    """The program as it should be, and the machine it runs on."""

    def __init__(self, parameters: dict[str, Any]) -> None:
        self.parameters = parameters
        self.name: str = parameters["name"]
        machine = Path(parameters["machine"])
        self.file = machine / "etc" / "programs" / f"{self.name}.ini"
        self.loaded = machine / "run" / f"{self.name}.loaded"
        self.log = machine / "log" / f"{self.name}.log"
        self.supervisor = Supervisor(machine)
        self.alive = self.supervisor.pid() is not None

    def needs(self) -> list[str]:
        """What differs: of absent, folders, configure, load, start, stop, reload, ready."""
        state = self.parameters["state"]
        info = self.supervisor.info(self.name) if self.alive else None
        up = info is not None and info["statename"] in UP
        if state == "absent":
            return ["absent"] if info or self.file.exists() or self.loaded.exists() else []
        needs = ["folders"] if self._missing_folders() else []
        if differs(self.file, ini(self.parameters).encode(), 0o600):
            needs.append("configure")
        if (
            not self.alive
            or info is None
            or "configure" in needs
            or self.supervisor.pending(self.name)
        ):
            needs.append("load")
        if state == "stopped":
            return [*needs, "stop"] if up else needs
        if not up or "load" in needs:
            needs.append("start")
        elif self._reload_is_due():
            needs.append("reload")
        elif not is_ready(self.parameters["ready"]):
            needs.append("ready")
        return needs

    def _reload_is_due(self) -> bool:
        wish = self.parameters["reload_on"]
        if self.parameters["reload"]:
            return True
        return wish is not None and (not self.loaded.exists() or self.loaded.read_text() != wish)

    def _missing_folders(self) -> list[Path]:
        return [path for path in map(Path, self.parameters["folders"]) if not path.is_dir()]

    def _make_folders(self) -> None:
        for path in self._missing_folders():
            path.mkdir(mode=0o700, parents=True)
            if os.geteuid() == 0:
                os.chown(path, *owner_ids(self.parameters["user"]))

    def apply(self, needs: list[str]) -> None:
        """Do what `needs` named."""
        if "absent" in needs:
            if self.alive:
                self.supervisor.unload(self.name)
            self.file.unlink(missing_ok=True)
            self.loaded.unlink(missing_ok=True)
            return
        if not self.alive:
            raise NotReady(
                f"the supervisord of {self.supervisor.machine} does not answer: "
                "apply the role `machine` first"
            )
        self._make_folders()
        if "configure" in needs:
            write(self.file, ini(self.parameters).encode(), 0o600)
        if "load" in needs:
            self.supervisor.pending(self.name)
            self.supervisor.unload(self.name)
            self.supervisor.load(self.name)
        if "stop" in needs:
            self.supervisor.stop(self.name)
        if "start" in needs:
            self.supervisor.start(self.name)
        if "reload" in needs:
            number = signal.Signals[f"SIG{self.parameters['reload_signal']}"]
            self.supervisor.signal(self.name, int(number))
        if self.parameters["state"] == "started":
            self._wait()
            if self.parameters["reload_on"] is not None:
                write(self.loaded, self.parameters["reload_on"].encode(), 0o600)

    def _wait(self) -> None:
        ready = self.parameters["ready"]
        deadline = time.monotonic() + self.parameters["ready_timeout_seconds"]
        while True:
            info = self.supervisor.info(self.name)
            state = info["statename"] if info else "not loaded"
            settled = state in UP if ready else state == "RUNNING"
            if settled and is_ready(ready):
                return
            over = state in {"FATAL", "EXITED", "STOPPED", "not loaded"}
            if over or time.monotonic() > deadline:
                limit = self.parameters["ready_timeout_seconds"]
                why = "it ended" if over else f"it was not ready within {limit:g} s"
                raise NotReady(
                    f"program {self.name} is {state}: {why}. End of {self.log}:\n{self._tail()}"
                )
            time.sleep(0.05)

    def _tail(self) -> str:
        try:
            return self.log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")
        except OSError as error:
            return str(error)


def main() -> None:
    """Ansible's entry."""
    module = AnsibleModule(
        ARGUMENTS, supports_check_mode=True, required_if=[("state", "started", ["command"])]
    )
    try:
        program = Program(module.params)
        needs = program.needs()
        if needs and not module.check_mode:
            program.apply(needs)
        info = program.supervisor.info(program.name) if program.alive else None
    except (NotReady, OSError, ValueError, KeyError) as error:
        module.fail_json(msg=str(error))
    # Waiting for a program that comes up by itself changes nothing; in check mode it is drift.
    changed = bool(needs) if module.check_mode else needs not in ([], ["ready"])
    module.exit_json(
        changed=changed,
        actions=needs,
        pid=info["pid"] if info else 0,
        program_state=info["statename"] if info else "absent",
    )


if __name__ == "__main__":
    main()
