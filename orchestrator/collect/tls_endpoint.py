"""Kind `tls_endpoint`: what each endpoint of the descriptor speaks, by real attempts.

Data: `speaks_tls`, `negotiated_version`, `cipher`, `lowest_accepted_version` (null when an attempt
was inconclusive), `attempts` (one for each older version), `chain_verified`, `name_verified`,
`verification_error`, `plaintext_refused` (null when inconclusive), `plaintext_detail`, and of the
certificate `subject_name`, `issuer`, `names`, `serial`, `not_before`, `not_after`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from cryptography import x509

from orchestrator.collect.handshake import (
    VERSIONS,
    Endpoint,
    endpoint_of,
    session,
    try_plaintext,
    try_version,
    verify,
)
from orchestrator.collect.observe import Collector, Observation
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment
from orchestrator.model.fact import timestamp

KIND = "tls_endpoint"


def endpoints(environment: Environment) -> dict[str, Endpoint]:
    """Every endpoint of the descriptor by subject, e.g. `a/postgresql`."""
    found: dict[str, Endpoint] = {}
    for name, site in environment.sites.items():
        database = site.database
        found[f"{name}/postgresql"] = Endpoint(database.address, database.port, "postgresql")
        found[f"{name}/object_store"] = endpoint_of(site.object_store.url)
        found[f"{name}/erp"] = endpoint_of(site.erp.url)
    found["common/secrets"] = endpoint_of(environment.secrets.url)
    found["common/front_door"] = endpoint_of(environment.front_door.url)
    return found


def collectors(environment: Environment, secrets: Secrets) -> list[Collector]:
    """One collector for each endpoint; nobody logs in."""
    return [
        Collector(
            kind=KIND,
            subject=subject,
            source=f"{subject} at {endpoint}, without login",
            query=(
                f"TLS handshake with any version; with {', '.join(VERSIONS)} alone; verified "
                f"against {environment.tls.ca_file} and the name {endpoint.address}; plaintext"
            ),
            look=partial(look, environment, endpoint),
        )
        for subject, endpoint in endpoints(environment).items()
    ]


def look(environment: Environment, endpoint: Endpoint) -> Observation:
    """Try the endpoint in every way. Raises InfrastructureError when nothing answers there."""
    agreed = session(endpoint)
    plaintext = try_plaintext(endpoint)
    data: dict[str, Any] = {
        "speaks_tls": agreed is not None,
        "plaintext_refused": _decided(plaintext.outcome, "refused"),
        "plaintext_detail": plaintext.detail,
    }
    if agreed is None:
        return Observation(data, 2)
    attempts = {version: try_version(endpoint, version) for version in VERSIONS}
    verified = verify(endpoint, environment.tls.ca_file)
    # An attempt that proves nothing leaves open what the lowest accepted version is.
    certain = all(attempt.outcome != "inconclusive" for attempt in attempts.values())
    accepted = [name for name, attempt in attempts.items() if attempt.outcome == "accepted"]
    data |= {
        "negotiated_version": agreed.version,
        "cipher": agreed.cipher,
        "lowest_accepted_version": accepted[0] if certain and accepted else None,
        "attempts": [
            {"version": name, "outcome": attempt.outcome, "detail": attempt.detail}
            for name, attempt in attempts.items()
        ],
        "chain_verified": verified.chain,
        "name_verified": verified.name,
        "verification_error": verified.error,
        **_certificate(agreed.certificate),
    }
    return Observation(data, len(attempts) + 3)


def _decided(outcome: str, wanted: str) -> bool | None:
    return None if outcome == "inconclusive" else outcome == wanted


def _certificate(der: bytes) -> dict[str, Any]:
    certificate = x509.load_der_x509_certificate(der)
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names = {str(name.value) for name in extension.value}
    except x509.ExtensionNotFound:
        names = set()
    return {
        "subject_name": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "names": sorted(names),
        "serial": f"{certificate.serial_number:x}",
        "not_before": timestamp(certificate.not_valid_before_utc),
        "not_after": timestamp(certificate.not_valid_after_utc),
    }
