"""Kind `secret_manager`: how the secret manager is sealed and entered, and which tokens live.

Data:
- `version`, `seal_type`, `shares`, `threshold`; `root_generation_started`: somebody with unseal
  keys is making a root token.
- `tokens` (how many live; batch tokens are not listed by the server), and of them, as accessor
  (cut), login path and name: `root_tokens`, `unending_tokens` (without an end), `foreign_tokens`
  (of another login method than AppRole); `longest_token_seconds`.
- `auth_methods` (`PATH of type TYPE`), `auth_longest_seconds` (the longest lease that a method's
  own setting allows).
- `raw_audit_devices` (they write secrets in clear), `audit_devices` (count).
- `answered_without_login`: paths that must not answer without a token and did, of
  `tried_without_login`.
- of its configuration file: `listeners`, `listener_tls_off` (addresses), `listener_minimum_version`
  (the lowest of them), `listener_unauthenticated_metrics`, `ui`.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import requests
from hvac.exceptions import Forbidden, InvalidRequest

from orchestrator.collect.observe import Collector, Observation, asked
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.conditions import TLS_VERSIONS
from orchestrator.model.environment import Environment
from orchestrator.model.errors import InfrastructureError

KIND = "secret_manager"
CONFIGURATION = "etc/secrets.json"
"""Where the role `secrets` writes the server's configuration, in its machine."""
_LOGIN = "auth/approle/login"
_GUARDED = (
    "sys/audit",
    "sys/auth",
    "sys/host-info",
    "sys/in-flight-req",
    "sys/metrics?format=prometheus",
    "sys/mounts",
    "sys/policies/acl?list=true",
    "sys/pprof/cmdline",
    "sys/storage/raft/configuration",
    "auth/approle/role?list=true",
    "auth/token/accessors?list=true",
    "database/config?list=true",
    "kv/metadata?list=true",
    "pki/certs?list=true",
    "transit/keys?list=true",
)
# The server's own words for its versions; without one it takes the second.
_VERSIONS = {"tls10": "TLSv1", "tls11": "TLSv1.1", "tls12": "TLSv1.2", "tls13": "TLSv1.3"}


def collectors(environment: Environment, secrets: Secrets) -> list[Collector]:
    """One collector: `common/secrets`."""
    return [
        Collector(
            kind=KIND,
            subject="common/secrets",
            source=f"common/secrets at {environment.secrets.url}, without login and as AppRole "
            f"orchestrator; {CONFIGURATION} of its machine",
            query="sys/seal-status; sys/generate-root/attempt; sys/auth; sys/audit; every accessor "
            f"of auth/token/accessors; without a token: {', '.join(_GUARDED)}",
            look=partial(look, environment, secrets),
        )
    ]


def look(environment: Environment, secrets: Secrets) -> Observation:
    """Ask the server. Raises InfrastructureError, OSError."""
    tokens = _tokens(secrets)
    methods = asked(
        secrets, "read the login methods (read on sys/auth)", lambda client: client.read("sys/auth")
    )["data"]
    devices = asked(
        secrets, "list the audit devices", lambda client: client.sys.list_enabled_audit_devices()
    )["data"]
    data: dict[str, Any] = {
        **_seal(secrets),
        "tokens": len(tokens),
        "root_tokens": [_name(one) for one in tokens if "root" in one["policies"]],
        "unending_tokens": [_name(one) for one in tokens if not one.get("expire_time")],
        "foreign_tokens": [_name(one) for one in tokens if one["path"] != _LOGIN],
        "longest_token_seconds": max((one["creation_ttl"] for one in tokens), default=0),
        "auth_methods": [f"{path} of type {one['type']}" for path, one in sorted(methods.items())],
        "auth_longest_seconds": max(one["config"]["max_lease_ttl"] for one in methods.values()),
        "audit_devices": len(devices),
        "raw_audit_devices": [
            path for path, one in sorted(devices.items()) if one["options"].get("log_raw") == "true"
        ],
        "tried_without_login": len(_GUARDED),
        "answered_without_login": _open(environment, secrets),
        **_configured(environment),
    }
    return Observation(data, len(tokens) + len(methods) + len(_GUARDED))


def _tokens(secrets: Secrets) -> list[dict[str, Any]]:
    listed = asked(
        secrets,
        "list the live tokens (list and sudo on auth/token/accessors)",
        lambda client: client.list("auth/token/accessors"),
    )
    found = (_token(secrets, accessor) for accessor in listed["data"]["keys"])
    return [one for one in found if one is not None]


def _token(secrets: Secrets, accessor: str) -> dict[str, Any] | None:
    """What the server says of one token; None when it ended meanwhile."""

    def verb(client: Any) -> Any:
        try:
            return client.auth.token.lookup_accessor(accessor)["data"]
        except (Forbidden, InvalidRequest) as error:
            if "invalid accessor" in str(error):
                return None
            raise

    what = "look a live token up (update on auth/token/lookup-accessor)"
    found: dict[str, Any] | None = asked(secrets, what, verb)
    return found


def _name(token: dict[str, Any]) -> str:
    return f"{token['accessor'][:8]}… by {token['path']} as {token['display_name']}"


def _seal(secrets: Secrets) -> dict[str, Any]:
    """How it is sealed; asked without a login."""
    client = secrets.connect()
    try:
        seal = client.sys.read_seal_status()
        started = client.sys.read_root_generation_progress()["started"]
    except Forbidden:
        # Later versions want a login for that question, which then nobody else can ask either.
        started = None
    except (requests.RequestException, OSError) as error:
        raise InfrastructureError(
            f"the secret manager does not say how it is sealed: {error}",
            "start it (role `secrets`)",
        ) from error
    return {
        "version": seal["version"],
        "seal_type": seal["type"],
        "shares": seal["n"],
        "threshold": seal["t"],
        "root_generation_started": started,
    }


def _open(environment: Environment, secrets: Secrets) -> list[str]:
    """The guarded paths that answer without a token. Raises requests.RequestException."""
    session = secrets.connect().session
    found = []
    for path in _GUARDED:
        url = f"{environment.secrets.url}/v1/{path}"
        if session.get(url, verify=str(environment.tls.ca_file), timeout=10).status_code < 300:
            found.append(path)
    return found


def _configured(environment: Environment) -> dict[str, Any]:
    """What its configuration file says. Raises OSError, ValueError."""
    file = environment.secrets.machine.directory / CONFIGURATION
    settings = json.loads(file.read_text())
    listeners = [one["tcp"] for one in settings["listener"]]
    versions = [_VERSIONS[one.get("tls_min_version", "tls12")] for one in listeners]
    return {
        "listeners": len(listeners),
        "listener_tls_off": [one["address"] for one in listeners if _is_on(one, "tls_disable")],
        "listener_minimum_version": min(versions, key=TLS_VERSIONS.index, default=None),
        "listener_unauthenticated_metrics": any(
            _is_on(one.get("telemetry", {}), "unauthenticated_metrics_access") for one in listeners
        ),
        "ui": _is_on(settings, "ui"),
    }


def _is_on(settings: dict[str, Any], name: str) -> bool:
    return str(settings.get(name, False)).lower() in {"true", "1"}
