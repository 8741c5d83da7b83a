"""Kind `pki_role`: which certificates the environment's authority issues for a role.

Data: `roles` (all names), and of the role `service`: `longest_seconds`, `key_type`, `key_bits`,
`any_name` (names are not limited), `wildcards` (certificates for `*.…` are issued), `usages`;
`authority_not_after` of the root certificate.
"""

from __future__ import annotations

from functools import partial

from cryptography import x509

from orchestrator.collect.observe import Collector, Observation, asked
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment
from orchestrator.model.fact import timestamp

KIND = "pki_role"
ROLE = "service"
"""What the role `secrets` makes."""
_USAGES = {
    "server_flag": "server",
    "client_flag": "client",
    "code_signing_flag": "code signing",
    "email_protection_flag": "email protection",
}


def collectors(environment: Environment, secrets: Secrets) -> list[Collector]:
    """One collector: `common/secrets/pki-service`."""
    mount = environment.secrets.pki_mount
    return [
        Collector(
            kind=KIND,
            subject=f"common/secrets/pki-{ROLE}",
            source=f"common/secrets at {environment.secrets.url}, as AppRole orchestrator; "
            f"{environment.tls.ca_file}",
            query=f"LIST {mount}/roles; GET {mount}/roles/{ROLE}",
            look=partial(look, environment, secrets),
        )
    ]


def look(environment: Environment, secrets: Secrets) -> Observation:
    """Read the role. Raises InfrastructureError, OSError."""
    mount = environment.secrets.pki_mount
    names = asked(
        secrets,
        f"list the PKI's roles (list on {mount}/roles)",
        lambda client: client.list(f"{mount}/roles"),
    )["data"]["keys"]
    role = asked(
        secrets,
        f"read the PKI's role (read on {mount}/roles/{ROLE})",
        lambda client: client.read(f"{mount}/roles/{ROLE}"),
    )["data"]
    root = x509.load_pem_x509_certificate(environment.tls.ca_file.read_bytes())
    data = {
        "roles": sorted(names),
        "longest_seconds": role["max_ttl"],
        "key_type": role["key_type"],
        "key_bits": role["key_bits"],
        "any_name": role["allow_any_name"],
        "wildcards": role["allow_wildcard_certificates"],
        "usages": [word for flag, word in _USAGES.items() if role[flag]],
        "authority_not_after": timestamp(root.not_valid_after_utc),
    }
    return Observation(data, len(names))
