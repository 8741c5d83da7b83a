"""What the secret manager holds: mounts, policies, AppRoles, keys. Data, and how it is compared."""

from __future__ import annotations

from typing import Any

DATABASE_PLUGIN = "postgresql-database-plugin"
MOUNTS: dict[str, dict[str, Any]] = {
    "kv": {"type": "kv", "options": {"version": "2"}},
    "pki": {"type": "pki", "config": {"max_lease_ttl": "87600h"}},
    "transit": {"type": "transit"},
    "database": {"type": "database"},
}
PKI_ROOT = {
    "common_name": "Anlan environment CA",
    "ttl": "87600h",
    "key_type": "ec",
    "key_bits": 256,
}
PKI_ROLE: dict[str, Any] = {
    "allow_any_name": True,
    "enforce_hostnames": False,
    "allow_ip_sans": True,
    "allow_wildcard_certificates": False,
    "server_flag": True,
    "client_flag": True,
    "key_type": "ec",
    "key_bits": 256,
    "max_ttl": 8760 * 3600,
    "ttl": 2160 * 3600,
}
EVIDENCE_KEY: dict[str, Any] = {"type": "ed25519", "exportable": False}
TOKEN_TTL_SECONDS = 3600
TOKEN_MAX_TTL_SECONDS = 4 * 3600


def policy(rules: dict[str, list[str]]) -> str:
    """Rules (path to capabilities) in HCL."""
    lines = []
    for path, capabilities in rules.items():
        wanted = ", ".join(f'"{capability}"' for capability in capabilities)
        lines.append(f'path "{path}" {{ capabilities = [{wanted}] }}')
    return "\n".join(lines)


_READ, _SUDO_READ, _UPDATE = ["read"], ["read", "sudo"], ["update"]
POLICIES = {
    # The roles: entries, certificates and database settings; of the rest they only read, to see
    # drift. What they may not repair, they repair with a root token of the unseal keys' holders.
    "provisioner": policy(
        {
            "kv/data/*": ["create", "read", "update"],
            "kv/metadata/*": ["read", "list"],
            "pki/issue/service": _UPDATE,
            "pki/cert/*": _READ,
            "pki/roles/service": _READ,
            "transit/keys/evidence": _READ,
            "database/config/erp": ["create", "read", "update", "delete"],
            "database/static-roles/orchestrator": ["create", "read", "update", "delete"],
            "database/static-creds/orchestrator": _READ,
            "database/rotate-role/orchestrator": _UPDATE,
            "sys/audit": _SUDO_READ,
            "sys/auth": _READ,
            "sys/mounts": _READ,
            "sys/policies/acl/*": _READ,
            f"sys/plugins/catalog/database/{DATABASE_PLUGIN}": _SUDO_READ,
            "auth/approle/role/+": _READ,
            "auth/approle/role/+/role-id": _READ,
            "auth/approle/role/+/secret-id/lookup": _UPDATE,
        }
    ),
    # The drills: what they need, and nothing they could change (static-creds are only read).
    "orchestrator": policy(
        {
            "kv/data/erp-probe": _READ,
            "kv/data/erp-database": _READ,
            "kv/data/object-store/*": _READ,
            "database/static-creds/orchestrator": _READ,
            "transit/sign/evidence": _UPDATE,
            "transit/sign/evidence/*": _UPDATE,
            "transit/verify/evidence": _UPDATE,
            "transit/verify/evidence/*": _UPDATE,
            "transit/keys/evidence": _READ,
            "pki/ca": _READ,
            "pki/ca/pem": _READ,
            "pki/cert/*": _READ,
            "pki/certs": ["list"],
            "sys/health": ["read", "sudo"],
            "sys/audit": _SUDO_READ,
            "sys/mounts": _READ,
            # The collectors' questions: who may log in, what policies grant, which tokens live.
            # An accessor tells of a token and does not hold it; to list them takes sudo.
            "sys/auth": _READ,
            "sys/policies/acl": ["list"],
            "sys/policies/acl/+": _READ,
            "auth/approle/role": ["list"],
            "auth/approle/role/+": _READ,
            "auth/token/accessors": ["list", "sudo"],
            "auth/token/lookup-accessor": _UPDATE,
            "pki/roles": ["list"],
            "pki/roles/+": _READ,
            "identity/entity/id": ["list"],
            "identity/entity/id/+": _READ,
            "identity/group/id": ["list"],
            "identity/group/id/+": _READ,
            # Sealed by the barrier key: of no use without the unseal keys.
            "sys/storage/raft/snapshot": _READ,
        }
    ),
}


def approle(name: str, bound_cidrs: list[str]) -> dict[str, Any]:
    """The AppRole ``name``: tokens of an hour, from these networks alone.

    Its secret_id does not expire: a drill at night must be able to log in; the file that holds
    it is 0600 and the role `secrets` replaces a secret_id whose file is lost.
    """
    return {
        "bind_secret_id": True,
        "secret_id_bound_cidrs": bound_cidrs,
        "secret_id_num_uses": 0,
        "secret_id_ttl": 0,
        "token_bound_cidrs": bound_cidrs,
        "token_max_ttl": TOKEN_MAX_TTL_SECONDS,
        "token_policies": [name],
        "token_ttl": TOKEN_TTL_SECONDS,
    }


def holds(found: dict[str, Any] | None, wish: dict[str, Any]) -> bool:
    """Whether every wished setting is found."""
    return found is not None and all(found.get(key) == value for key, value in wish.items())
