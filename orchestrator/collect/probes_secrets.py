"""Probes of the secret manager: what its AppRoles, and strangers, must not be able to do."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import requests
from hvac.exceptions import Forbidden, InvalidPath, VaultError

from orchestrator.collect.observe import asked
from orchestrator.collect.probe import Probe, Tried
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment
from orchestrator.model.errors import InfrastructureError

_PROBE_POLICY = "sys/policies/acl/anlan-negative-probe"


def probes(environment: Environment, secrets: Secrets) -> list[Probe]:
    """The probes, as the AppRoles orchestrator and provisioner and as nobody."""
    settings = environment.secrets
    provisioner = Secrets(environment, settings.provisioner_file)
    read = "what it reads is thrown away"
    disable = (
        "DELETE sys/audit/… of each audit device, unless sys/capabilities-self already allows it"
    )
    enabled = "the device is enabled again at once with its settings"
    return [
        _probe(
            "orchestrator_disables_secrets_audit",
            "orchestrator",
            disable,
            enabled,
            partial(_disable_audit, secrets),
        ),
        _probe(
            "provisioner_disables_secrets_audit",
            "provisioner",
            disable,
            enabled,
            partial(_disable_audit, provisioner),
        ),
        _probe(
            "orchestrator_reads_admin_login",
            "orchestrator",
            f"GET {settings.kv_mount}/data/erp-admin",
            read,
            partial(
                _refused, secrets, lambda client: client.read(f"{settings.kv_mount}/data/erp-admin")
            ),
        ),
        _probe(
            "orchestrator_exports_evidence_key",
            "orchestrator",
            f"GET {settings.transit_mount}/export/signing-key/{settings.evidence_key}",
            read,
            partial(
                _refused,
                secrets,
                lambda client: client.read(
                    f"{settings.transit_mount}/export/signing-key/{settings.evidence_key}"
                ),
            ),
        ),
        _probe(
            "orchestrator_writes_policy",
            "orchestrator",
            f"PUT {_PROBE_POLICY} (a policy without rules)",
            "no token has that policy, and it is deleted at once",
            partial(_write_policy, secrets),
        ),
        Probe(
            "common/probe/secrets_without_token",
            "the secret manager, without a token",
            f"GET {settings.kv_mount}/data/erp-probe",
            read,
            partial(_without_token, secrets, f"{settings.kv_mount}/data/erp-probe"),
        ),
    ]


def _probe(name: str, who: str, attempt: str, harmless: str, act: Callable[[], Tried]) -> Probe:
    source = f"the secret manager, as AppRole {who}"
    return Probe(f"common/probe/{name}", source, attempt, harmless, act)


def _refused(secrets: Secrets, verb: Callable[[Any], Any]) -> Tried:
    """Try one request with the AppRole's token."""
    try:
        answer = asked(secrets, "try what must be refused", verb)
    except InfrastructureError as error:
        cause = error.__cause__
        if isinstance(cause, Forbidden):
            return Tried(True, "permission denied (403)")
        if isinstance(cause, InvalidPath):
            return Tried(None, "there is no such entry")
        raise
    # hvac gives None for an entry that does not exist but might have been read.
    return Tried(False, "it was answered" if answer is not None else "it may look: no such entry")


def _disable_audit(secrets: Secrets) -> Tried:
    devices = asked(secrets, "list the audit devices", _devices)
    if not devices:
        return Tried(None, "there is no audit device")
    for path, device in devices.items():
        target = f"sys/audit/{path.rstrip('/')}"
        allowed = _capabilities(secrets, target)
        if allowed != ["deny"]:
            return Tried(False, f"{target}: allowed {', '.join(allowed)}; so it was not tried")
        tried = _refused(secrets, _deletion(target))
        if not tried.refused:
            return Tried(tried.refused, f"{target}: {tried.answer}", _enable(secrets, path, device))
    return Tried(True, f"permission denied (403) for {', '.join(devices)}")


def _devices(client: Any) -> dict[str, Any]:
    answer = client.sys.list_enabled_audit_devices()
    return dict(answer.get("data", answer))


def _deletion(path: str) -> Callable[[Any], Any]:
    def delete(client: Any) -> bool:
        client.delete(path)
        return True

    return delete


def _capabilities(secrets: Secrets, path: str) -> list[str]:
    answer = asked(
        secrets, "ask what it may", lambda client: client.sys.get_capabilities(paths=[path])
    )
    return [str(one) for one in answer["data"]["capabilities"]]


def _enable(secrets: Secrets, path: str, device: dict[str, Any]) -> bool:
    """Enable a device again; whether that was done."""
    try:
        asked(
            secrets,
            "enable the audit device again",
            lambda client: client.sys.enable_audit_device(
                device_type=device["type"], path=path.rstrip("/"), options=device["options"]
            ),
        )
    except InfrastructureError:
        return False
    return True


def _write_policy(secrets: Secrets) -> Tried:
    allowed = _capabilities(secrets, "sys/policies/acl/orchestrator")
    if allowed not in (["deny"], ["read"]):
        return Tried(False, f"its own policy: allowed {', '.join(allowed)}")

    def write(client: Any) -> bool:
        client.write_data(_PROBE_POLICY, data={"policy": ""})
        return True

    tried = _refused(secrets, write)
    if tried.refused is not False:
        return tried
    gone = _refused(secrets, _deletion(_PROBE_POLICY)).refused is False
    return Tried(False, "it wrote a policy", undone=gone)


def _without_token(secrets: Secrets, path: str) -> Tried:
    try:
        answer = secrets.connect().read(path)
    except Forbidden:
        return Tried(True, "permission denied (403)")
    except (VaultError, requests.RequestException) as error:
        raise InfrastructureError(f"the secret manager did not answer: {error}") from error
    return Tried(False, "it was answered" if answer else "it may look: no such entry")
