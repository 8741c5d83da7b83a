"""Kind `tls_endpoint`: what each endpoint speaks, by real attempts.

Data: `speaks_tls`, `negotiated_version`, `cipher`, `lowest_accepted_version` (null when an attempt
was inconclusive), `attempts` (one for each older version), `chain_verified`, `name_verified`,
`verification_error`, `plaintext_refused` (null when inconclusive), `plaintext_detail`; what is
accepted of all that can be offered (null when an answer could not be read): `suites_1_2`,
`suites_1_3`, `groups` (of TLS 1.3), `compression`, `renegotiation`; what was sent as certificates:
`chain_length`, `chain_signatures` (the hash under each), and of the server's own `subject_name`,
`issuer`, `names`, `serial`, `not_before`, `not_after`, `lifetime_hours`, `key`, `is_authority`,
`self_signed`; `authority_not_after`: when the environment's own authority expires.

Beside the endpoints of the descriptor it looks at the line between the sites, which must end at the
database that it leads to, and at the administration port of each object store, which is found among
the ports that the store's program listens on.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from cryptography import x509

from orchestrator.collect.certificates import authority_data, chain_data
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
from orchestrator.collect.offers import try_offers
from orchestrator.drivers.host import Machine
from orchestrator.drivers.lease import LeaseFile
from orchestrator.drivers.listeners import listeners
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment, Site
from orchestrator.model.errors import InfrastructureError

KIND = "tls_endpoint"
_STORE_PROGRAM = "objectstore"


def endpoints(environment: Environment) -> dict[str, Endpoint]:
    """Every endpoint of the descriptor by subject, e.g. `a/postgresql`."""
    found: dict[str, Endpoint] = {}
    for name, site in environment.sites.items():
        database, line = site.database, environment.line.ends[name]
        found[f"{name}/postgresql"] = Endpoint(database.address, database.port, "postgresql")
        found[f"{name}/line"] = Endpoint(line.address, line.port, "postgresql", database.address)
        found[f"{name}/object_store"] = endpoint_of(site.object_store.url)
        found[f"{name}/erp"] = endpoint_of(site.erp.url)
    found["common/secrets"] = endpoint_of(environment.secrets.url)
    found["common/front_door"] = endpoint_of(environment.front_door.url)
    return found


def administration(environment: Environment, site: Site) -> Endpoint:
    """Where a site's object store takes administration. Raises InfrastructureError."""
    service = endpoint_of(site.object_store.url)
    machine = Machine(site.machine, LeaseFile(environment.lease_file))
    ports = listeners(machine.program_processes(_STORE_PROGRAM))
    others = [one for one in ports if one.port != service.port]
    if len(others) != 1:
        raise InfrastructureError(
            f"the object store of site {site.name} listens on "
            f"{', '.join(str(one.port) for one in ports) or 'nothing'}: one port besides "
            f"{service.port} is expected",
            "apply the role `objectstore`",
        )
    return Endpoint(others[0].address, others[0].port, "http")


def collectors(environment: Environment, secrets: Secrets) -> list[Collector]:
    """One collector for each endpoint; nobody logs in."""
    found = [
        _collector(environment, subject, str(endpoint), partial(_same, endpoint))
        for subject, endpoint in endpoints(environment).items()
    ]
    for name, site in environment.sites.items():
        where = f"the other port of program {_STORE_PROGRAM}"
        find = partial(administration, environment, site)
        found.append(_collector(environment, f"{name}/object_store_admin", where, find))
    return found


def _same(endpoint: Endpoint) -> Endpoint:
    return endpoint


def _collector(
    environment: Environment, subject: str, where: str, find: Callable[[], Endpoint]
) -> Collector:
    return Collector(
        kind=KIND,
        subject=subject,
        source=f"{subject} at {where}, without login",
        query=(
            f"TLS handshake with any version; with {', '.join(VERSIONS)} alone; verified "
            f"against {environment.tls.ca_file} and the server's name; plaintext; a ClientHello "
            "with every cipher suite and group, again without what was chosen until refused"
        ),
        look=lambda: look(environment, find()),
    )


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
    offers = try_offers(endpoint)
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
        "suites_1_2": _list(offers.suites_1_2),
        "suites_1_3": _list(offers.suites_1_3),
        "groups": _list(offers.groups),
        "compression": offers.compression,
        "renegotiation": offers.renegotiation,
        **chain_data([x509.load_der_x509_certificate(der) for der in agreed.chain]),
        **authority_data(environment.tls.ca_file),
    }
    return Observation(data, len(attempts) + 3 + offers.connections)


def _decided(outcome: str, wanted: str) -> bool | None:
    return None if outcome == "inconclusive" else outcome == wanted


def _list(names: tuple[str, ...] | None) -> list[str] | None:
    return None if names is None else list(names)
