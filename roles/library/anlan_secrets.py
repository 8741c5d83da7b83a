#!/usr/bin/python
"""The secret manager initialised, unsealed and holding what the environment needs.

Every stage survives a kill: the file of the unseal keys is written before anything is made, a
root token lives only while ROOT_MARK or the init file tells of it, and is revoked by the run that
finds one. Nothing secret is returned.
"""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import ssl
import time
from pathlib import Path
from typing import Any

import hvac
import requests
from ansible.module_utils.anlan_files import write
from ansible.module_utils.anlan_pki import issue, reasons
from ansible.module_utils.anlan_supervisor import Supervisor
from ansible.module_utils.anlan_vault import SecretsUnavailable, connect, log_in
from ansible.module_utils.anlan_vault_setup import steps
from ansible.module_utils.basic import AnsibleModule
from hvac.exceptions import Forbidden, InvalidRequest, VaultError

ARGUMENTS: dict[str, Any] = {
    "machine": {"type": "path", "required": True},
    "address": {"type": "str", "required": True},
    "port": {"type": "int", "required": True},
    "plugin_directory": {"type": "path", "required": True},
    "trust_directory": {"type": "path", "required": True},
    "audit_log": {"type": "path", "required": True},
    "generate": {"type": "dict", "required": True},
    "bound_cidrs": {"type": "list", "elements": "str", "required": True},
    "certificate_ttl_hours": {"type": "int", "required": True},
    "certificate_renew_before_hours": {"type": "int", "required": True},
}
KEY_SHARES, KEY_THRESHOLD = 5, 3
SIGHUP = 1
WAIT_SECONDS = 30.0
ERRORS = (VaultError, requests.RequestException, SecretsUnavailable, OSError)


class Drift(Exception):
    """In check mode: what differs and hides all that follows."""


