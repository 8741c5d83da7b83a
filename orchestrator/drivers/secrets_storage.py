"""The secret manager's storage (Vault, raft on its own disk): lost, and restored from a snapshot.

A snapshot is sealed by the barrier key: without the unseal keys it is of no use to anyone.

Which storage counts is decided by names alone, so kill -9 may strike anywhere. While a directory
`….lost` exists, it holds the one that counts, and `put_back` brings it back; `accept` renames it
to `….replaced`, and from then on the restored one counts. One program on one port serves whichever
is in place: never both.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import requests
from hvac.exceptions import VaultError

from orchestrator.drivers.files import sync_directory
from orchestrator.drivers.host import Kill, Machine
from orchestrator.drivers.lease import LeaseFile
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment
from orchestrator.model.errors import InfrastructureError, Refused

_WAIT_SECONDS = 60.0
_POLL_SECONDS = 0.05
_ERRORS = (VaultError, requests.RequestException, OSError, InfrastructureError)


class SecretsStorage:
    """The storage and the server of an environment's secret manager.

    Verbs may be called again and go on. They raise InfrastructureError; the destructive ones
    take a fencing token and raise Refused for a stale one.
    """

    def __init__(self, environment: Environment) -> None:
        self.settings = environment.secrets
        self._lease = LeaseFile(environment.lease_file)
        self._machine = Machine(environment.secrets.machine, self._lease)
        self._secrets = Secrets(environment)
        self._storage = self.settings.storage_directory
        self.lost = self._storage.with_name(f"{self._storage.name}.lost")
        self.replaced = self._storage.with_name(f"{self._storage.name}.replaced")

    def lose(self, token: int) -> Kill | None:
        """Kill the server and take its storage away; None when an earlier attempt did."""
        self._lease.check(token)
        if self.lost.exists():
            return None
        kill = self._machine.kill_program(self.settings.program, token, for_good=True)
        self._rename(self._storage, self.lost)
        return kill

    def restore(self, token: int, snapshot: bytes) -> None:
        """Start a new, empty server and give it the snapshot; it is sealed when this returns.

        The keys and the root token that it is born with are kept nowhere, and the snapshot
        replaces them. What an earlier attempt left is removed.
        """
        self._lease.check(token)
        if not self.lost.exists():
            raise Refused(
                f"the storage {self._storage} is not lost: it is not overwritten",
                "lose it first (drill `secrets-loss`)",
            )
        self._machine.program_stop(self.settings.program)
        shutil.rmtree(self._storage, ignore_errors=True)
        self._storage.mkdir(mode=0o700)
        self._start()
        try:
            client = self._secrets.connect()
            # As many keys as the snapshot's has: the server remembers that until it is restarted.
            held = self.unseal_keys()
            threshold = held["threshold"]
            born = client.sys.initialize(len(held["unseal_keys"]), threshold)
            client.sys.submit_unseal_keys(born["keys_base64"][:threshold])
            self._await("an active new server", self._is_active)
            client.token = born["root_token"]
            # The new server's first and only deed is in the audit log too.
            client.sys.enable_audit_device(
                "file",
                path="file",
                options={"file_path": str(self.settings.audit_log), "mode": "0600"},
            )
            client.sys.force_restore_raft_snapshot(snapshot)
        except (VaultError, requests.RequestException) as error:
            raise InfrastructureError(
                f"the new server at {self.settings.url} did not take the snapshot: {error}",
                "read its log; the old storage is put back by the undo",
            ) from error
        # Its barrier is now another one, to which it has no key.
        self._await("the restored server's seal", lambda: self._secrets.health().sealed)

    def unseal(self) -> None:
        """Give the server the environment's unseal keys if it is sealed, and wait for it."""
        self._start()
        try:
            if self._secrets.health().sealed:
                held = self.unseal_keys()
                keys = held["unseal_keys"][: held["threshold"]]
                self._secrets.connect().sys.submit_unseal_keys(keys)
        except (VaultError, requests.RequestException) as error:
            raise InfrastructureError(
                f"the server at {self.settings.url} did not take the unseal keys of "
                f"{self.settings.unseal_keys_file}: {error}",
                "they belong to another storage: put the right file back",
            ) from error
        self._await("an unsealed server", self._is_active)

    def put_back(self, token: int) -> bool:
        """Bring the lost storage back, unsealed; whether it was away."""
        self._lease.check(token)
        away = self.lost.exists()
        if away:
            self._boot()
            self._machine.program_stop(self.settings.program)
            shutil.rmtree(self._storage, ignore_errors=True)
            self._rename(self.lost, self._storage)
        self._clean()
        self.unseal()
        return away

    def accept(self, token: int) -> None:
        """Let the restored storage count from now on, and remove the lost one."""
        self._lease.check(token)
        if self.lost.exists():
            self._rename(self.lost, self.replaced)
        self._clean()
        self.unseal()

    def residue(self) -> list[str]:
        """What is left of a loss: the names of the directories beside the storage."""
        return [path.name for path in (self.lost, self.replaced) if path.exists()]

    def unseal_keys(self) -> dict[str, Any]:
        """The file of the unseal keys: `unseal_keys` (base64) and `threshold`."""
        file = self.settings.unseal_keys_file
        try:
            held: dict[str, Any] = json.loads(file.read_text())
        except (OSError, ValueError) as error:
            raise InfrastructureError(
                f"cannot read the unseal keys in {file}: {type(error).__name__}",
                "put the file back: without it no snapshot can be opened",
            ) from error
        return held

    def _clean(self) -> None:
        if self.replaced.exists():
            shutil.rmtree(self.replaced)
            sync_directory(self.replaced.parent)

    def _boot(self) -> None:
        if not self._machine.is_running():
            self._machine.start()

    def _start(self) -> None:
        """Have the server answer; it is started if it is down."""
        self._boot()
        self._machine.thaw_program(self.settings.program)
        if not self._machine.program_status(self.settings.program).is_up:
            self._machine.program_stop(self.settings.program)  # what is stopping ends first
            # A server that was killed leaves the sockets of its plugins.
            for socket in (self._machine.directory / "run").glob("plugin*"):
                socket.unlink(missing_ok=True)
        self._machine.program_start(self.settings.program)
        self._await("an answer", lambda: bool(self._secrets.health().version))

    def _is_active(self) -> bool:
        health = self._secrets.health()
        return health.initialized and not health.sealed and not health.standby

    def _await(self, what: str, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _WAIT_SECONDS
        while True:
            with suppress(*_ERRORS):
                if holds():
                    return
            if time.monotonic() > deadline:
                raise InfrastructureError(
                    f"{self.settings.url}: {what} did not come in {_WAIT_SECONDS:g} s",
                    f"read the log of program {self.settings.program}",
                )
            time.sleep(_POLL_SECONDS)

    def _rename(self, source: Path, target: Path) -> None:
        source.rename(target)
        sync_directory(target.parent)