class Secrets:
    """The server of one environment, its files and the tokens of this run."""

    def __init__(self, parameters: dict[str, Any], check: bool) -> None:
        self.parameters, self.check = parameters, check
        self.machine = Path(parameters["machine"])
        self.folder = self.machine / "secrets"
        self.init_file = self.folder / "init.json"
        self.begun_mark = self.folder / "init.begun"
        self.root_mark = self.folder / "root.begun"
        self.certificate = self.machine / "tls" / "secrets.crt"
        self.key = self.machine / "tls" / "secrets.key"
        self.ca_file = Path(parameters["trust_directory"]) / "ca.pem"
        self.url = f"https://{parameters['address']}:{parameters['port']}"
        self.supervisor = Supervisor(self.machine)
        self.actions: list[str] = []

    # The listener -------------------------------------------------------------------------

    def client(self, token: str = "") -> hvac.Client:
        """A client that accepts the very certificate this machine has on its disk."""
        return connect(self.url, self.certificate, token, pinned=True)

    def sync_listener(self) -> None:
        """Make the server serve the certificate of the disk (it reads it again on SIGHUP)."""
        wanted = ssl.PEM_cert_to_DER_cert(
            self.certificate.read_text().partition("-----END CERTIFICATE-----")[0]
            + "-----END CERTIFICATE-----\n"
        )
        place = (self.parameters["address"], self.parameters["port"])
        deadline, told = time.monotonic() + WAIT_SECONDS, False
        while ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(place, timeout=5)) != wanted:
            if not told:
                self._will("reload of the listener's certificate")
                self.supervisor.signal("secrets", SIGHUP)
                told = True
            if time.monotonic() > deadline:
                raise SecretsUnavailable(f"{self.url} does not take {self.certificate}")
            time.sleep(0.05)

    def renew_listener(self, client: hvac.Client) -> None:
        """Replace the listener's certificate when it is the first one, or expires."""
        wished = {
            "common_name": "secrets",
            "alt_names": [self.parameters["address"]],
            "ip_sans": [self.parameters["address"]],
            "renew_before_hours": self.parameters["certificate_renew_before_hours"],
            "ttl_hours": self.parameters["certificate_ttl_hours"],
            "ca_file": self.ca_file,
            "mount": "pki",
            "role": "service",
        }
        if reasons(wished, self.certificate, self.key):
            self._will("listener certificate")
            certificate, key = issue(client, wished)
            write(self.key, key, 0o600)
            write(self.certificate, certificate, 0o644)
            self.sync_listener()

    # Initialise and unseal ----------------------------------------------------------------

    def held(self) -> dict[str, Any]:
        """What the init file holds: unseal keys, and a root token until set-up is done."""
        return dict(json.loads(self.init_file.read_text()))

    def initialise(self) -> None:
        """Make the unseal keys, once."""
        if self.init_file.exists():
            self.begun_mark.unlink(missing_ok=True)
            if self.client().sys.is_initialized():
                return
            raise SecretsUnavailable(
                f"the store of {self.url} is empty although {self.init_file} exists: restore a "
                "raft snapshot, or remove the environment and make it anew"
            )
        if self.begun_mark.exists():
            self._will("wipe of a store whose unseal keys were lost at birth")
            self._wipe()
        elif self.client().sys.is_initialized():
            raise SecretsUnavailable(
                f"{self.url} is initialised but {self.init_file} is missing: put the file of "
                "the unseal keys back"
            )
        self._will("initialise")
        write(self.begun_mark, b"", 0o600)
        answer = self.client().sys.initialize(KEY_SHARES, KEY_THRESHOLD)
        held = {
            "unseal_keys": answer["keys_base64"],
            "threshold": KEY_THRESHOLD,
            "root_token": answer["root_token"],
        }
        write(self.init_file, json.dumps(held).encode(), 0o600)
        self.begun_mark.unlink()

    def _wipe(self) -> None:
        made = [self.folder / "provisioner.json", self.folder / "orchestrator.json", self.ca_file]
        if any(file.exists() for file in made):
            raise SecretsUnavailable(f"{self.init_file} is lost but secrets exist: put it back")
        self.supervisor.stop("secrets")
        shutil.rmtree(self.machine / "data" / "secrets", ignore_errors=True)
        (self.machine / "data" / "secrets").mkdir(mode=0o700)
        self.supervisor.start("secrets")
        self._wait(lambda: not self.client().sys.is_initialized(), "did not start again")

    def unseal(self) -> None:
        """Give the server its keys when it is sealed, and wait until it serves."""
        client = self.client()
        if client.sys.is_sealed():
            self._will("unseal")
            held = self.held()
            client.sys.submit_unseal_keys(held["unseal_keys"][: held["threshold"]])
        self._wait(
            lambda: client.session.get(f"{self.url}/v1/sys/health", timeout=5).status_code == 200,
            "is unsealed but not active",
        )

    def _wait(self, done: Any, complaint: str) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            with contextlib.suppress(*ERRORS):
                if done():
                    return
            if time.monotonic() > deadline:
                raise SecretsUnavailable(f"{self.url} {complaint} after {WAIT_SECONDS:g} s")
            time.sleep(0.05)

    # Tokens -------------------------------------------------------------------------------

    def provisioner(self) -> hvac.Client | None:
        """A login as the roles do; None when its file does not serve."""
        if not (self.folder / "provisioner.json").exists():
            return None
        try:
            return log_in(
                self.url, self.certificate, self.folder / "provisioner.json", pinned=True, wait=0
            )
        except SecretsUnavailable:
            return None

    def root(self) -> hvac.Client:
        """A root token: that of the birth, else one made with the unseal keys."""
        held = self.held()
        if held.get("root_token"):
            client = self.client(held["root_token"])
            with contextlib.suppress(Forbidden):
                client.auth.token.lookup_self()
                return client
        self._will("temporary root token")
        write(self.root_mark, b"", 0o600)
        client = self.client()
        client.sys.cancel_root_generation()
        # Without a pad of ours the server makes one (hvac's own verb insists on giving one).
        started = client.write_data("sys/generate-root/attempt", data={})
        otp, nonce, answer = started["otp"], started["nonce"], started
        for key in held["unseal_keys"][: held["threshold"]]:
            answer = client.sys.generate_root(key, nonce)
        encoded = answer["encoded_token"]
        raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4))
        token = bytes(a ^ b for a, b in zip(raw, otp.encode(), strict=True)).decode()
        return self.client(token)

    def root_is_live(self) -> bool:
        """Whether a root token may exist."""
        return self.root_mark.exists() or "root_token" in self.held()

    def revoke_root(self, client: hvac.Client) -> None:
        """End every root token, the client's own last, and forget that there was one."""
        own = client.auth.token.lookup_self()["data"]["accessor"]
        for accessor in client.list("auth/token/accessors")["data"]["keys"]:
            if accessor == own:
                continue
            with contextlib.suppress(VaultError):  # it expired meanwhile
                if "root" in client.auth.token.lookup_accessor(accessor)["data"]["policies"]:
                    client.auth.token.revoke_accessor(accessor)
        client.auth.token.revoke_self()
        self.forget_root()

    def forget_root(self) -> None:
        """Take the revoked token out of the init file."""
        held = self.held()
        if held.pop("root_token", None):
            write(self.init_file, json.dumps(held).encode(), 0o600)
        self.root_mark.unlink(missing_ok=True)

    # The whole ----------------------------------------------------------------------------

    def _will(self, action: str) -> None:
        self.actions.append(action)
        if self.check:
            raise Drift

    def make(self) -> None:
        """All of it; in check mode raises Drift at the first difference that hides others."""
        self.sync_listener()
        self.initialise()
        self.unseal()
        wished = steps(self.parameters)
        client = self.provisioner()
        root: hvac.Client | None = None
        if client is None or self.root_is_live():
            self._will("revoke the root token" if client else "set up with a root token")
            root = self.root()
        try:
            for step in wished:
                with_token = root or client
                try:
                    differs = with_token is None or step.differs(with_token)
                except Forbidden:  # the provisioner's policy itself is what differs
                    differs = True
                if not differs:
                    continue
                self.actions.append(step.name)
                if self.check:
                    continue
                if step.root and root is None:
                    root = self.root()
                try:
                    step.apply(root or client)
                except Forbidden:
                    root = root or self.root()
                    step.apply(root)
            if not self.check or not self.actions:
                self.renew_listener(root or client)
            if root is not None:
                self.revoke_root(self.client(root.token))
        finally:
            if client is not None:
                with contextlib.suppress(*ERRORS):
                    self.client(client.token).auth.token.revoke_self()


def main() -> None:
    """Ansible's entry."""
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True)
    server = Secrets(module.params, module.check_mode)
    try:
        server.make()
    except Drift:
        pass
    except InvalidRequest as error:
        module.fail_json(msg=f"{server.url}: {error}", actions=server.actions)
    except ERRORS as error:
        if not module.check_mode:
            module.fail_json(msg=f"{server.url}: {error}", actions=server.actions)
        server.actions.append(f"does not answer: {error}")
    module.exit_json(changed=bool(server.actions), actions=server.actions)


if __name__ == "__main__":
    main()
